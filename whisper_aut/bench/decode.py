"""Decoding, resampling and log-mel on one core: ours against `datasets` with WhisperFeatureExtractor, taking turns."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import torch

from whisper_aut.constants import HOP_LENGTH, SAMPLE_RATE, num_samples_of
from whisper_aut.data.audio import read_waveform
from whisper_aut.data.features import LogMel
from whisper_aut.errors import EnvironmentProblem, first_line

FORMATS = {
    "WAV": ("wav", "WAV", "PCM_16"),
    "FLAC": ("flac", "FLAC", "PCM_16"),
    "Ogg Vorbis": ("ogg", "OGG", "VORBIS"),
    "MP3": ("mp3", "MP3", "MPEG_LAYER_III"),
}
WANTED = {"WAV": 3.0, "FLAC": 3.0, "Ogg Vorbis": 2.0, "MP3": 2.0}  # times the reference's speed
OURS, PADDED, UNPADDED = "ours", "reference, padded to 30 s", "reference, unpadded"


@dataclass(frozen=True)
class DecodeBench:
    """What to measure: ``batch_clips`` are decoded, then made into features together."""

    clips: int = 32
    batch_clips: int = 16
    clip_sec: float = 5.0
    rate: int = 44_100
    channels: int = 1
    rounds: int = 7
    num_mel_bins: int = 80


def measure_decoding(asked: DecodeBench) -> dict[str, Any]:
    """Seconds of processor time for each side and format, a round at a time, and the ratios.

    Processor time of all threads of this process, since other work on the machine would count as ours on a clock; the
    ratios by the clock stand beside it. The reference decodes as `datasets` documents it, with ``sampling_rate=16000``
    read as ``["audio"]["array"]``, then calls the feature extractor on the batch: with its own padding to 30 s, which
    is what its documented recipes do, and without.

    Raises:
        EnvironmentProblem: `datasets` cannot decode here.
    """
    torch.set_num_threads(1)
    reference = _Reference(asked.num_mel_bins)
    log_mel = LogMel(asked.num_mel_bins)
    sides: dict[str, Callable[[Sequence[Path]], Any]] = {
        OURS: lambda paths: _ours(paths, log_mel, asked.clip_sec),
        PADDED: lambda paths: reference(paths, pad=True),
        UNPADDED: lambda paths: reference(paths, pad=False),
    }
    with tempfile.TemporaryDirectory() as folder:
        files = {name: _write_clips(Path(folder), name, asked) for name in FORMATS}
        for paths in files.values():  # files into memory, kernels chosen, buffers made
            for run in sides.values():
                run(paths[: asked.batch_clips])
        differing = _largest_difference(files["WAV"], sides)
        taken: dict[str, dict[str, list[tuple[float, float]]]] = {n: {s: [] for s in sides} for n in FORMATS}
        for turn in range(asked.rounds):
            for name, paths in files.items():
                order = list(sides)
                for side in order[turn % 3 :] + order[: turn % 3]:
                    taken[name][side].append(_timed(sides[side], paths, asked.batch_clips))
    return {
        "clips": f"{asked.clips} of {asked.clip_sec:g} s, {asked.rate} Hz, {asked.channels} channel(s)",
        "reference": reference.name,
        "rounds": asked.rounds,
        "largest difference of a feature, WAV": differing,
        "formats": {name: _format_numbers(sides_taken, asked) for name, sides_taken in taken.items()},
    }


def table(numbers: dict[str, Any]) -> list[str]:
    """The numbers as lines for people."""
    lines = [f"{key}: {numbers[key]}" for key in ("clips", "reference", "rounds")]
    lines.append(f"{'':11} {'ms/clip':>8} {'x real time':>12}   ratios of processor time, median (least to most)")
    for name, found in numbers["formats"].items():
        ratios = "; ".join(
            f"{_spread(found[side]['ratio'])} {side.removeprefix('reference, ')}" for side in (PADDED, UNPADDED)
        )
        ours = found[OURS]
        lines.append(
            f"{name:11} {ours['ms_per_clip']:8.2f} {ours['times_real_time']:12.0f}   {ratios}; wanted {WANTED[name]:g}"
        )
    return lines


def _spread(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})"


def _ours(paths: Sequence[Path], log_mel: LogMel, clip_sec: float) -> torch.Tensor:
    num_samples = num_samples_of(clip_sec) // HOP_LENGTH * HOP_LENGTH
    waveforms = torch.zeros(len(paths), num_samples)
    for target, path in zip(waveforms, paths, strict=True):
        samples = read_waveform(path, duration_sec=clip_sec)[:num_samples]
        target[: len(samples)] = torch.from_numpy(samples)
    features: torch.Tensor = log_mel(waveforms)
    return features


class _Reference:
    """`datasets` and transformers, as they are documented."""

    def __init__(self, num_mel_bins: int) -> None:
        import datasets
        from transformers import WhisperFeatureExtractor

        try:
            import torchcodec.decoders  # noqa: F401 (its import looks for FFmpeg)
        except (ImportError, RuntimeError, OSError) as error:
            raise EnvironmentProblem(
                f"`datasets` decodes audio with torchcodec, which does not work here: {first_line(error)}",
                remedy="pip install torchcodec, and install FFmpeg's libraries (4 to 8)",
            ) from None
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("datasets", "torchcodec", "transformers"))
        self.name = f"datasets.Audio(sampling_rate=16000) and WhisperFeatureExtractor ({versions})"
        self._datasets, self._extractor = datasets, WhisperFeatureExtractor(feature_size=num_mel_bins)
        self._opened: dict[tuple[Path, ...], Any] = {}

    def __call__(self, paths: Sequence[Path], *, pad: bool) -> Any:
        key = tuple(paths)
        if key not in self._opened:  # making the data set is no part of reading it
            made = self._datasets.Dataset.from_dict({"audio": [str(path) for path in paths]})
            self._opened[key] = made.cast_column("audio", self._datasets.Audio(sampling_rate=SAMPLE_RATE))
        arrays = [row["audio"]["array"] for row in self._opened[key]]
        padding = "max_length" if pad else "longest"
        return self._extractor(arrays, sampling_rate=SAMPLE_RATE, padding=padding, return_tensors="pt").input_features


def _timed(run: Callable[[Sequence[Path]], Any], paths: Sequence[Path], batch_clips: int) -> tuple[float, float]:
    """Seconds of processor time, of all threads, and seconds on the clock."""
    begun, begun_clock = time.process_time(), time.perf_counter()
    for start in range(0, len(paths), batch_clips):
        run(paths[start : start + batch_clips])
    return time.process_time() - begun, time.perf_counter() - begun_clock


def _format_numbers(taken: dict[str, list[tuple[float, float]]], asked: DecodeBench) -> dict[str, Any]:
    ours = np.array(taken[OURS])
    numbers: dict[str, Any] = {}
    for side, rounds in taken.items():
        seconds = np.array(rounds)
        per_clip = float(np.median(seconds[:, 0])) / asked.clips
        numbers[side] = {"ms_per_clip": 1000 * per_clip, "times_real_time": asked.clip_sec / per_clip}
        if side != OURS:
            ratios = seconds / ours
            numbers[side] |= {"ratio": _quantiles(ratios[:, 0]), "ratio by the clock": _quantiles(ratios[:, 1])}
    return numbers


def _quantiles(ratios: npt.NDArray[np.float64]) -> dict[str, float]:
    return {"median": float(np.median(ratios)), "least": float(ratios.min()), "most": float(ratios.max())}


def _largest_difference(paths: Sequence[Path], sides: dict[str, Callable[[Sequence[Path]], Any]]) -> float:
    """Two resamplers are compared with it: what it says is that both sides compute the same thing."""
    ours, theirs = sides[OURS](paths[:4]), sides[UNPADDED](paths[:4])
    frames = min(ours.shape[-1], theirs.shape[-1])
    return float((ours[..., :frames] - theirs[..., :frames]).abs().max())


def _write_clips(folder: Path, name: str, asked: DecodeBench) -> list[Path]:
    """Tones that glide and die away over coloured noise, [channels] of them, none like another."""
    ending, container, subtype = FORMATS[name]
    paths = []
    for number in range(asked.clips):
        path = folder / f"{os.getpid()}-{number}.{ending}"
        soundfile.write(path, _sound(number, asked), asked.rate, format=container, subtype=subtype)
        paths.append(path)
    return paths


def _sound(number: int, asked: DecodeBench) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(number)
    num_samples = round(asked.clip_sec * asked.rate)
    time_sec = np.arange(num_samples) / asked.rate
    spectrum = np.fft.rfft(rng.normal(size=(num_samples, asked.channels)), axis=0)
    spectrum /= np.sqrt(1 + np.arange(len(spectrum)))[:, None]  # pink, as most of nature
    noise = np.fft.irfft(spectrum, num_samples, axis=0)
    tones = sum(
        np.sin(2 * np.pi * hertz * (time_sec + 0.1 * time_sec**2)) * np.exp(-time_sec * decay)
        for hertz, decay in zip(rng.uniform(80, 4000, 6), rng.uniform(0.1, 3, 6), strict=True)
    )
    mixed = noise / np.abs(noise).max() + 0.2 * np.asarray(tones)[:, None]
    return np.asarray(0.7 * mixed / np.abs(mixed).max())
