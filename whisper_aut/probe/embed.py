"""One vector a clip, pooling and layer from a frozen encoder: one pass gives them all, into a cache on the disk.

Legend: B clips in a batch, S samples, T encoder positions, N clips of a task, K layers, D numbers in a pooled vector.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from whisper_aut.constants import FRAMES_PER_SEC, Context
from whisper_aut.data.audio import read_waveform
from whisper_aut.errors import AudioError, ProbeError
from whisper_aut.probe.encoders.base import Pooling, ProbedEncoder
from whisper_aut.probe.names import Statistic
from whisper_aut.probe.tasks.labelled import LabelledClip, Task
from whisper_aut.progress import Progress

Precision = Literal["float32", "bfloat16"]
StoredLayers = Literal["last", "all"]

POOLING_VERSION = 3  # any change of what a stored vector means counts this up and empties every cache
NUM_DECODERS = 2  # threads; libsndfile and soxr work outside the interpreter's lock
# Mel frames of one batch: enough to fill the machine, little enough that all lengths waiting at once stay under 0.5 GB.
BATCH_FRAMES = {"cpu": 12_000, "cuda": 96_000}
_CHECKED_CELLS = 25_000_000  # numbers of a stored array looked at together: 100 MB


@dataclass(frozen=True)
class Embeddings:
    """Vectors of a task's clips, in the task's order: float32 [N, K, D] for each pooling, memory-mapped.

    ``num_layers`` is the encoder's; K is that, or 1 where only the last layer was asked for.
    """

    stored: Mapping[Pooling, np.ndarray]
    num_layers: int

    def features(self, pooling: Pooling, layer: int | None = None) -> np.ndarray:
        """A copy of one layer's vectors in memory: what lies on the disk may be replaced. See ``mapped``."""
        return np.array(self.mapped(pooling, layer))

    def mapped(self, pooling: Pooling, layer: int | None = None) -> np.ndarray:
        """One layer's vectors, float32 [N, D], not copied; None is the last. An encoder of one layer has no choice."""
        index = -1 if layer is None or self.num_layers == 1 else layer
        assert index == -1 or self.stored[pooling].shape[1] == self.num_layers, f"layer {layer} was not embedded"
        return self.stored[pooling][:, index]

    def all_layers(self, pooling: Pooling) -> np.ndarray:
        """float32 [N, K, D], not copied."""
        return self.stored[pooling]


def embed(
    encoder: ProbedEncoder,
    task: Task,
    context: Context,
    *,
    poolings: Sequence[Pooling],
    cache_dir: Path,
    layers: StoredLayers = "last",
    device: str = "cpu",
    precision: Precision = "float32",
) -> Embeddings:
    """Embed all clips of a task, or read them from the cache. What is missing is computed in one pass.

    ``full`` pads each waveform with silence to the encoder's window, ``trimmed`` to the next half second where the
    encoder can (``encoder.trims``). Of a clip longer than the window its beginning is embedded (``num_cut`` counts
    such clips). A clip's vector does not depend on the clips beside it.

    Raises:
        AudioError: a clip cannot be read.
        ProbeError: a vector is not finite (the clip is named), or the cache cannot be written.
    """
    heard: Context = context if encoder.trims else "full"
    wanted, found = {}, {}
    for pooling in dict.fromkeys(poolings):
        key = cache_key(encoder.content_sha256, task.clips_sha256, heard, precision, pooling, layers)
        wanted[pooling] = cache_dir / f"{key}.npy"
        array = _read_cache(wanted[pooling], _shape(encoder, task, pooling, layers))
        if array is not None:
            found[pooling] = array
    if len(found) == len(wanted):
        print(f"embed {task.name}, {context}: {len(task.clips)} clips from the cache", file=sys.stderr)
    else:
        missing = {pooling: path for pooling, path in wanted.items() if pooling not in found}
        found |= _compute(encoder, task, heard, missing, layers, device, precision)
    return Embeddings(found, encoder.num_layers)


def cache_key(
    content_sha256: str,
    clips_sha256: str,
    context: Context,
    precision: Precision,
    pooling: Pooling,
    layers: StoredLayers,
) -> str:
    """SHA-256 hex over all that stored vectors depend on: encoder, clips with their audio, context, pooling, layers."""
    parts = [content_sha256, clips_sha256, context, precision, str(pooling), layers, POOLING_VERSION]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def num_cut(task: Task, window_sec: float) -> int:
    """Clips longer than an encoder's window, of which only the beginning is embedded."""
    return sum(clip.duration_sec > window_sec for clip in task.clips)


def pool(states: Tensor, real: Tensor, pooling: Pooling, statistic: Statistic) -> Tensor:
    """States [B, T, D] to vectors [B, D], or [B, 2D] for ``mean+std``; the deviation is that of the population.

    Args:
        states: of one layer.
        real: bool [B, T], at least one position a clip.
        pooling: which positions count.
        statistic: of them.
    """
    keep = real[..., None] if pooling.positions == "real" else torch.ones_like(real)[..., None]  # [B, T, 1]
    if statistic == "max":
        return states.masked_fill(~keep, float("-inf")).amax(dim=1)
    count = keep.sum(dim=1)
    # Not multiplied by the mask: a value that is not finite, times zero, would not be zero.
    mean = states.masked_fill(~keep, 0.0).sum(dim=1) / count
    if statistic == "mean":
        return mean
    squares = (states - mean[:, None]).masked_fill(~keep, 0.0).square().sum(dim=1) / count
    return torch.cat([mean, squares.sqrt()], dim=1)


def _shape(encoder: ProbedEncoder, task: Task, pooling: Pooling, layers: StoredLayers) -> tuple[int, int, int]:
    num_layers = encoder.num_layers if layers == "all" else 1
    return len(task.clips), num_layers, encoder.vector_size(pooling.statistic)


def _compute(
    encoder: ProbedEncoder,
    task: Task,
    context: Context,
    wanted: Mapping[Pooling, Path],
    layers: StoredLayers,
    device: str,
    precision: Precision,
) -> dict[Pooling, np.ndarray]:
    encoder.to(device)
    kind = torch.device(device).type
    note = f"first {encoder.window_sec:g} s of {cut} longer clips" if (cut := num_cut(task, encoder.window_sec)) else ""
    progress = Progress(f"embed {task.name}, {context}, {encoder.name}", len(task.clips), unit="clips")
    finite = np.ones(len(task.clips), dtype=bool)
    with ExitStack() as files:
        arrays = {
            pooling: files.enter_context(_whole_array(path, _shape(encoder, task, pooling, layers)))
            for pooling, path in wanted.items()
        }
        for rows, waveforms, num_samples in _batches(encoder, task, context, BATCH_FRAMES[kind]):
            autocast = torch.autocast(kind, torch.bfloat16) if precision == "bfloat16" else nullcontext()
            with torch.inference_mode(), autocast:
                output = encoder.encode(torch.from_numpy(waveforms).to(device), num_samples)
                first = 0 if layers == "all" else encoder.num_layers - 1
                for number, states in enumerate(output.layers):
                    if number < first:
                        continue
                    for pooling, array in arrays.items():
                        statistic = encoder.statistic or pooling.statistic
                        pooled = pool(states.float(), output.real, pooling, statistic).cpu().numpy()
                        array[rows, number - first] = pooled
                        finite[rows] &= np.isfinite(pooled).all(axis=1)
            progress.advance(len(rows), note)
        if not finite.all():
            clip = task.clips[int(np.argmin(finite))]
            raise ProbeError(
                f"{encoder.name} gives values that are not finite for {int(np.sum(~finite))} of {len(finite)} clips, "
                f"the first is clip {clip.id}",
                where=clip.where,
                remedy="the weights are damaged, or bfloat16 overflows: try precision float32",
            )
    return {pooling: np.load(path, mmap_mode="r", allow_pickle=False) for pooling, path in wanted.items()}


def _batches(
    encoder: ProbedEncoder, task: Task, context: Context, batch_frames: int
) -> Iterator[tuple[list[int], np.ndarray, list[int]]]:
    """(rows of the task, waveforms float32 [B, S], samples of each clip), all of a batch equally long."""
    waiting: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)  # by padded length
    held_frames = 0.0
    for row, waveform in _decoded(encoder, task):
        size = encoder.padded_samples(len(waveform), context)
        frames = size / encoder.sample_rate * FRAMES_PER_SEC
        waiting[size].append((row, waveform))
        held_frames += frames
        if (len(waiting[size]) + 1) * frames > batch_frames:
            held_frames -= len(waiting[size]) * frames
            yield _stack(waiting.pop(size), size)
        elif held_frames > 60 * batch_frames:  # an encoder without buckets may meet no two clips of one length
            for length, clips in sorted(waiting.items()):
                yield _stack(clips, length)
            waiting.clear()
            held_frames = 0.0
    for size, clips in sorted(waiting.items()):
        yield _stack(clips, size)


def _stack(clips: list[tuple[int, np.ndarray]], size: int) -> tuple[list[int], np.ndarray, list[int]]:
    waveforms = np.zeros((len(clips), size), dtype=np.float32)
    for target, (_, waveform) in zip(waveforms, clips, strict=True):
        target[: len(waveform)] = waveform
    return [row for row, _ in clips], waveforms, [len(waveform) for _, waveform in clips]


def _decoded(encoder: ProbedEncoder, task: Task) -> Iterator[tuple[int, np.ndarray]]:
    """Every clip's samples at the encoder's rate, in order, decoded a little ahead in threads."""
    with ThreadPoolExecutor(NUM_DECODERS) as pool:
        ahead: deque[tuple[int, Future[np.ndarray]]] = deque()
        try:
            for row, clip in enumerate(task.clips):
                ahead.append((row, pool.submit(_read, clip, encoder)))
                if len(ahead) > 8 * NUM_DECODERS:
                    done, future = ahead.popleft()
                    yield done, future.result()
            while ahead:
                done, future = ahead.popleft()
                yield done, future.result()
        finally:
            for _, future in ahead:
                future.cancel()


def _read(clip: LabelledClip, encoder: ProbedEncoder) -> np.ndarray:
    try:
        return read_waveform(
            clip.audio,
            offset_sec=clip.offset_sec,
            duration_sec=min(clip.duration_sec, encoder.window_sec),
            clip_id=clip.id,
            sample_rate=encoder.sample_rate,
            channels=clip.channels,
        )
    except AudioError as error:
        raise AudioError(error.what, where=f"{clip.where}: {clip.audio}", remedy=error.remedy) from None


def _read_cache(path: Path, shape: tuple[int, int, int]) -> np.ndarray | None:
    """None where there is no such file; a damaged one is said and computed again."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.shape != shape or array.dtype != np.float32:
            raise ValueError(f"the array is {array.dtype} {array.shape}, not float32 {shape}")
        step = max(1, _CHECKED_CELLS // (shape[1] * shape[2]))
        if not all(np.isfinite(array[start : start + step]).all() for start in range(0, len(array), step)):
            raise ValueError("a value is not finite")
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError) as error:
        print(f"embed: the cache file {path} is damaged ({error}); computing again", file=sys.stderr)
        return None
    return array


@contextmanager
def _whole_array(path: Path, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """A float32 array on the disk, which takes the name ``path`` when the block ends without an error.

    Raises:
        ProbeError: the folder or the file cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            array = np.lib.format.open_memmap(aside, mode="w+", dtype=np.float32, shape=shape)
            with aside.open("rb+") as file:  # a disk that is full must say so now: in a mapped file it ends the process
                os.posix_fallocate(file.fileno(), 0, aside.stat().st_size)
        except OSError as error:
            raise _not_writable(path, error) from None
        yield array
        array.flush()
        try:
            aside.replace(path)
        except OSError as error:
            raise _not_writable(path, error) from None
    finally:
        with suppress(OSError):
            aside.unlink()


def _not_writable(path: Path, error: OSError) -> ProbeError:
    return ProbeError(
        f"the embedding cache cannot be written: {error}", where=str(path.parent), remedy="give another cache folder"
    )
