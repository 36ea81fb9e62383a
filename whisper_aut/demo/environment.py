"""An environmental clip: one kind of sound in front, perhaps another behind it, a place around both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whisper_aut.demo import dsp
from whisper_aut.demo.draw import Draw
from whisper_aut.demo.dsp import Wave
from whisper_aut.demo.sound import Sound
from whisper_aut.demo.sounds import KINDS

KIND_NAMES = tuple(KINDS)

PLACES = ("nothing else", "traffic", "a crowd", "an electric hum", "a fan", "a busy room")
"""What lies under the sounds; none of them is a kind."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is heard in a clip: enough to write its caption.

    Attributes:
        kind: of the sound in front, a key of ``KINDS``.
        manner: how it goes, in words; may be empty.
        distant: it is far away (muffled, reverberant) rather than close.
        behind: the kind of the quieter second sound, or None.
        place: one of ``PLACES``.
        snr_db: level of the front sound while it sounds over the place.
    """

    kind: str
    manner: str
    distant: bool
    behind: str | None
    place: str
    snr_db: float


def make_scene(draw: Draw, kind: str, duration_sec: float) -> tuple[Wave, Scene]:
    """A clip of ``kind``: wave float32 [S] at 16 kHz at any level, and what can be heard in it."""
    n = dsp.samples(duration_sec)
    sound = _clipped(KINDS[kind](draw, n))
    distant = draw.chance(0.4)
    front = _at_distance(draw, sound.wave, distant)
    behind = None
    if draw.chance(0.45):
        behind = draw.choice([other for other in KIND_NAMES if other != kind])
        second = _at_distance(draw, KINDS[behind](draw, n).wave, distant=True)
        front = dsp.mix(front, second, draw.uniform(3, 10))
    place = draw.choice(PLACES)
    snr_db = draw.uniform(-4, 14)
    wave = dsp.mix(front, _place(draw, place, n), snr_db + (12 if place == "nothing else" else 0))
    return wave, Scene(kind, sound.manner, distant, behind, place, snr_db)


def _clipped(sound: Sound) -> Sound:
    """Single peaks that stand far out are bent, so that the level is set by the sound and not by one click."""
    ceiling = np.float32(12 * dsp.rms(sound.wave) + 1e-9)
    return Sound((ceiling * np.tanh(sound.wave / ceiling)).astype(np.float32), sound.manner)


def _at_distance(draw: Draw, wave: Wave, distant: bool) -> Wave:
    if distant:
        muffled = dsp.band(wave, draw.uniform(60, 200), draw.log_uniform(1600, 5000), order=1)
        return dsp.reverb(muffled, draw.rng, draw.uniform(0.6, 1.6), draw.uniform(0.3, 0.6))
    coloured = dsp.band(wave, draw.log_uniform(25, 120), draw.log_uniform(4500, 7700), order=1)
    return dsp.reverb(coloured, draw.rng, draw.uniform(0.1, 0.6), draw.uniform(0.0, 0.25))


def _place(draw: Draw, place: str, n: int) -> Wave:
    rng = draw.rng
    if place == "traffic":
        passing = dsp.contour(rng, n, 0.4, 0.3, 1.0)
        return dsp.noise(rng, n, -5) + 0.4 * passing * dsp.band(dsp.noise(rng, n, -3), 300, 2500, order=1)
    if place in ("a crowd", "a busy room"):
        return _babble(draw, n, voices=9 if place == "a crowd" else 4)
    if place == "an electric hum":
        hertz = draw.choice([50.0, 60.0])
        hum = dsp.harmonics(hertz, n, rng.uniform(0.1, 1.0, 14) / np.arange(1, 15) ** 0.5)
        return dsp.at_rms(hum, 1.0) + 0.25 * dsp.noise(rng, n, -3)
    if place == "a fan":
        blades = 1 + 0.3 * dsp.tone(draw.uniform(18, 60), n)
        return dsp.band(dsp.noise(rng, n, -2), 100, draw.uniform(900, 4000), order=1) * blades
    return dsp.noise(rng, n, draw.uniform(-5, 0))


def _babble(draw: Draw, n: int, voices: int) -> Wave:
    """Many people talking at once: voiced sources with wandering pitch and vowels, cut into syllables."""
    rng = draw.rng
    out = np.zeros(n, np.float32)
    for _ in range(voices):
        pitch = rng.uniform(90, 230) * dsp.contour(rng, n, 2.0, 0.85, 1.2)
        source = dsp.harmonics(pitch, n, 1 / np.arange(1, 30) ** 0.8)
        first, second = rng.uniform(350, 800), rng.uniform(1000, 2300)
        voice = dsp.band(source, first * 0.8, first * 1.25, order=1) + 0.5 * dsp.band(
            source, second * 0.85, second * 1.2, 1
        )
        syllables = np.maximum(0.0, dsp.contour(rng, n, 7.0, -0.4, 1.0))
        out += dsp.at_rms(voice, 1.0) * syllables
    return out + 0.1 * dsp.noise(rng, n, -3)
