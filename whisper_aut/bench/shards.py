"""Random access to clips in packed shards against the same clips in single files, cold and warm, taking turns."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from whisper_aut.data.audio import read_waveform
from whisper_aut.data.encode import encode
from whisper_aut.data.locate import AudioBytes, AudioSource
from whisper_aut.data.manifest import load_manifest
from whisper_aut.data.pack import MANIFEST
from whisper_aut.data.tarfiles import BLOCK, END, packed
from whisper_aut.errors import ManifestError

COLD = (
    "before each read, what the page cache holds of the file (of a shard: of all of it) is dropped with "
    "posix_fadvise(POSIX_FADV_DONTNEED); directories and inodes stay cached, which helps the single files"
)
_SHARDS, _FILES = "shards", "single files"
_CLIP_SEC = 5.0
_FILES_PER_FOLDER = 1000


def measure_access(shards: Path | None, folder: Path | None, *, clips: int, reads: int, rounds: int) -> dict[str, Any]:
    """Microseconds a clip for both, bytes alone and decoded; ratios are single files over shards.

    Args:
        shards: made by ``manifest pack``; None makes noise of five seconds a clip.
        folder: for the single files, on the disk that is meant; None for the system's temporary folder.
        clips: made, where no shards are given.
        reads: in each turn, at random.
        rounds: both sides take turns this often.
    """
    with tempfile.TemporaryDirectory(dir=folder) as work:
        packed_clips = _of_shards(shards) if shards else _made_shards(Path(work), clips)
        files = _as_files(packed_clips, Path(work) / "files")
        sides: dict[str, list[AudioSource]] = {_SHARDS: list(packed_clips), _FILES: list(files)}
        numbers: dict[str, Any] = {
            "clips": len(files),
            "shards": len({source.place for source in packed_clips}),
            "mean clip, KB": float(np.mean([path.stat().st_size for path in files])) / 1000,
            "reads a turn": reads,
            "rounds": rounds,
            "cold": COLD,
        }
        for what, read in (("bytes", _bytes), ("decoded", _decoded)):
            for state in ("warm", "cold"):
                numbers[f"{what}, {state}"] = _compared(sides, read, cold=state == "cold", reads=reads, rounds=rounds)
        return numbers


def table(numbers: dict[str, Any]) -> list[str]:
    """The numbers as lines for people."""
    lines = [f"{name}: {value}" for name, value in numbers.items() if not isinstance(value, dict)]
    lines.append(f"{'':14} {_SHARDS:>14} {_FILES:>14}   times as fast, median (least to most of the rounds)")
    for name, found in numbers.items():
        if isinstance(found, dict):
            ratio = found["ratio"]
            lines.append(
                f"{name:14} {found[_SHARDS]:11.0f} us {found[_FILES]:11.0f} us   "
                f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})"
            )
    return lines


def _compared(
    sides: dict[str, list[AudioSource]], read: Callable[[AudioSource], object], *, cold: bool, reads: int, rounds: int
) -> dict[str, Any]:
    num_clips = len(sides[_FILES])
    if not cold:
        for sources in sides.values():
            for source in sources:
                _bytes(source)
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        order = np.random.default_rng(turn).permutation(num_clips)[:reads]
        for name in list(sides) if turn % 2 else list(reversed(sides)):
            taken[name].append(_turn([sides[name][number] for number in order], read, cold=cold))
    ratios = np.array(taken[_FILES]) / np.array(taken[_SHARDS])
    spread = {"median": float(np.median(ratios)), "least": float(ratios.min()), "most": float(ratios.max())}
    return {name: float(np.median(seconds)) * 1e6 for name, seconds in taken.items()} | {"ratio": spread}


def _turn(sources: Iterable[AudioSource], read: Callable[[AudioSource], object], *, cold: bool) -> float:
    """Median seconds of a read: other work on the machine makes some of them ten times as long."""
    seconds: list[float] = []
    for source in sources:
        if cold:
            _drop(source.place if isinstance(source, AudioBytes) else str(source))
        begun = time.perf_counter()
        read(source)
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds))


def _drop(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _bytes(source: AudioSource) -> object:
    return source.read("") if isinstance(source, AudioBytes) else source.read_bytes()


def _decoded(source: AudioSource) -> object:
    return read_waveform(source)


def _of_shards(folder: Path) -> list[AudioBytes]:
    manifest = load_manifest(folder / MANIFEST)
    found = [manifest.audio_source(row) for row in range(len(manifest))]
    local = [source for source in found if isinstance(source, AudioBytes) and not source.is_url]
    if not local:
        raise ManifestError("no clip lies in a shard", where=str(folder), remedy="give a folder that was packed")
    return local


def _made_shards(folder: Path, clips: int) -> list[AudioBytes]:
    """Shards of 64 MB of noise, whose samples hardly compress: as large as five seconds get."""
    sources: list[AudioBytes] = []
    file, place = None, 0
    try:
        for number in range(clips):
            if file is None or place > 64e6:
                if file is not None:
                    file.close()
                file, place = (folder / f"shard-{number:06d}.tar").open("wb"), 0
            noise = np.random.default_rng(number).normal(0, 0.1, round(_CLIP_SEC * 16_000)).astype(np.float32)
            data = encode(noise, "flac").data
            sources.append(AudioBytes(file.name, place + BLOCK, len(data)))
            place += file.write(packed(f"{number}.flac", data))
    finally:
        if file is not None:
            file.write(END)
            file.flush()
            os.fsync(file.fileno())
            file.close()
    return sources


def _as_files(sources: list[AudioBytes], folder: Path) -> list[Path]:
    """The same bytes, a file a clip, synced: what is not on the disk yet cannot be dropped from memory."""
    paths = []
    for number, source in enumerate(sources):
        path = folder / f"{number // _FILES_PER_FOLDER:04d}" / f"{number:08d}.audio"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read("").getvalue())
        paths.append(path)
    os.sync()
    return paths
