"""The twenty kinds of sound by name.

A kind is a function of a ``Draw`` and a length in samples that gives a ``Sound``: the wave, float32 [S] at 16 kHz at
any level, and words for what was drawn, from which the caption is written.
"""

from __future__ import annotations

from collections.abc import Callable

from whisper_aut.demo import nature, things
from whisper_aut.demo.draw import Draw
from whisper_aut.demo.sound import Sound

KINDS: dict[str, Callable[[Draw, int], Sound]] = {
    "rain": nature.rain,
    "wind": nature.wind,
    "sea waves": nature.surf,
    "thunder": nature.thunder,
    "bubbling water": nature.bubbling,
    "crackling fire": nature.fire,
    "engine": things.engine,
    "helicopter": things.helicopter,
    "siren": things.siren,
    "church bell": things.bell,
    "clock ticking": things.clock,
    "footsteps": things.footsteps,
    "dog barking": nature.dog,
    "birdsong": nature.birds,
    "crickets": nature.crickets,
    "alarm beeping": things.alarm,
    "hammering": things.hammering,
    "knocking": things.knocking,
    "hand saw": things.sawing,
    "car horn": things.horn,
}
"""Every kind by the name that the probing task demo_sounds gives it."""
