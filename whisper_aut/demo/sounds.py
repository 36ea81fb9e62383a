"""Twenty kinds of everyday sound, each made from scratch with drawn parameters.

A kind is a function of a ``Draw`` and a length in samples that gives a ``Sound``: the wave, float32 [S] at 16 kHz at
any level, and words for what was drawn (pace, character), from which the caption is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import signal

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.demo import dsp
from whisper_aut.demo.draw import Draw
from whisper_aut.demo.dsp import Wave


@dataclass(frozen=True, slots=True)
class Sound:
    """A wave and the words that describe how it was drawn (adverbs such as 'slowly', may be empty)."""

    wave: Wave
    manner: str = ""


def _pace(value: float, slow_below: float, fast_above: float) -> str:
    return "slowly" if value < slow_below else "quickly" if value > fast_above else ""


def _beats(draw: Draw, num_samples: int, per_sec: float, jitter: float) -> list[int]:
    """Starts of events about ``per_sec`` times a second, each off by up to ``jitter`` of the gap."""
    gap = SAMPLE_RATE / per_sec
    first = draw.rng.random() * min(gap, 0.5 * num_samples)
    count = max(1, int((num_samples - first) / gap) + 1)
    return [int(first + gap * (i + jitter * draw.rng.uniform(-0.5, 0.5))) for i in range(count)]


def _scatter(draw: Draw, num_samples: int, per_sec: float, spread: float = 1.0) -> Wave:
    """Impulses at random times (Poisson, ``per_sec`` a second) with log-normal heights."""
    train = np.zeros(num_samples, np.float32)
    count = max(1, int(draw.rng.poisson(per_sec * num_samples / SAMPLE_RATE)))
    heights = draw.rng.lognormal(0.0, spread, count) * draw.rng.choice([-1.0, 1.0], count)
    np.add.at(train, draw.rng.integers(0, num_samples, count), heights.astype(np.float32))
    return train


def _rain(draw: Draw, n: int) -> Sound:
    density = draw.log_uniform(60, 900)
    kernel = dsp.noise(draw.rng, 96) * dsp.decay(96, 0.0012, 0.0003)
    drops = signal.oaconvolve(_scatter(draw, n, density, 0.8), kernel)[:n].astype(np.float32)
    hiss = dsp.band(dsp.noise(draw.rng, n, -2), draw.uniform(700, 1800), None)
    hiss *= dsp.contour(draw.rng, n, 0.5, 0.8, 1.1)
    wave = dsp.at_rms(hiss, 1.0) + dsp.at_rms(drops, draw.uniform(0.5, 1.3))
    return Sound(wave, "gently" if density < 200 else "heavily" if density > 420 else "")


def _wind(draw: Draw, n: int) -> Sound:
    gusts = draw.uniform(0.4, 1.6)
    strength = dsp.contour(draw.rng, n, gusts, 0.1, 1.0)
    low = dsp.noise(draw.rng, n, -6)
    # A whistle: narrow noise whose centre follows the gusts, made as noise on a moving carrier.
    centre = draw.log_uniform(300, 900)
    slow = dsp.band(dsp.noise(draw.rng, n), None, draw.uniform(25, 70))
    whistle = slow * dsp.tone(centre * (0.6 + 0.8 * strength), n)
    wave = dsp.at_rms(low, 1.0) * strength + dsp.at_rms(whistle, draw.uniform(0.3, 0.9)) * strength**2
    return Sound(wave, "in gusts" if gusts > 1.0 else "steadily")


def _surf(draw: Draw, n: int) -> Sound:
    period = draw.uniform(2.2, 5.0)
    time = dsp.seconds(n) / period + draw.rng.random()
    phase = time % 1.0
    envelope = np.where(phase < 0.35, (phase / 0.35) ** 2, np.exp(-(phase - 0.35) * 4.5)).astype(np.float32)
    rush = dsp.band(dsp.noise(draw.rng, n, -3), 80, draw.uniform(1500, 3500), order=1)
    foam = dsp.band(dsp.noise(draw.rng, n), draw.uniform(2500, 4000), None, order=1)
    wave = dsp.at_rms(rush, 1.0) * (0.12 + envelope) + dsp.at_rms(foam, 0.35) * envelope**2
    return Sound(wave.astype(np.float32), _pace(1 / period, 0.26, 0.36))


def _thunder(draw: Draw, n: int) -> Sound:
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


def _bubbling(draw: Draw, n: int) -> Sound:
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
    return Sound(wave, _pace(rate, 11, 26))


def _fire(draw: Draw, n: int) -> Sound:
    rate = draw.log_uniform(6, 40)
    kernel = dsp.noise(draw.rng, 200) * dsp.decay(200, 0.0025, 0.0002)
    crackle = signal.oaconvolve(_scatter(draw, n, rate, 1.1), kernel)[:n].astype(np.float32)
    roar = dsp.noise(draw.rng, n, -5) * dsp.contour(draw.rng, n, 3, 0.4, 1.0)
    wave = dsp.at_rms(dsp.band(crackle, 500, None, order=1), 1.0) + dsp.at_rms(roar, draw.uniform(0.25, 0.8))
    return Sound(wave, "softly" if rate < 12 else "vigorously" if rate > 25 else "")


def _engine(draw: Draw, n: int) -> Sound:
    firing = draw.log_uniform(22, 85)
    speed = firing * dsp.contour(draw.rng, n, draw.uniform(0.3, 1.5), 0.94, 1.06 + draw.uniform(0.0, 0.5))
    weights = np.exp(-np.arange(1, 60) / draw.uniform(5, 16)) * draw.rng.uniform(0.3, 1.0, 59)
    body = dsp.harmonics(speed, n, weights)
    # One cylinder is a little stronger than the others: a half-order rumble.
    body *= 1 + 0.35 * dsp.tone(speed / 4, n)
    rattle = dsp.band(dsp.noise(draw.rng, n), 300, 4000, order=1) * np.maximum(0, dsp.tone(speed, n)) ** 2
    wave = dsp.at_rms(np.tanh(1.5 * dsp.at_rms(body, 1.0)), 1.0) + dsp.at_rms(rattle, draw.uniform(0.1, 0.5))
    return Sound(wave, "at idle" if firing < 36 else "at high revs" if firing > 58 else "")


def _helicopter(draw: Draw, n: int) -> Sound:
    rate = draw.uniform(9, 22)
    phase = np.cumsum(rate * dsp.contour(draw.rng, n, 0.4, 0.97, 1.03) / SAMPLE_RATE) % 1.0
    chop = np.exp(-phase * draw.uniform(4, 11)).astype(np.float32)
    blade = dsp.band(dsp.noise(draw.rng, n, -4), 50, draw.log_uniform(500, 2000), order=1) * chop
    thump = dsp.tone(draw.uniform(45, 90), n) * chop
    whine = dsp.harmonics(draw.log_uniform(400, 1500), n, [1, 0.4, 0.3])
    wave = dsp.at_rms(blade, 1.0) + dsp.at_rms(thump, draw.uniform(0.3, 0.9)) + dsp.at_rms(whine, 0.08)
    return Sound(wave, _pace(rate, 12.5, 18))


def _siren(draw: Draw, n: int) -> Sound:
    low = draw.log_uniform(450, 800)
    high = low * draw.uniform(1.3, 2.0)
    rate = draw.log_uniform(0.25, 4.5)
    time = dsp.seconds(n) * rate + draw.rng.random()
    two_tone = draw.chance(0.35)
    if two_tone:
        position = (time % 1.0 < 0.5).astype(np.float32)
    else:
        position = 0.5 - 0.5 * np.cos(2 * np.pi * time)
    wave = dsp.harmonics(low * (high / low) ** position, n, [1, 0.5, 0.6, 0.25, 0.3, 0.1])
    if two_tone:
        return Sound(wave, "in two tones")
    return Sound(wave, "in slow waves" if rate < 0.8 else "in fast yelps" if rate > 2 else "up and down")


def _bell(draw: Draw, n: int) -> Sound:
    # Partials of a church bell: hum, prime, tierce, quint, nominal, ... (Hemony tuning).
    ratios = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 2.67, 3.0, 4.0])
    strike = draw.log_uniform(250, 1100)
    rate = draw.uniform(0.35, 2.2)
    length = min(n, dsp.samples(4.0))
    tau = draw.uniform(0.5, 1.8)
    toll = np.zeros(length, np.float32)
    for ratio in ratios:
        hertz = strike * ratio * float(draw.rng.uniform(0.995, 1.005))
        if hertz < 7500:
            toll += dsp.tone(hertz, length) * dsp.decay(length, tau / ratio**0.7) * draw.rng.uniform(0.3, 1.0)
    wave = np.zeros(n, np.float32)
    for start in _beats(draw, n, rate, 0.05):
        dsp.add_at(wave, toll, start, float(draw.rng.uniform(0.7, 1.0)))
    return Sound(wave, _pace(rate, 0.8, 1.6))


def _clicks(draw: Draw, n: int, hertz: float, tau_sec: float, tonal: float) -> Wave:
    """A click that rings at ``hertz``; ``tonal`` is the share of ringing against noise."""
    ring = dsp.tone(hertz, n) + 0.6 * dsp.tone(hertz * 1.63, n) + 0.4 * dsp.tone(hertz * 2.41, n)
    hiss = dsp.noise(draw.rng, n)
    return (tonal * ring + (1 - tonal) * hiss) * dsp.decay(n, tau_sec, 0.0005)


def _clock(draw: Draw, n: int) -> Sound:
    rate = draw.log_uniform(1.0, 5.5)
    hertz = draw.log_uniform(1300, 3300)
    size, tau, tonal = dsp.samples(0.06), draw.uniform(0.003, 0.01), draw.uniform(0.5, 0.8)
    pair = [_clicks(draw, size, hertz, tau, tonal), _clicks(draw, size, hertz * draw.uniform(0.75, 0.95), tau, tonal)]
    wave = np.zeros(n, np.float32)
    for i, start in enumerate(_beats(draw, n, rate, 0.0)):
        dsp.add_at(wave, pair[i % 2], start)
    return Sound(wave, _pace(rate, 1.7, 3.2))


def _footsteps(draw: Draw, n: int) -> Sound:
    rate = draw.uniform(1.2, 3.4)
    hard = draw.chance(0.5)
    wave = np.zeros(n, np.float32)
    heel_hz, grain = draw.log_uniform(70, 180), draw.log_uniform(500, 3500)
    for start in _beats(draw, n, rate, 0.12):
        size = dsp.samples(0.2)
        thud = dsp.tone(heel_hz * draw.rng.uniform(0.9, 1.1), size) * dsp.decay(size, 0.025)
        scrape = dsp.band(dsp.noise(draw.rng, size), grain / 2, grain * 1.6, order=1)
        if hard:
            step = thud + dsp.at_rms(scrape, 0.6) * dsp.decay(size, 0.012, 0.001)
        else:
            step = 0.5 * thud + dsp.at_rms(scrape, 0.5) * dsp.swell(size, 0.25)
        gain = float(draw.rng.uniform(0.6, 1.0))
        dsp.add_at(wave, step, start, gain)
        dsp.add_at(wave, step[: size // 2], start + dsp.samples(0.09), 0.45 * gain)
    return Sound(wave, f"{_pace(rate, 1.8, 2.6)} {'on a hard floor' if hard else 'on gravel'}".strip())


def _dog(draw: Draw, n: int) -> Sound:
    rate = draw.uniform(0.8, 3.0)
    pitch = draw.log_uniform(180, 620)
    formants = (draw.uniform(600, 1100), draw.uniform(1300, 2200))
    wave = np.zeros(n, np.float32)
    for start in _beats(draw, n, rate, 0.35):
        size = dsp.samples(draw.rng.uniform(0.12, 0.25))
        glide = pitch * (0.75 + 0.5 * np.sin(np.pi * np.linspace(0.1, 1, size))) * draw.rng.uniform(0.92, 1.08)
        source = dsp.harmonics(glide, size, 1 / np.arange(1, 30) ** 0.7) + 0.6 * dsp.noise(draw.rng, size)
        bark = sum(dsp.band(source, f * 0.75, f * 1.3, order=1) for f in formants) + 0.15 * source
        dsp.add_at(wave, bark * dsp.swell(size, 0.2), start, float(draw.rng.uniform(0.6, 1.0)))
    return Sound(wave, _pace(rate, 1.4, 2.3))


def _birds(draw: Draw, n: int) -> Sound:
    rate = draw.uniform(1.2, 6.0)
    centre = draw.log_uniform(2200, 5200)
    trill = draw.uniform(8, 35)
    depth = draw.uniform(0.03, 0.22)
    wave = np.zeros(n, np.float32)
    for start in _beats(draw, n, rate, 0.6):
        size = dsp.samples(draw.rng.uniform(0.06, 0.28))
        sweep = np.linspace(draw.rng.uniform(-0.2, 0.2), draw.rng.uniform(-0.2, 0.2), size)
        hertz = (
            centre * draw.rng.uniform(0.85, 1.15) * (1 + sweep + depth * np.sin(2 * np.pi * trill * dsp.seconds(size)))
        )
        chirp = dsp.harmonics(np.clip(hertz, 800, 7600), size, [1.0, 0.15])
        dsp.add_at(wave, chirp * dsp.swell(size, 0.3), start, float(draw.rng.uniform(0.4, 1.0)))
    return Sound(wave, _pace(rate, 2.2, 4.2))


def _crickets(draw: Draw, n: int) -> Sound:
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
    return Sound(wave, _pace(rate, 3.5, 6.5))


def _alarm(draw: Draw, n: int) -> Sound:
    rate = draw.log_uniform(0.9, 6.0)
    hertz = draw.log_uniform(700, 3400)
    duty = draw.uniform(0.25, 0.7)
    time = dsp.seconds(n) * rate + draw.rng.random()
    on = (time % 1.0 < duty).astype(np.float32)
    if draw.chance(0.4):  # the classic alarm clock: groups of four beeps
        on *= (time / 6 % 1.0 < 4 / 6).astype(np.float32)
    on = signal.lfilter([0.03], [1, -0.97], on).astype(np.float32)
    weights = [1.0, 0.0, 0.33, 0.0, 0.2] if draw.chance(0.5) else [1.0, 0.05]
    return Sound(dsp.harmonics(hertz, n, weights) * on, _pace(rate, 1.7, 3.4))


def _strikes(draw: Draw, n: int, starts: list[int], hertz: float, tau_sec: float, tonal: float, thud: float) -> Wave:
    wave = np.zeros(n, np.float32)
    size = dsp.samples(0.35)
    for start in starts:
        hit = _clicks(draw, size, hertz * float(draw.rng.uniform(0.97, 1.03)), tau_sec, tonal)
        hit += thud * dsp.tone(draw.rng.uniform(90, 130), size) * dsp.decay(size, 0.04)
        dsp.add_at(wave, hit, start, float(draw.rng.uniform(0.7, 1.0)))
    return wave


def _hammering(draw: Draw, n: int) -> Sound:
    rate = draw.uniform(1.2, 4.2)
    metal = draw.chance(0.5)
    hertz = draw.log_uniform(1100, 3000) if metal else draw.log_uniform(350, 900)
    tau = draw.uniform(0.03, 0.1) if metal else draw.uniform(0.015, 0.035)
    wave = _strikes(draw, n, _beats(draw, n, rate, 0.15), hertz, tau, 0.7, 0.8)
    return Sound(wave, f"{_pace(rate, 2.0, 3.2)} {'on metal' if metal else 'on wood'}".strip())


def _knocking(draw: Draw, n: int) -> Sound:
    rate = draw.uniform(2.5, 6.5)  # within a group of knocks
    group = int(draw.rng.integers(2, 5))
    pause_sec = draw.uniform(0.5, 1.4)
    period = group / rate + pause_sec
    starts: list[int] = []
    begin = float(draw.rng.uniform(0, 0.4))
    while begin * SAMPLE_RATE < n:
        starts += [int((begin + i / rate) * SAMPLE_RATE) for i in range(group)]
        begin += period
    wave = _strikes(draw, n, starts, draw.log_uniform(220, 650), draw.uniform(0.012, 0.03), 0.75, 0.6)
    return Sound(dsp.band(wave, None, 3000, order=1), _pace(rate, 3.8, 5.2))


def _sawing(draw: Draw, n: int) -> Sound:
    rate = draw.uniform(0.9, 3.2)  # strokes there and back, a second
    phase = (dsp.seconds(n) * rate + draw.rng.random()) % 1.0
    stroke = np.abs(np.sin(2 * np.pi * phase)) * np.where(phase < 0.5, 1.0, draw.uniform(0.35, 0.8))
    teeth = dsp.harmonics(draw.uniform(60, 190) * (0.4 + np.abs(np.sin(2 * np.pi * phase))), n, np.ones(20))
    rasp = dsp.band(dsp.noise(draw.rng, n), draw.uniform(700, 1500), draw.uniform(3500, 6500), order=1)
    wave = rasp * (1 + 0.6 * teeth / 4) * stroke
    return Sound(wave.astype(np.float32), _pace(rate, 1.5, 2.4))


def _horn(draw: Draw, n: int) -> Sound:
    wave = np.zeros(n, np.float32)
    root = draw.log_uniform(260, 480)
    chord = [root, root * draw.uniform(1.17, 1.28)]
    rate = draw.uniform(0.5, 2.0)
    weights = 1 / np.arange(1, 24) ** draw.uniform(0.4, 1.0)
    share = draw.uniform(0.35, 0.8)
    for start in _beats(draw, n, rate, 0.3):
        size = dsp.samples(share / rate)
        blast = sum(dsp.harmonics(hertz, size, weights) for hertz in chord)
        dsp.add_at(wave, blast * np.minimum(1, dsp.swell(size) * 12), start)
    return Sound(wave, "in short bursts" if share / rate < 0.4 else "in long blasts" if share / rate > 0.8 else "")


KINDS: dict[str, Callable[[Draw, int], Sound]] = {
    "rain": _rain,
    "wind": _wind,
    "sea waves": _surf,
    "thunder": _thunder,
    "bubbling water": _bubbling,
    "crackling fire": _fire,
    "engine": _engine,
    "helicopter": _helicopter,
    "siren": _siren,
    "church bell": _bell,
    "clock ticking": _clock,
    "footsteps": _footsteps,
    "dog barking": _dog,
    "birdsong": _birds,
    "crickets": _crickets,
    "alarm beeping": _alarm,
    "hammering": _hammering,
    "knocking": _knocking,
    "hand saw": _sawing,
    "car horn": _horn,
}
"""Every kind by the name that the probing task demo_sounds gives it."""
