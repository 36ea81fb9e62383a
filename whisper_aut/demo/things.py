"""Sounds that people and their things make, each made from scratch with drawn parameters."""

from __future__ import annotations

import numpy as np
from scipy import signal

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.demo import dsp
from whisper_aut.demo.draw import Draw
from whisper_aut.demo.sound import Sound, beats, click, pace, strikes


def engine(draw: Draw, n: int) -> Sound:
    """Harmonics of the firing rate, wavering, with a rattle."""
    firing = draw.log_uniform(22, 85)
    speed = firing * dsp.contour(draw.rng, n, draw.uniform(0.3, 1.5), 0.94, 1.06 + draw.uniform(0.0, 0.5))
    weights = np.exp(-np.arange(1, 60) / draw.uniform(5, 16)) * draw.rng.uniform(0.3, 1.0, 59)
    body = dsp.harmonics(speed, n, weights)
    # One cylinder is a little stronger than the others: a half-order rumble.
    body *= 1 + 0.35 * dsp.tone(speed / 4, n)
    rattle = dsp.band(dsp.noise(draw.rng, n), 300, 4000, order=1) * np.maximum(0, dsp.tone(speed, n)) ** 2
    wave = dsp.at_rms(np.tanh(1.5 * dsp.at_rms(body, 1.0)), 1.0) + dsp.at_rms(rattle, draw.uniform(0.1, 0.5))
    return Sound(wave, "at idle" if firing < 36 else "at high revs" if firing > 58 else "")


def helicopter(draw: Draw, n: int) -> Sound:
    """Low noise chopped by the rotor blades."""
    rate = draw.uniform(9, 22)
    phase = np.cumsum(rate * dsp.contour(draw.rng, n, 0.4, 0.97, 1.03) / SAMPLE_RATE) % 1.0
    chop = np.exp(-phase * draw.uniform(4, 11)).astype(np.float32)
    blade = dsp.band(dsp.noise(draw.rng, n, -4), 50, draw.log_uniform(500, 2000), order=1) * chop
    thump = dsp.tone(draw.uniform(45, 90), n) * chop
    whine = dsp.harmonics(draw.log_uniform(400, 1500), n, [1, 0.4, 0.3])
    wave = dsp.at_rms(blade, 1.0) + dsp.at_rms(thump, draw.uniform(0.3, 0.9)) + dsp.at_rms(whine, 0.08)
    return Sound(wave, pace(rate, 12.5, 18))


def siren(draw: Draw, n: int) -> Sound:
    """A rich tone that sweeps, or alternates between two pitches."""
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


def bell(draw: Draw, n: int) -> Sound:
    """Strokes on a bell with inharmonic partials."""
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
    for start in beats(draw, n, rate, 0.05):
        dsp.add_at(wave, toll, start, float(draw.rng.uniform(0.7, 1.0)))
    return Sound(wave, pace(rate, 0.8, 1.6))


def clock(draw: Draw, n: int) -> Sound:
    """Alternating high clicks at an even rate."""
    rate = draw.log_uniform(1.0, 5.5)
    hertz = draw.log_uniform(1300, 3300)
    size, tau, tonal = dsp.samples(0.06), draw.uniform(0.003, 0.01), draw.uniform(0.5, 0.8)
    pair = [click(draw, size, hertz, tau, tonal), click(draw, size, hertz * draw.uniform(0.75, 0.95), tau, tonal)]
    wave = np.zeros(n, np.float32)
    for i, start in enumerate(beats(draw, n, rate, 0.0)):
        dsp.add_at(wave, pair[i % 2], start)
    return Sound(wave, pace(rate, 1.7, 3.2))


def footsteps(draw: Draw, n: int) -> Sound:
    """Heel and toe on a hard floor or on gravel."""
    rate = draw.uniform(1.2, 3.4)
    hard = draw.chance(0.5)
    wave = np.zeros(n, np.float32)
    heel_hz, grain = draw.log_uniform(70, 180), draw.log_uniform(500, 3500)
    for start in beats(draw, n, rate, 0.12):
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
    return Sound(wave, f"{pace(rate, 1.8, 2.6)} {'on a hard floor' if hard else 'on gravel'}".strip())


def alarm(draw: Draw, n: int) -> Sound:
    """A steady tone, switched on and off."""
    rate = draw.log_uniform(0.9, 6.0)
    hertz = draw.log_uniform(700, 3400)
    duty = draw.uniform(0.25, 0.7)
    time = dsp.seconds(n) * rate + draw.rng.random()
    on = (time % 1.0 < duty).astype(np.float32)
    if draw.chance(0.4):  # the classic alarm clock: groups of four beeps
        on *= (time / 6 % 1.0 < 4 / 6).astype(np.float32)
    on = signal.lfilter([0.03], [1, -0.97], on).astype(np.float32)
    weights = [1.0, 0.0, 0.33, 0.0, 0.2] if draw.chance(0.5) else [1.0, 0.05]
    return Sound(dsp.harmonics(hertz, n, weights) * on, pace(rate, 1.7, 3.4))


def hammering(draw: Draw, n: int) -> Sound:
    """Even blows on wood or metal."""
    rate = draw.uniform(1.2, 4.2)
    metal = draw.chance(0.5)
    hertz = draw.log_uniform(1100, 3000) if metal else draw.log_uniform(350, 900)
    tau = draw.uniform(0.03, 0.1) if metal else draw.uniform(0.015, 0.035)
    wave = strikes(draw, n, beats(draw, n, rate, 0.15), hertz, tau, 0.7, 0.8)
    return Sound(wave, f"{pace(rate, 2.0, 3.2)} {'on metal' if metal else 'on wood'}".strip())


def knocking(draw: Draw, n: int) -> Sound:
    """Groups of two to four knocks with pauses between them."""
    rate = draw.uniform(2.5, 6.5)  # within a group of knocks
    group = int(draw.rng.integers(2, 5))
    pause_sec = draw.uniform(0.5, 1.4)
    period = group / rate + pause_sec
    starts: list[int] = []
    begin = float(draw.rng.uniform(0, 0.4))
    while begin * SAMPLE_RATE < n:
        starts += [int((begin + i / rate) * SAMPLE_RATE) for i in range(group)]
        begin += period
    wave = strikes(draw, n, starts, draw.log_uniform(220, 650), draw.uniform(0.012, 0.03), 0.75, 0.6)
    return Sound(dsp.band(wave, None, 3000, order=1), pace(rate, 3.8, 5.2))


def sawing(draw: Draw, n: int) -> Sound:
    """Rasping strokes there and back."""
    rate = draw.uniform(0.9, 3.2)  # strokes there and back, a second
    phase = (dsp.seconds(n) * rate + draw.rng.random()) % 1.0
    stroke = np.abs(np.sin(2 * np.pi * phase)) * np.where(phase < 0.5, 1.0, draw.uniform(0.35, 0.8))
    teeth = dsp.harmonics(draw.uniform(60, 190) * (0.4 + np.abs(np.sin(2 * np.pi * phase))), n, np.ones(20))
    rasp = dsp.band(dsp.noise(draw.rng, n), draw.uniform(700, 1500), draw.uniform(3500, 6500), order=1)
    wave = rasp * (1 + 0.6 * teeth / 4) * stroke
    return Sound(wave.astype(np.float32), pace(rate, 1.5, 2.4))


def horn(draw: Draw, n: int) -> Sound:
    """Two reeds a third apart, in blasts."""
    wave = np.zeros(n, np.float32)
    root = draw.log_uniform(260, 480)
    chord = [root, root * draw.uniform(1.17, 1.28)]
    rate = draw.uniform(0.5, 2.0)
    weights = 1 / np.arange(1, 24) ** draw.uniform(0.4, 1.0)
    share = draw.uniform(0.35, 0.8)
    for start in beats(draw, n, rate, 0.3):
        size = dsp.samples(share / rate)
        blast = sum(dsp.harmonics(hertz, size, weights) for hertz in chord)
        dsp.add_at(wave, blast * np.minimum(1, dsp.swell(size) * 12), start)
    return Sound(wave, "in short bursts" if share / rate < 0.4 else "in long blasts" if share / rate > 0.8 else "")
