"""Sounds of weather, water, fire and animals, each made from scratch with drawn parameters."""

from __future__ import annotations

import numpy as np
from scipy import signal

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.demo import dsp
from whisper_aut.demo.draw import Draw
from whisper_aut.demo.sound import Sound, beats, pace, scatter


def rain(draw: Draw, n: int) -> Sound:
    """Drops on a surface over broadband hiss."""
    density = draw.log_uniform(60, 900)
    kernel = dsp.noise(draw.rng, 96) * dsp.decay(96, 0.0012, 0.0003)
    drops = signal.oaconvolve(scatter(draw, n, density, 0.8), kernel)[:n].astype(np.float32)
    hiss = dsp.band(dsp.noise(draw.rng, n, -2), draw.uniform(700, 1800), None)
    hiss *= dsp.contour(draw.rng, n, 0.5, 0.8, 1.1)
    wave = dsp.at_rms(hiss, 1.0) + dsp.at_rms(drops, draw.uniform(0.5, 1.3))
    return Sound(wave, "gently" if density < 200 else "heavily" if density > 420 else "")


def wind(draw: Draw, n: int) -> Sound:
    """Low noise in gusts and a whistle that follows them."""
    gusts = draw.uniform(0.4, 1.6)
    strength = dsp.contour(draw.rng, n, gusts, 0.1, 1.0)
    low = dsp.noise(draw.rng, n, -6)
    # A whistle: narrow noise whose centre follows the gusts, made as noise on a moving carrier.
    centre = draw.log_uniform(300, 900)
    slow = dsp.band(dsp.noise(draw.rng, n), None, draw.uniform(25, 70))
    whistle = slow * dsp.tone(centre * (0.6 + 0.8 * strength), n)
    wave = dsp.at_rms(low, 1.0) * strength + dsp.at_rms(whistle, draw.uniform(0.3, 0.9)) * strength**2
    return Sound(wave, "in gusts" if gusts > 1.0 else "steadily")


def surf(draw: Draw, n: int) -> Sound:
    """Waves that rush in and drain away."""
    period = draw.uniform(2.2, 5.0)
    time = dsp.seconds(n) / period + draw.rng.random()
    phase = time % 1.0
    envelope = np.where(phase < 0.35, (phase / 0.35) ** 2, np.exp(-(phase - 0.35) * 4.5)).astype(np.float32)
    rush = dsp.band(dsp.noise(draw.rng, n, -3), 80, draw.uniform(1500, 3500), order=1)
    foam = dsp.band(dsp.noise(draw.rng, n), draw.uniform(2500, 4000), None, order=1)
    wave = dsp.at_rms(rush, 1.0) * (0.12 + envelope) + dsp.at_rms(foam, 0.35) * envelope**2
    return Sound(wave.astype(np.float32), pace(1 / period, 0.26, 0.36))


def thunder(draw: Draw, n: int) -> Sound:
    """Overlapping rolls of low noise, often after a crack."""
    wave = np.zeros(n, np.float32)
    start = int(draw.rng.uniform(0.02, 0.35) * n)
    crack = draw.chance(0.6)
    for _ in range(int(draw.rng.integers(5, 10))):
        length = dsp.samples(draw.uniform(0.8, 2.8))
        roll = dsp.band(dsp.noise(draw.rng, length, -6), 25, draw.log_uniform(90, 400), order=1)
        begin = start + int(draw.rng.exponential(0.5) * SAMPLE_RATE)
        dsp.add_at(wave, dsp.at_rms(roll, 1.0) * dsp.swell(length, 0.1) ** 2, begin)
    if crack:
        length = dsp.samples(0.5)
        snap = dsp.noise(draw.rng, length, -2) * dsp.decay(length, draw.uniform(0.04, 0.12), 0.001)
        dsp.add_at(wave, dsp.at_rms(snap, 1.0), start)
    return Sound(wave, "with a sharp crack" if crack else "in a long roll")


def bubbling(draw: Draw, n: int) -> Sound:
    """Short tones that rise in pitch."""
    rate = draw.log_uniform(6, 45)
    wave = np.zeros(n, np.float32)
    centre = draw.log_uniform(350, 1100)
    for _ in range(max(2, int(rate * n / SAMPLE_RATE))):
        length = dsp.samples(draw.rng.uniform(0.02, 0.12))
        hertz = centre * float(draw.rng.lognormal(0, 0.35))
        # A bubble's pitch rises as it nears the surface.
        glide = hertz * (1 + draw.rng.uniform(0.1, 0.9) * np.linspace(0, 1, length) ** 2)
        pop = dsp.tone(glide, length) * dsp.decay(length, length / SAMPLE_RATE / 3.5)
        dsp.add_at(wave, pop, int(draw.rng.integers(n)), float(draw.rng.lognormal(0, 0.5)))
    return Sound(wave, pace(rate, 11, 26))


def fire(draw: Draw, n: int) -> Sound:
    """Sparse crackles over a low roar."""
    rate = draw.log_uniform(6, 40)
    kernel = dsp.noise(draw.rng, 200) * dsp.decay(200, 0.0025, 0.0002)
    crackle = signal.oaconvolve(scatter(draw, n, rate, 1.1), kernel)[:n].astype(np.float32)
    roar = dsp.noise(draw.rng, n, -5) * dsp.contour(draw.rng, n, 3, 0.4, 1.0)
    wave = dsp.at_rms(dsp.band(crackle, 500, None, order=1), 1.0) + dsp.at_rms(roar, draw.uniform(0.25, 0.8))
    return Sound(wave, "softly" if rate < 12 else "vigorously" if rate > 25 else "")


def dog(draw: Draw, n: int) -> Sound:
    """Voiced bursts through two formants."""
    rate = draw.uniform(0.8, 3.0)
    pitch = draw.log_uniform(180, 620)
    formants = (draw.uniform(600, 1100), draw.uniform(1300, 2200))
    wave = np.zeros(n, np.float32)
    for start in beats(draw, n, rate, 0.35):
        size = dsp.samples(draw.rng.uniform(0.12, 0.25))
        glide = pitch * (0.75 + 0.5 * np.sin(np.pi * np.linspace(0.1, 1, size))) * draw.rng.uniform(0.92, 1.08)
        source = dsp.harmonics(glide, size, 1 / np.arange(1, 30) ** 0.7) + 0.6 * dsp.noise(draw.rng, size)
        bark = sum(dsp.band(source, f * 0.75, f * 1.3, order=1) for f in formants) + 0.15 * source
        dsp.add_at(wave, bark * dsp.swell(size, 0.2), start, float(draw.rng.uniform(0.6, 1.0)))
    return Sound(wave, pace(rate, 1.4, 2.3))


def birds(draw: Draw, n: int) -> Sound:
    """Sweeping and trilling whistles."""
    rate = draw.uniform(1.2, 6.0)
    centre = draw.log_uniform(2200, 5200)
    trill = draw.uniform(8, 35)
    depth = draw.uniform(0.03, 0.22)
    wave = np.zeros(n, np.float32)
    for start in beats(draw, n, rate, 0.6):
        size = dsp.samples(draw.rng.uniform(0.06, 0.28))
        sweep = np.linspace(draw.rng.uniform(-0.2, 0.2), draw.rng.uniform(-0.2, 0.2), size)
        hertz = (
            centre * draw.rng.uniform(0.85, 1.15) * (1 + sweep + depth * np.sin(2 * np.pi * trill * dsp.seconds(size)))
        )
        chirp = dsp.harmonics(np.clip(hertz, 800, 7600), size, [1.0, 0.15])
        dsp.add_at(wave, chirp * dsp.swell(size, 0.3), start, float(draw.rng.uniform(0.4, 1.0)))
    return Sound(wave, pace(rate, 2.2, 4.2))


def crickets(draw: Draw, n: int) -> Sound:
    """Pulsed high carriers, one to three insects."""
    wave = np.zeros(n, np.float32)
    rate = draw.uniform(1.5, 9.0)
    for voice in range(int(draw.rng.integers(1, 4))):
        carrier = draw.log_uniform(2600, 5600)
        pulse = draw.uniform(25, 60)
        time = dsp.seconds(n)
        speed = rate * (1 + 0.07 * voice)
        gate = ((time * speed + draw.rng.random()) % 1.0 < 0.55).astype(np.float32)
        gate = signal.lfilter([0.02], [1, -0.98], gate).astype(np.float32)
        pulses = np.maximum(0, np.sin(2 * np.pi * pulse * time)) ** 2
        wave += dsp.tone(carrier, n) * gate * pulses * np.float32(draw.rng.uniform(0.4, 1.0))
    return Sound(wave, pace(rate, 3.5, 6.5))
