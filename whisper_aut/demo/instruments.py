"""Instruments: plucked strings (Karplus-Strong), FM, subtractive voices and drums, each one note or hit at a time.

Sources: K. Karplus and A. Strong, Digital Synthesis of Plucked-String and Drum Timbres (1983); J. Chowning, The
Synthesis of Complex Audio Spectra by Means of Frequency Modulation (1973).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.demo import dsp
from whisper_aut.demo.dsp import Wave

Voice = Callable[[float, int, np.random.Generator, float], Wave]
"""(frequency in Hz, samples, generator, brightness 0..1) to one note, float32 [S]."""


def _gate(num_samples: int, attack_sec: float, release_sec: float) -> Wave:
    """An envelope for sustained notes."""
    time_sec = dsp.seconds(num_samples)
    left_sec = num_samples / SAMPLE_RATE - time_sec
    return dsp.as_wave(np.minimum(1.0, np.minimum(time_sec / attack_sec, left_sec / release_sec)))


def _string(hertz: float, n: int, rng: np.random.Generator, brightness: float, loss: float) -> Wave:
    """Karplus-Strong, one period at a time: each is the mean of the last and its neighbour, times ``loss``."""
    period = max(2, round(SAMPLE_RATE / hertz - 0.5))
    burst = rng.uniform(-1, 1, period).astype(np.float32)
    softness = 1 + int((1 - brightness) * 8)
    smooth = np.convolve(np.tile(burst, 3), np.ones(softness, np.float32) / softness, "same")[period : 2 * period]
    rows = np.empty((n // period + 1, period), np.float32)
    rows[0] = smooth - smooth.mean()
    for i in range(1, len(rows)):
        last = rows[i - 1]
        rows[i, 1:] = last[1:] + last[:-1]
        rows[i, 0] = last[0] + last[-1]
        rows[i] *= 0.5 * loss
    return dsp.at_rms(rows.reshape(-1)[:n] * _gate(n, 0.001, 0.02), 0.25)


def _guitar(hertz: float, n: int, rng: np.random.Generator, brightness: float) -> Wave:
    return _string(hertz, n, rng, brightness, 0.996)


def _banjo(hertz: float, n: int, rng: np.random.Generator, brightness: float) -> Wave:
    return _string(hertz, n, rng, 1.0, 0.978)


def _distorted(hertz: float, n: int, rng: np.random.Generator, brightness: float) -> Wave:
    # A power chord (root and fifth) into a saturating amplifier.
    clean = _string(hertz, n, rng, brightness, 0.999) + _string(1.498 * hertz, n, rng, brightness, 0.999)
    return dsp.band(np.tanh((6 + 14 * brightness) * clean), 80, 4500, order=1) * np.float32(0.3)


def _fm(hertz: float, n: int, ratio: float, index: dsp.Curve) -> Wave:
    time_sec = np.arange(n) / SAMPLE_RATE
    # Side bands beyond the Nyquist rate would fold back: the index is limited by what fits.
    fitting = max(0.0, (7500 / hertz - 1) / ratio - 1)
    depth = np.minimum(index, fitting)
    carrier = 2 * np.pi * hertz * time_sec
    return dsp.as_wave(np.sin(carrier + depth * np.sin(ratio * carrier)))


def _electric_piano(hertz: float, n: int, rng: np.random.Generator, brightness: float) -> Wave:
    body = _fm(hertz, n, 1.0, (0.6 + 1.8 * brightness) * dsp.decay(n, 0.35))
    tine = _fm(hertz, n, 14.0, 0.4 * brightness * dsp.decay(n, 0.06))
    return (0.7 * body + 0.3 * tine) * dsp.decay(n, 0.6, 0.004) * _gate(n, 0.001, 0.03)


def _music_box(hertz: float, n: int, rng: np.random.Generator, brightness: float) -> Wave:
    return _fm(2 * hertz, n, 3.5, (0.5 + 1.5 * brightness) * dsp.decay(n, 0.12)) * dsp.decay(n, 0.5, 0.001)


def _brass(hertz: float, n: int, rng: np.random.Generator, brightness: float) -> Wave:
    envelope = _gate(n, 0.06, 0.06)
    return _fm(hertz, n, 1.0, (1.5 + 3.5 * brightness) * envelope) * envelope


def _saw(hertz: float, n: int, darkness: float) -> Wave:
    count = np.arange(1, 80)
    return dsp.harmonics(hertz, n, 0.5 / count * np.exp(-count * hertz / 8000 * darkness))


def _saw_lead(hertz: float, n: int, rng: np.random.Generator, brightness: float) -> Wave:
    # The filter closes within the note: bright and dark cross-fade.
    closing = dsp.decay(n, 0.15 + 0.5 * brightness)
    bright, dark = _saw(hertz, n, 1.0), _saw(hertz, n, 14.0)
    return (bright * closing + dark * (1 - closing)) * _gate(n, 0.004, 0.04)


def _pad(hertz: float, n: int, rng: np.random.Generator, brightness: float) -> Wave:
    dark = 5 + 12 * (1 - brightness)
    detuned = sum(_saw(hertz * cents, n, dark) for cents in (0.994, 1.0, 1.007))
    length_sec = n / SAMPLE_RATE
    return np.asarray(detuned, np.float32) * _gate(n, min(0.5, length_sec / 3), min(0.5, length_sec / 3))


def _organ(hertz: float, n: int, rng: np.random.Generator, brightness: float) -> Wave:
    drawbars = np.array([0.6, 0.5, 0.35, 0.4, 0.0, 0.2, 0.0, 0.3]) * (brightness ** (np.arange(8) / 5))
    tremolo = 1 + 0.2 * dsp.tone(6.2, n)
    return dsp.harmonics(hertz, n, drawbars) * tremolo * _gate(n, 0.01, 0.03)


def _accordion(hertz: float, n: int, rng: np.random.Generator, brightness: float) -> Wave:
    weights = 1 / np.arange(1, 25) ** (1.4 - 0.8 * brightness) * np.where(np.arange(1, 25) % 2, 1.0, 0.5)
    reeds = dsp.harmonics(hertz, n, weights) + dsp.harmonics(hertz * 1.006, n, weights)
    return np.asarray(0.35 * reeds, np.float32) * _gate(n, 0.04, 0.04)


def _flute(hertz: float, n: int, rng: np.random.Generator, brightness: float) -> Wave:
    vibrato = hertz * (1 + 0.006 * dsp.tone(5.0, n))
    air = dsp.band(dsp.noise(rng, n), hertz * 0.8, hertz * 2.5, order=1)
    return (dsp.harmonics(vibrato, n, [1.0, 0.3 * brightness, 0.12]) + 0.06 * air) * _gate(n, 0.05, 0.05)


def _sub_bass(hertz: float, n: int, rng: np.random.Generator, brightness: float) -> Wave:
    return dsp.harmonics(hertz, n, [1.0, 0.35 * brightness, 0.15 * brightness]) * _gate(n, 0.006, 0.03)


def _synth_bass(hertz: float, n: int, rng: np.random.Generator, brightness: float) -> Wave:
    return _saw(hertz, n, 6 + 14 * (1 - brightness)) * dsp.decay(n, 0.4, 0.004) * _gate(n, 0.001, 0.02)


def _plucked_bass(hertz: float, n: int, rng: np.random.Generator, brightness: float) -> Wave:
    return _string(hertz, n, rng, 0.3 * brightness, 0.993)


VOICES: dict[str, Voice] = {
    "acoustic guitar": _guitar,
    "banjo": _banjo,
    "distorted guitar": _distorted,
    "electric piano": _electric_piano,
    "music box": _music_box,
    "trumpet": _brass,
    "tuba": _brass,
    "synth lead": _saw_lead,
    "synth pad": _pad,
    "organ": _organ,
    "accordion": _accordion,
    "flute": _flute,
    "sub bass": _sub_bass,
    "synth bass": _synth_bass,
    "plucked bass": _plucked_bass,
}
"""Every pitched voice by the name that captions give it."""


def drum(name: str, rng: np.random.Generator, colour: float) -> Wave:
    """One hit of ``kick``, ``snare``, ``hat``, ``rim`` or ``shaker``; ``colour`` 0..1 is the kit's tuning."""
    if name == "kick":
        n = dsp.samples(0.3)
        sweep = (42 + 25 * colour) * (1 + 4 * np.exp(-dsp.seconds(n) / 0.025))
        return dsp.tone(sweep, n) * dsp.decay(n, 0.09, 0.001)
    if name == "snare":
        n = dsp.samples(0.22)
        rattle = dsp.band(dsp.noise(rng, n), 900 + 1200 * colour, None, order=1)
        return (0.35 * rattle + 0.5 * dsp.tone(170 + 70 * colour, n)) * dsp.decay(n, 0.06, 0.001)
    if name == "hat":
        n = dsp.samples(0.09)
        return 0.3 * dsp.band(dsp.noise(rng, n), 5000 + 1200 * colour, None) * dsp.decay(n, 0.02, 0.001)
    if name == "rim":
        n = dsp.samples(0.08)
        return (0.6 * dsp.tone(1500 + 700 * colour, n) + 0.3 * dsp.tone(530, n)) * dsp.decay(n, 0.012, 0.0005)
    assert name == "shaker", name
    n = dsp.samples(0.1)
    return 0.25 * dsp.band(dsp.noise(rng, n), 3500, 7500, order=1) * dsp.swell(n, 0.4)
