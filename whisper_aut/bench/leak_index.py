"""What the index of the leakage check costs: processor time to build it, and its size.

Times are of the processor, not of the clock: one process, one core, whoever else uses the machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.leakage.index import LandmarkIndex, write_index
from whisper_aut.leakage.landmarks import NUM_BINS, Floats, Landmarks, find_peaks, index_landmarks
from whisper_aut.leakage.sides import manifest_segments
from whisper_aut.train.environment import peak_memory_gb

_NUM_QUERIES = 50


def measure_leak_index(manifests: Sequence[Path], *, max_clips: int, generated_hours: float) -> dict[str, Any]:
    """Index the clips of the manifests, then as many varied copies of their landmarks as make ``generated_hours``."""
    segments = [segment for path in manifests for segment in _some(list(manifest_segments(path)), max_clips)]
    decoding_sec = fingerprint_sec = 0.0
    prints: list[tuple[Landmarks, int]] = []
    queries: list[Floats] = []
    with tempfile.TemporaryDirectory() as scratch:
        begun_sec = time.process_time()
        with write_index(Path(scratch)) as index:
            for number, segment in enumerate(segments):
                started = time.process_time()
                wave = segment.read()
                decoded = time.process_time()
                landmarks = index_landmarks(wave)
                fingerprint_sec += time.process_time() - decoded
                decoding_sec += decoded - started
                index.add(landmarks, len(wave))
                prints.append((landmarks, len(wave)))
                if number % max(1, len(segments) // _NUM_QUERIES) == 0:
                    queries.append(wave)
        whole_sec = time.process_time() - begun_sec
        num_bytes = LandmarkIndex(Path(scratch)).num_bytes
        small = _query_times_real_time(Path(scratch), queries)
    audio_sec = sum(num_samples for _, num_samples in prints) / SAMPLE_RATE
    audio_hours = audio_sec / 3600
    # A table of counts by hash is there once, whatever the length.
    landmark_bytes = 4 * sum(len(landmarks) for landmarks, _ in prints)
    numbers: dict[str, Any] = {
        "clips": len(segments),
        "hours": audio_hours,
        "build with decoding, times real time a core": audio_sec / whole_sec,
        "build without decoding, times real time a core": audio_sec / (whole_sec - decoding_sec),
        "decoding alone, times real time a core": audio_sec / decoding_sec,
        "landmarks alone, times real time a core": audio_sec / fingerprint_sec,
        "bytes an hour": landmark_bytes / audio_hours,
        "1,000 hours from that, GB": (landmark_bytes / audio_hours * 1000 + num_bytes - landmark_bytes) / 1e9,
        "asking this index, times real time a core": small,
    }
    if generated_hours:
        numbers |= _generated(prints, queries, generated_hours)
    return numbers


def _some(segments: list[Any], max_clips: int) -> list[Any]:
    return segments[:: -(-len(segments) // max_clips)]


def _query_times_real_time(folder: Path, queries: Sequence[Floats]) -> float:
    """Peaks and look-up at all speeds, without decoding and without comparing waveforms."""
    index = LandmarkIndex(folder)
    begun_sec = time.process_time()
    for wave in queries:
        index.candidates(find_peaks(wave))
    return sum(map(len, queries)) / SAMPLE_RATE / (time.process_time() - begun_sec)


def _generated(prints: Sequence[tuple[Landmarks, int]], queries: Sequence[Floats], hours: float) -> dict[str, Any]:
    """A large index: the clips again and again, every time transposed, and every landmark's gap redrawn."""
    rng = np.random.default_rng(0)
    num_samples_wanted = round(hours * 3600 * SAMPLE_RATE)
    num_samples = num_clips = 0
    with tempfile.TemporaryDirectory() as scratch:
        begun_sec = time.process_time()
        with write_index(Path(scratch)) as index:
            while num_samples < num_samples_wanted:
                landmarks, length = prints[num_clips % len(prints)]
                low = (landmarks.code >> 12) + rng.integers(-40, 40)
                code = (np.clip(low, 0, NUM_BINS - 1) << 12) | (landmarks.code & 0xFE0)
                index.add(Landmarks(code | rng.integers(2, 32, len(code)), landmarks.frame), length)
                num_samples += length
                num_clips += 1
        written_sec = time.process_time() - begun_sec
        large = LandmarkIndex(Path(scratch))
        return {
            "generated clips": num_clips,
            "generated hours": num_samples / SAMPLE_RATE / 3600,
            "generated index, GB": large.num_bytes / 1e9,
            "generated index, landmarks": len(large),
            "generating and writing it, s": written_sec,
            "peak memory of all this, GB": peak_memory_gb(),
            "asking the large index, times real time a core": _query_times_real_time(Path(scratch), queries),
        }
