"""One vector a clip from a frozen encoder: one pass gives both poolings, and a cache that cannot mix two encoders up.

Legend: B clips in a batch, S samples, M mel bins, F mel frames, T encoder positions (F/2), N clips of a task, D width.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch

from whisper_aut.constants import HOP_LENGTH, WINDOW_SEC, Context, context_frames, real_positions
from whisper_aut.data.audio import read_waveform
from whisper_aut.data.features import LogMel
from whisper_aut.errors import ProbeError
from whisper_aut.files import whole_file
from whisper_aut.model.encode import encode
from whisper_aut.probe.tasks.labelled import LabelledClip, Task
from whisper_aut.progress import Progress

if TYPE_CHECKING:
    from whisper_aut.model.base import LoadedEncoder

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

POOLING_VERSION = 1  # any change of what a stored vector means counts this up and empties every cache
LAYER = "final, after layer norm"
NUM_DECODERS = 2  # threads; libsndfile and soxr work outside the interpreter's lock
# Mel frames of one batch: enough to fill the machine, little enough that all lengths waiting at once stay under 0.5 GB.
BATCH_FRAMES = {"cpu": 12_000, "cuda": 96_000}


@dataclass(frozen=True)
class Embeddings:
    """Vectors of a task's clips, in the task's order, float32 [N, D]."""

    all_positions: np.ndarray  # mean over every encoder position, padding included
    real_positions: np.ndarray  # mean over the positions that saw audio of the clip


def embed(
    encoder: LoadedEncoder,
    task: Task,
    context: Context,
    *,
    cache_dir: Path,
    device: str = "cpu",
    precision: Precision = "float32",
) -> Embeddings:
    """Embed all clips of a task, or read them from the cache.

    ``full`` pads each waveform with silence to 30 s, ``trimmed`` to the next half second. Of a clip longer than 30 s
    the first 30 s are embedded (``num_cut`` counts them). A clip's vector does not depend on the clips beside it.

    Raises:
        AudioError: a clip cannot be read.
        ProbeError: a vector is not finite (the clip is named), or the cache cannot be written.
    """
    path = cache_dir / f"{cache_key(encoder.weights_sha256, task.clips_sha256, context, precision)}.npz"
    cached = _read_cache(path, num_clips=len(task.clips), width=encoder.module.config.d_model)
    if cached is not None:
        print(f"embed {task.name}, {context}: {len(task.clips)} clips from the cache", file=sys.stderr)
        return cached
    embeddings = _compute(encoder, task, context, device, precision)
    _write_cache(path, embeddings)
    return embeddings


def cache_key(weights_sha256: str, clips_sha256: str, context: Context, precision: Precision) -> str:
    """SHA-256 hex over all that a vector depends on: weights, clips with their audio, context, layer, pooling."""
    parts = [weights_sha256, clips_sha256, context, LAYER, POOLING_VERSION, precision]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def num_cut(task: Task) -> int:
    """Clips longer than the window, of which only the first 30 s are embedded."""
    return sum(clip.duration_sec > WINDOW_SEC for clip in task.clips)


def _compute(encoder: LoadedEncoder, task: Task, context: Context, device: str, precision: Precision) -> Embeddings:
    module = torch.nn.Module.to(encoder.module, device)  # Hugging Face's own .to has no usable type
    log_mel = LogMel(encoder.num_mel_bins).to(device)
    width = module.config.d_model
    all_positions = np.empty((len(task.clips), width), dtype=np.float32)
    real_only = np.empty((len(task.clips), width), dtype=np.float32)
    note = f"first {WINDOW_SEC} s of {num_cut(task)} longer clips" if num_cut(task) else ""
    progress = Progress(f"embed {task.name}, {context}, {encoder.name}", len(task.clips), unit="clips")
    for rows, waveforms, num_samples in _batches(task, context, BATCH_FRAMES[torch.device(device).type]):
        autocast = (
            torch.autocast(torch.device(device).type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
        )
        with torch.inference_mode(), autocast:
            features = log_mel(torch.from_numpy(waveforms).to(device))  # [B, M, F]
            states = encode(module, features).float()  # [B, T, D]
            whole = states.mean(dim=1)
            real = torch.stack(
                [state[: real_positions(n)].mean(dim=0) for state, n in zip(states, num_samples, strict=True)]
            )
        all_positions[rows], real_only[rows] = whole.cpu().numpy(), real.cpu().numpy()
        progress.advance(len(rows), note)
    finite: np.ndarray = np.isfinite(np.concatenate([all_positions, real_only], axis=1)).all(axis=1)
    if not finite.all():
        clip = task.clips[int(np.argmin(finite))]
        raise ProbeError(
            f"{encoder.name} gives values that are not finite for {int(np.sum(~finite))} of {len(finite)} clips, "
            f"the first is clip {clip.id}",
            where=clip.where,
            remedy="the weights are damaged, or bfloat16 overflows: try precision float32",
        )
    return Embeddings(all_positions, real_only)


def _batches(task: Task, context: Context, batch_frames: int) -> Iterator[tuple[list[int], np.ndarray, list[int]]]:
    """(rows of the task, waveforms float32 [B, S], samples of each clip), all of a batch equally long."""
    waiting: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)  # by num_frames
    for row, waveform in _decoded(task):
        num_frames = context_frames(len(waveform), context)
        waiting[num_frames].append((row, waveform))
        if (len(waiting[num_frames]) + 1) * num_frames > batch_frames:
            yield _stack(waiting.pop(num_frames), num_frames)
    for num_frames, clips in sorted(waiting.items()):
        yield _stack(clips, num_frames)


def _stack(clips: list[tuple[int, np.ndarray]], num_frames: int) -> tuple[list[int], np.ndarray, list[int]]:
    waveforms = np.zeros((len(clips), num_frames * HOP_LENGTH), dtype=np.float32)
    for target, (_, waveform) in zip(waveforms, clips, strict=True):
        target[: len(waveform)] = waveform
    return [row for row, _ in clips], waveforms, [len(waveform) for _, waveform in clips]


def _decoded(task: Task) -> Iterator[tuple[int, np.ndarray]]:
    """Every clip's samples at 16 kHz, in order, decoded a little ahead in threads."""
    with ThreadPoolExecutor(NUM_DECODERS) as pool:
        ahead: deque[tuple[int, Future[np.ndarray]]] = deque()
        try:
            for row, clip in enumerate(task.clips):
                ahead.append((row, pool.submit(_read, clip)))
                if len(ahead) > 8 * NUM_DECODERS:
                    done, future = ahead.popleft()
                    yield done, future.result()
            while ahead:
                done, future = ahead.popleft()
                yield done, future.result()
        finally:
            for _, future in ahead:
                future.cancel()


def _read(clip: LabelledClip) -> np.ndarray:
    return read_waveform(
        clip.audio, offset_sec=clip.offset_sec, duration_sec=min(clip.duration_sec, WINDOW_SEC), clip_id=clip.id
    )


def _read_cache(path: Path, *, num_clips: int, width: int) -> Embeddings | None:
    """None where there is no such file; a damaged one is said and computed again."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            embeddings = Embeddings(stored["all_positions"], stored["real_positions"])
        for array in (embeddings.all_positions, embeddings.real_positions):
            if array.shape != (num_clips, width) or array.dtype != np.float32 or not np.isfinite(array).all():
                raise ValueError(f"an array is {array.dtype} {array.shape}, not finite float32 ({num_clips}, {width})")
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        print(f"embed: the cache file {path} is damaged ({error}); computing again", file=sys.stderr)
        return None
    return embeddings


def _write_cache(path: Path, embeddings: Embeddings) -> None:
    try:
        with whole_file(path) as file:
            np.savez(file, all_positions=embeddings.all_positions, real_positions=embeddings.real_positions)
    except OSError as error:
        raise ProbeError(
            f"the embedding cache cannot be written: {error}",
            where=str(path.parent),
            remedy="give another cache folder",
        ) from None
