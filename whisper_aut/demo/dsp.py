"""Building blocks of synthetic sound: noise, filters, envelopes, rooms, levels.

Signals are float32 arrays [S] at 16 kHz unless a docstring says otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, signal

from whisper_aut.constants import SAMPLE_RATE

Wave = npt.NDArray[np.float32]
Curve = npt.NDArray[np.floating[Any]]

_NYQUIST = SAMPLE_RATE / 2


def as_wave(values: npt.ArrayLike) -> Wave:
    """``values`` as float32."""
    return np.asarray(values, dtype=np.float32)


def samples(duration_sec: float) -> int:
    """Samples in ``duration_sec`` seconds, at least one."""
    return max(1, round(duration_sec * SAMPLE_RATE))


def seconds(num_samples: int) -> Wave:
    """Time of every sample, in seconds."""
    return as_wave(np.arange(num_samples) / SAMPLE_RATE)


def noise(rng: np.random.Generator, num_samples: int, slope_db: float = 0.0) -> Wave:
    """Gaussian noise with ``slope_db`` dB per octave (0 white, -3 pink, -6 brown) and unit RMS."""
    white = rng.standard_normal(num_samples, dtype=np.float32)
    if slope_db == 0.0:
        return white
    size = fft.next_fast_len(num_samples, real=True)
    spectrum = fft.rfft(white, size)
    # 20 Hz is the lowest frequency that is shaped: below it nothing is heard and the slope would explode.
    hertz = np.maximum(fft.rfftfreq(size, 1 / SAMPLE_RATE), 20.0)
    spectrum *= (hertz / 1000.0).astype(np.float32) ** (slope_db / 6.02)
    return at_rms(fft.irfft(spectrum, size)[:num_samples].astype(np.float32), 1.0)


def band(wave: Wave, low_hz: float | None, high_hz: float | None, order: int = 2) -> Wave:
    """Butterworth band-pass, or high-pass where ``high_hz`` is None, or low-pass where ``low_hz`` is None."""
    low = None if low_hz is None else min(max(low_hz, 10.0), 0.9 * _NYQUIST)
    high = None if high_hz is None else min(max(high_hz, 20.0), 0.97 * _NYQUIST)
    if low is not None and high is not None:
        sections = signal.butter(order, [low, max(high, low * 1.05)], "bandpass", fs=SAMPLE_RATE, output="sos")
    elif low is not None:
        sections = signal.butter(order, low, "highpass", fs=SAMPLE_RATE, output="sos")
    else:
        sections = signal.butter(order, high, "lowpass", fs=SAMPLE_RATE, output="sos")
    return as_wave(signal.sosfilt(sections.astype(np.float32), wave))


def contour(rng: np.random.Generator, num_samples: int, rate_hz: float, low: float, high: float) -> Wave:
    """A smooth random curve between ``low`` and ``high`` with about ``rate_hz`` turns a second."""
    num_points = max(4, int(num_samples / SAMPLE_RATE * rate_hz) + 3)
    points = rng.uniform(low, high, num_points)
    # Half a cosine between points: no overshoot, so the bounds hold.
    position = np.linspace(0, num_points - 1.001, num_samples)
    left = position.astype(np.int64)
    blend = 0.5 - 0.5 * np.cos(np.pi * (position - left))
    return as_wave(points[left] * (1 - blend) + points[left + 1] * blend)


def decay(num_samples: int, tau_sec: float, attack_sec: float = 0.002) -> Wave:
    """An envelope that rises in ``attack_sec`` and falls to 1/e in ``tau_sec``."""
    time_sec = seconds(num_samples)
    return as_wave(np.exp(-time_sec / tau_sec) * np.minimum(1.0, time_sec / attack_sec))


def swell(num_samples: int, rise: float = 0.5) -> Wave:
    """An envelope that rises over the share ``rise`` and falls over the rest, smooth, zero at both ends."""
    share = np.linspace(0, 1, num_samples, dtype=np.float32)
    phase = np.where(share < rise, share / rise, (1 - share) / (1 - rise))
    return as_wave(np.sin(0.5 * np.pi * phase) ** 2)


def tone(frequency_hz: Curve | float, num_samples: int, phase: float = 0.0) -> Wave:
    """A sine whose frequency may change from sample to sample."""
    steps = np.broadcast_to(np.asarray(frequency_hz, np.float64), (num_samples,)) / SAMPLE_RATE
    return as_wave(np.sin(2 * np.pi * (np.cumsum(steps) + phase)))


def harmonics(frequency_hz: Curve | float, num_samples: int, weights: npt.ArrayLike) -> Wave:
    """A sum of partials 1, 2, 3, ... of a (changing) fundamental, each with its weight; none above the Nyquist rate."""
    frequency = np.broadcast_to(np.asarray(frequency_hz, np.float64), (num_samples,))
    highest = float(frequency.max())
    amplitudes = [w for k, w in enumerate(np.atleast_1d(np.asarray(weights, float)), 1) if k * highest < _NYQUIST]
    if not amplitudes:
        return np.zeros(num_samples, np.float32)
    # One period as a table of 4096 points, read at the phase: one look-up for any number of partials.
    spectrum = np.zeros(2049, np.complex128)
    spectrum[1 : len(amplitudes) + 1] = -1j * np.asarray(amplitudes)
    table = fft.irfft(spectrum, 4096) * 2048
    phase = np.cumsum(frequency) / SAMPLE_RATE % 1.0
    return as_wave(np.interp(phase, np.arange(4097) / 4096, np.append(table, table[0])))


def add_at(target: Wave, event: Curve, start: int, gain: float = 1.0) -> None:
    """Add ``event`` to ``target`` in place from sample ``start`` on; what reaches beyond either end is cut."""
    first, last = max(0, start), min(len(target), start + len(event))
    if first < last:
        target[first:last] += as_wave(gain * event[first - start : last - start])


def rms(wave: Wave) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))


def at_rms(wave: Wave, level: float) -> Wave:
    """``wave`` scaled to the RMS ``level``; silence stays silence."""
    now = rms(wave)
    return wave if now < 1e-9 else (wave * np.float32(level / now)).astype(np.float32)


def active_rms(wave: Wave) -> float:
    """RMS of the louder half of 20 ms frames: the level of an intermittent sound while it sounds."""
    frame = samples(0.02)
    if len(wave) < 2 * frame:
        return rms(wave)
    power = np.square(wave[: len(wave) // frame * frame], dtype=np.float64).reshape(-1, frame).mean(axis=1)
    return float(np.sqrt(np.sort(power)[len(power) // 2 :].mean()))


def mix(front: Wave, back: Wave, snr_db: float) -> Wave:
    """``front`` (active level one) over ``back``, ``snr_db`` decibels below it. Both are [S]."""
    loud = active_rms(front)
    scaled = front / np.float32(loud) if loud > 1e-9 else front
    return as_wave(scaled + at_rms(back, 10 ** (-snr_db / 20)))


def reverb(wave: Wave, rng: np.random.Generator, rt60_sec: float, wet: float) -> Wave:
    """A room: convolution with decaying noise that falls 60 dB in ``rt60_sec``; ``wet`` is the share of the room."""
    length = samples(rt60_sec)
    response = noise(rng, length) * np.exp(-6.9 * seconds(length) / rt60_sec)
    response = band(response, 100.0, 6000.0, order=1)
    tail = signal.fftconvolve(wave, response)[: len(wave)].astype(np.float32)
    return as_wave((1 - wet) * wave + wet * at_rms(tail, rms(wave)))


def to_pcm16(wave: Wave, peak: float) -> npt.NDArray[np.int16]:
    """16-bit samples with the largest at ``peak`` (0..1) of full scale; clicks at the ends are faded out (5 ms)."""
    fade = min(samples(0.005), len(wave) // 2)
    shaped = wave - np.float32(wave.mean())
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    shaped[:fade] *= ramp
    shaped[len(shaped) - fade :] *= ramp[::-1]
    largest = float(np.abs(shaped).max())
    scale = peak / largest if largest > 1e-9 else 0.0
    return np.round(shaped * (scale * 32767.0)).astype(np.int16)
