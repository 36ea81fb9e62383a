"""What a sound is, and the patterns that several kinds share: beats, scattered impulses, clicks and strikes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.demo import dsp
from whisper_aut.demo.draw import Draw
from whisper_aut.demo.dsp import Wave


@dataclass(frozen=True, slots=True)
class Sound:
    """A wave and the words that describe how it was drawn (adverbs such as 'slowly', may be empty)."""

    wave: Wave
    manner: str = ""


def pace(value: float, slow_below: float, fast_above: float) -> str:
    """The adverb for an event rate."""
    return "slowly" if value < slow_below else "quickly" if value > fast_above else ""


def beats(draw: Draw, num_samples: int, per_sec: float, jitter: float) -> list[int]:
    """Starts of events about ``per_sec`` times a second, each off by up to ``jitter`` of the gap."""
    gap = SAMPLE_RATE / per_sec
    first = draw.rng.random() * min(gap, 0.5 * num_samples)
    count = max(1, int((num_samples - first) / gap) + 1)
    return [int(first + gap * (i + jitter * draw.rng.uniform(-0.5, 0.5))) for i in range(count)]


def scatter(draw: Draw, num_samples: int, per_sec: float, spread: float = 1.0) -> Wave:
    """Impulses at random times (Poisson, ``per_sec`` a second) with log-normal heights."""
    train = np.zeros(num_samples, np.float32)
    count = max(1, int(draw.rng.poisson(per_sec * num_samples / SAMPLE_RATE)))
    heights = draw.rng.lognormal(0.0, spread, count) * draw.rng.choice([-1.0, 1.0], count)
    np.add.at(train, draw.rng.integers(0, num_samples, count), heights.astype(np.float32))
    return train


def click(draw: Draw, n: int, hertz: float, tau_sec: float, tonal: float) -> Wave:
    """A click that rings at ``hertz``; ``tonal`` is the share of ringing against noise."""
    ring = dsp.tone(hertz, n) + 0.6 * dsp.tone(hertz * 1.63, n) + 0.4 * dsp.tone(hertz * 2.41, n)
    hiss = dsp.noise(draw.rng, n)
    return dsp.as_wave((tonal * ring + (1 - tonal) * hiss) * dsp.decay(n, tau_sec, 0.0005))


def strikes(draw: Draw, n: int, starts: list[int], hertz: float, tau_sec: float, tonal: float, thud: float) -> Wave:
    """Clicks of about ``hertz`` at ``starts``, each with a low thud of level ``thud``."""
    wave = np.zeros(n, np.float32)
    size = dsp.samples(0.35)
    for start in starts:
        hit = click(draw, size, hertz * float(draw.rng.uniform(0.97, 1.03)), tau_sec, tonal)
        hit += thud * dsp.tone(draw.rng.uniform(90, 130), size) * dsp.decay(size, 0.04)
        dsp.add_at(wave, hit, start, float(draw.rng.uniform(0.7, 1.0)))
    return wave
