"""Sounds made in the test, and what the world does to them."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import soundfile
import soxr

RATE = 16_000


def make_sound(seed: int, duration_sec: float = 5.0) -> np.ndarray:
    """Barks, knocks and whistles over noise: events of random resonances, times and levels."""
    rng = np.random.default_rng(seed)
    wave = rng.normal(size=round(duration_sec * RATE)) * 0.004
    for _ in range(max(2, round(3 * duration_sec))):
        times = np.arange(rng.integers(1500, 9000)) / RATE
        event = np.zeros(len(times))
        for _ in range(5):
            hertz, bend, phase, fall = rng.uniform([150, -800, 0, 4], [3800, 800, 6, 40])
            event += np.sin(2 * np.pi * (hertz * times + bend * times**2) + phase) * np.exp(-times * fall)
        event = (event + rng.normal(size=len(times)) * rng.uniform(0.05, 1)) * rng.uniform(0.05, 0.2)
        start = rng.integers(0, max(1, len(wave) - len(event)))
        wave[start : start + len(event)] += event[: len(wave) - start]
    return (0.6 * wave / np.abs(wave).max()).astype(np.float32)


def coded(wave: np.ndarray, kind: str, level: float, rate: int) -> np.ndarray:
    """Through a lossy codec and back to 16 kHz."""
    packed = io.BytesIO()
    subtype = {"MP3": "MPEG_LAYER_III", "OGG": "OPUS"}[kind]
    with soundfile.SoundFile(packed, "w", rate, 1, format=kind, subtype=subtype, compression_level=level) as file:
        file.write(soxr.resample(wave, RATE, rate))
    packed.seek(0)
    back, _ = soundfile.read(packed, dtype="float32")
    return np.asarray(soxr.resample(back, rate, RATE), dtype=np.float32)


def mixed(wave: np.ndarray, other: np.ndarray) -> np.ndarray:
    """With another sound as loud as it is: 0 dB."""
    other = np.resize(other, len(wave))
    return (wave + other * np.sqrt((wave**2).mean() / (other**2).mean())).astype(np.float32) / 2


# What may have happened to a training clip, given another sound. Compression levels: see test_the_codecs_are_as_harsh.
CHANGES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "gain": lambda wave, other: wave * np.float32(0.05),
    "upside down": lambda wave, other: -wave,
    "shift": lambda wave, other: np.concatenate([other[:7777], wave[:60_000]]),
    "8 kHz": lambda wave, other: soxr.resample(soxr.resample(wave, RATE, 8000), 8000, RATE),
    "MP3 64k": lambda wave, other: coded(wave, "MP3", 0.885, 44_100),
    "Opus 16k": lambda wave, other: coded(wave, "OGG", 0.96, RATE),
    "cut to 2 s": lambda wave, other: wave[20_003:52_003],
    "inside a longer one": lambda wave, other: np.concatenate([other, other[::-1], wave, other]),
    "mixed at 0 dB": mixed,
    "3% faster": lambda wave, other: soxr.resample(wave, RATE * 1.03, RATE),
    "3% slower": lambda wave, other: soxr.resample(wave, RATE * 0.97, RATE),
    "0.1% faster": lambda wave, other: soxr.resample(wave, RATE * 1.001, RATE),
}
