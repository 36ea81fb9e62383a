"""Which changed copies the leakage check finds: each change alone, over real clips, and the names of those missed."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.leakage.index import LandmarkIndex
from whisper_aut.leakage.landmarks import Floats
from whisper_aut.leakage.search import Listener, build_index, listen_to
from whisper_aut.leakage.sides import manifest_segments, task_segments
from whisper_aut.probe.tasks.labelled import load_task
from whisper_aut.progress import track

_CROP_SEC = 2.0
_MP3_64K, _OPUS_16K = 0.885, 0.96  # libsndfile's compression levels at 44.1 and 16 kHz
Change = Callable[[Floats, Floats], Floats]


def _resampled(wave: Floats, by: float) -> Floats:
    return np.asarray(soxr.resample(wave, by, 1.0), dtype=np.float32)


def _coded(wave: Floats, kind: str, subtype: str, level: float, rate: int) -> Floats:
    packed = io.BytesIO()
    with soundfile.SoundFile(packed, "w", rate, 1, subtype, format=kind, compression_level=level) as file:
        file.write(np.clip(soxr.resample(wave, SAMPLE_RATE, rate), -1, 1))
    packed.seek(0)
    return np.asarray(soxr.resample(soundfile.read(packed, dtype="float32")[0], rate, SAMPLE_RATE), dtype=np.float32)


def _opus(wave: Floats) -> Floats:
    return _coded(wave, "OGG", "OPUS", _OPUS_16K, SAMPLE_RATE)


def _cropped(wave: Floats, duration_sec: float = _CROP_SEC) -> Floats:
    """The loudest piece: a piece of silence has nothing to be found by."""
    size = round(duration_sec * SAMPLE_RATE)
    energy = np.cumsum(np.concatenate([[0.0], wave.astype(np.float64) ** 2]))
    if len(wave) <= size:
        return wave
    start = int(np.argmax(energy[size:] - energy[:-size]))
    return wave[start : start + size]


def _mixed(wave: Floats, other: Floats) -> Floats:
    """At 0 dB of the whole clips' power."""
    other = np.resize(other, len(wave))
    gain = np.sqrt(np.square(wave).mean() / max(float(np.square(other).mean()), 1e-12))
    return np.asarray((wave + other * gain) / 2, dtype=np.float32)


CHANGES: dict[str, Change] = {
    "as it is": lambda wave, other: wave,
    "gain -26 dB": lambda wave, other: wave * np.float32(0.05),
    "upside down": lambda wave, other: -wave,
    "begins later, ends earlier": lambda wave, other: np.concatenate([other[:7777], wave[: len(wave) * 4 // 5]]),
    "8 kHz": lambda wave, other: _resampled(_resampled(wave, 2.0), 0.5),
    "MP3 64 kbit/s": lambda wave, other: _coded(wave, "MP3", "MPEG_LAYER_III", _MP3_64K, 44_100),
    "Opus 16 kbit/s": lambda wave, other: _opus(wave),
    "cut to 2 s": lambda wave, other: _cropped(wave),
    "cut to 1 s": lambda wave, other: _cropped(wave, 1.0),
    "cut to 2 s, Opus 16 kbit/s": lambda wave, other: _opus(_cropped(wave)),
    "inside a longer one": lambda wave, other: np.concatenate([other, other[::-1], wave, other]),
    "mixed at 0 dB": _mixed,
    "mixed at 0 dB, Opus 16 kbit/s": lambda wave, other: _opus(_mixed(wave, other)),
    "0.2% faster": lambda wave, other: _resampled(wave, 1.002),
    "1% slower": lambda wave, other: _resampled(wave, 0.99),
    "3% faster": lambda wave, other: _resampled(wave, 1.03),
    "3% slower": lambda wave, other: _resampled(wave, 0.97),
    "3% faster, Opus 16 kbit/s": lambda wave, other: _opus(_resampled(wave, 1.03)),
    "5% faster": lambda wave, other: _resampled(wave, 1.05),
}


def measure_leak_recall(task_folder: Path, others: Path, *, num_clips: int) -> dict[str, Any]:
    """Copies found of every change, the weakest found, the strongest wrong guess, and what was not found."""
    clips = task_segments([load_task(task_folder)])
    strangers = list(manifest_segments(others))
    chosen = np.linspace(0, len(clips) - 1, num_clips).astype(int).tolist()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        build_index(Path(scratch), clips, workers=0, heard=lambda clip, found: None)
        listener = Listener(LandmarkIndex(Path(scratch)), clips)
        changes: dict[str, dict[str, Any]] = {
            name: {"found": 0, "weakest": np.inf, "strongest_wrong": 0.0, "missed": []} for name in CHANGES
        }
        for number in track(chosen, "changed copies", total=len(chosen), unit="clips"):
            wave = clips[number].read()
            other = strangers[int(rng.integers(len(strangers)))].read()
            for name, change in CHANGES.items():
                heard = listen_to(change(wave, other), listener)
                confidences = [match.found.confidence for match in heard.matches if match.clip == number]
                at = changes[name]
                at["found"] += len(confidences)
                at["weakest"] = min([at["weakest"], *confidences])
                if heard.closest is not None and heard.closest.clip != number:
                    at["strongest_wrong"] = max(at["strongest_wrong"], heard.closest.found.confidence)
                if not confidences:
                    at["missed"].append(clips[number].id)
    return {"task": str(task_folder), "clips": num_clips, "indexed clips": len(clips), "changes": changes}


def table(numbers: dict[str, Any]) -> list[str]:
    """As lines of Markdown."""
    lines = ["| change | found | weakest confidence | strongest wrong guess |", "| --- | ---: | ---: | ---: |"]
    for name, at in numbers["changes"].items():
        found = f"{at['found']} of {numbers['clips']}"
        lines.append(f"| {name} | {found} | {at['weakest']:.0f} | {at['strongest_wrong']:.1f} |")
    return lines
