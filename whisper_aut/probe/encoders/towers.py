"""What must be known of each kind of Hugging Face audio encoder: its window, its positions, and which are real audio.

Every clip goes through the model's own feature extractor by itself, so that no clip's states depend on another's.
Legend: B clips, S samples, T positions, D width, F mel frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whisper_aut.constants import Context
from whisper_aut.errors import BaseModelError
from whisper_aut.model.hashes import weights_sha256
from whisper_aut.probe.encoders.base import ProbedEncoder, States

MIN_SEC = 0.1  # shorter clips are padded to this with silence: below, a front end has no whole frame to compute
_KALDI_FRAME_SAMPLES, _KALDI_HOP_SAMPLES = 400, 160  # of AST's filter bank at 16 kHz; no frame hangs over an edge


class Tower(ProbedEncoder):
    """An encoder of Hugging Face with its feature extractor."""

    version = 1  # of the adapter: any change of what a state means counts it up

    def __init__(self, module: Any, extractor: Any, name: str) -> None:
        self._module, self._extractor, self._device = module, extractor, "cpu"
        self.name, self.family = name, f"hf:{module.config.model_type}"
        self.weights_sha256 = weights_sha256(module.state_dict())
        self.num_parameters = sum(parameter.numel() for parameter in module.parameters())
        self.sample_rate = int(extractor.sampling_rate)

    def to(self, device: str) -> None:
        """Move the weights; the feature extractor stays on the CPU."""
        nn.Module.to(self._module, device)
        self._device = device

    def _inputs(self, waveforms: Tensor, num_samples: Sequence[int]) -> dict[str, Tensor]:
        """What the extractor makes of each clip alone."""
        least = round(MIN_SEC * self.sample_rate)
        clips = [wave[: max(n, least)].cpu().numpy() for wave, n in zip(waveforms, num_samples, strict=True)]
        made = [self._extractor(clip, sampling_rate=self.sample_rate, return_tensors="np") for clip in clips]
        names = [key for key in made[0] if key != "attention_mask"]  # clips of a batch are equally long: none is padded
        arrays = {key: np.concatenate([np.asarray(one[key]) for one in made]) for key in names}
        return {
            key: torch.from_numpy(array.astype(np.float32) if array.dtype == np.float64 else array).to(self._device)
            for key, array in arrays.items()
        }

    def _hidden(self, inputs: dict[str, Tensor]) -> tuple[Iterator[Tensor], Tensor]:
        """All layers, the last as the model gives it out (normed), and that last."""
        output = self._module(**inputs, output_hidden_states=True)
        layers = [*output.hidden_states[:-1], output.last_hidden_state]
        assert len(layers) == self.num_layers, f"{len(layers)} layers came out, {self.num_layers} were expected"
        return iter(layers), output.last_hidden_state


class WaveformTower(Tower):
    """The wav2vec 2.0 family: reads the waveform at any length, so that nothing is padded and every position is real.

    Clips of exactly one length share a batch. Models of this family that normalise over time (wav2vec2-base) were
    trained without an attention mask and hear padding; others need one: without padding the two are one.
    """

    def __init__(self, module: Any, extractor: Any, name: str) -> None:
        super().__init__(module, extractor, name)
        self.width = int(module.config.hidden_size)
        self.num_layers = int(module.config.num_hidden_layers) + 1
        self.notes = ("reads each clip at its own length: no padding, contexts full and trimmed are one",)

    def padded_samples(self, num_samples: int, context: Context) -> int:
        """The clip itself."""
        return max(num_samples, round(MIN_SEC * self.sample_rate))

    def encode(self, waveforms: Tensor, num_samples: Sequence[int]) -> States:
        """One position for each step of the convolutions, 20 ms in every released model."""
        layers, last = self._hidden(self._inputs(waveforms, [waveforms.shape[1]] * len(num_samples)))
        lengths = self._module._get_feat_extract_output_lengths(torch.tensor(list(num_samples)))
        real = torch.arange(last.shape[1]) < lengths.clamp(min=1)[:, None]
        return States(layers, real.to(last.device))


class PatchTower(Tower):
    """The Audio Spectrogram Transformer (arXiv 2104.01778): a fixed window of mel frames in overlapping patches.

    Two learned tokens come before the patches; they are positions like any other, but not real audio.
    """

    def __init__(self, module: Any, extractor: Any, name: str) -> None:
        super().__init__(module, extractor, name)
        config = module.config
        _refuse_other_bins(int(config.num_mel_bins), int(extractor.num_mel_bins), name)
        if int(extractor.max_length) != int(config.max_length):
            raise BaseModelError(
                f"the feature extractor gives {extractor.max_length} frames, the encoder was trained on "
                f"{config.max_length}",
                where=name,
                remedy="give the preprocessor_config.json that the model was released with",
            )
        self.width, self.num_layers = int(config.hidden_size), int(config.num_hidden_layers) + 1
        self._num_frames, self._stride = int(config.max_length), int(config.time_stride)
        self._num_rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        self._num_columns = (config.max_length - config.patch_size) // config.time_stride + 1
        self.window_sec = self._num_frames * _KALDI_HOP_SAMPLES / self.sample_rate
        self.notes = (f"a fixed window of {self.window_sec:g} s: shorter clips are padded, contexts are one",)

    def padded_samples(self, num_samples: int, context: Context) -> int:
        """The window."""
        return round(self.window_sec * self.sample_rate)

    def encode(self, waveforms: Tensor, num_samples: Sequence[int]) -> States:
        """Two tokens, then the patches row by row of frequency; a patch is real if it begins in the clip."""
        layers, last = self._hidden(self._inputs(waveforms, num_samples))
        frames = [max(1, 1 + (n - _KALDI_FRAME_SAMPLES) // _KALDI_HOP_SAMPLES) for n in num_samples]
        num_real = torch.tensor([-(-min(count, self._num_frames) // self._stride) for count in frames])
        columns = torch.arange(self._num_columns) < num_real[:, None]
        tokens = torch.zeros(len(frames), 2, dtype=torch.bool)
        real = torch.cat([tokens, columns.repeat(1, self._num_rows)], dim=1)
        return States(layers, real.to(last.device))


class ClapTower(Tower):
    """CLAP's audio tower (arXiv 2211.06687): ten seconds at 48 kHz through a Swin transformer.

    Its stages differ in width and length, so that only the last is shown. Its extractor repeats a short clip until the
    window is full: every position hears the clip. Beyond the window it would draw crops at random; clips are cut
    before, so that the same clip gives the same vector.
    """

    def __init__(self, module: Any, extractor: Any, name: str) -> None:
        super().__init__(module, extractor, name)
        _refuse_other_bins(int(module.config.num_mel_bins), int(extractor.feature_size), name)
        self.family = "hf:clap"
        self.width, self.num_layers = int(module.audio_encoder.num_features), 1
        self.window_sec = float(extractor.max_length_s)
        if str(extractor.padding).startswith("repeat"):
            fill = "shorter clips are repeated until it is full, so that every position counts as real"
        else:
            fill = "shorter clips are padded, and positions over padding cannot be told from real ones"
        self.notes = (f"a fixed window of {self.window_sec:g} s; {fill}; one layer, the last stage",)

    def padded_samples(self, num_samples: int, context: Context) -> int:
        """The window."""
        return round(self.window_sec * self.sample_rate)

    def encode(self, waveforms: Tensor, num_samples: Sequence[int]) -> States:
        """The grid of the last stage, frequency by time, as positions."""
        inputs = self._inputs(waveforms, num_samples)
        # With fusion, the extractor marks one clip of every call as long at random, where none is.
        inputs["is_longer"] = torch.zeros(len(num_samples), 1, dtype=torch.bool, device=self._device)
        grid = self._module(**inputs).last_hidden_state  # [B, D, rows, columns]
        states = grid.flatten(2).transpose(1, 2)
        return States(iter([states]), torch.ones(states.shape[:2], dtype=torch.bool, device=states.device))


def _refuse_other_bins(encoder_bins: int, extractor_bins: int, name: str) -> None:
    if encoder_bins != extractor_bins:
        raise BaseModelError(
            f"the feature extractor gives {extractor_bins} mel bins, the encoder was trained on {encoder_bins}",
            where=name,
            remedy="give the preprocessor_config.json that the model was released with",
        )
