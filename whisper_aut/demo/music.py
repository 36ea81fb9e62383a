"""A musical clip by rule: a style's tempo, scale, groove and instruments, played for a few seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.demo import dsp
from whisper_aut.demo.draw import Draw
from whisper_aut.demo.dsp import Wave
from whisper_aut.demo.instruments import VOICES, drum
from whisper_aut.demo.styles import SCALES, STYLES, Style

STYLE_NAMES = tuple(STYLES)

KEYS = ("C", "C sharp", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")

_SOFT_HIT = 0.45


@dataclass(frozen=True, slots=True)
class Piece:
    """What is heard in a clip: enough to write its caption.

    Attributes:
        style: a key of ``STYLES``.
        tempo_bpm: quarter notes a minute.
        key: of ``KEYS``.
        scale: of ``SCALES``.
        melody, chords, bass: instruments, None where the part is silent.
        drums: whether there are any.
        recording: how it was recorded, in words; may be empty.
    """

    style: str
    tempo_bpm: float
    key: str
    scale: str
    melody: str | None
    chords: str | None
    bass: str | None
    drums: bool
    recording: str


def make_piece(draw: Draw, style_name: str, duration_sec: float) -> tuple[Wave, Piece]:
    """A clip of ``style_name``: wave float32 [S] at 16 kHz at any level, and what can be heard in it."""
    style = STYLES[style_name]
    n = dsp.samples(duration_sec)
    tonic = int(draw.rng.integers(12))
    scale = draw.choice(style.scales)
    clock = _Clock(draw, style, n)
    progression = draw.choice(style.chords)

    # At most one part is missing, so that something always carries the style.
    missing = draw.choice(["melody", "chords", "bass", "drums", None, None])
    bass = None if missing == "bass" else draw.choice(style.bass_voices)
    chords = None if missing == "chords" else draw.choice(style.comp_voices)
    melody = None if missing == "melody" else draw.choice(style.melody_voices)
    with_drums = missing != "drums" and bool(style.drums)

    wave = np.zeros(n, np.float32)
    notes = _Notes(draw, SCALES[scale], 48 + tonic - (12 if tonic > 6 else 0), progression)
    if with_drums:
        wave += draw.uniform(0.5, 1.2) * _drums(draw, style, clock, n)
    if bass:
        wave += draw.uniform(0.4, 0.9) * _bass(draw, style, clock, notes, bass, n)
    if chords:
        wave += draw.uniform(0.35, 0.8) * _chords(draw, style, clock, notes, chords, n)
    if melody:
        wave += draw.uniform(0.4, 0.9) * _melody(draw, style, clock, notes, melody, n)
    if dsp.rms(wave) < 1e-4:  # the clip fell into a rest of its only part: let the chord sound
        wave += _note(draw, chords or melody or bass or "synth pad", notes.hertz(0, 2), n, 0.7)
    wave, recording = _record(draw, wave, n)
    return wave, Piece(style_name, clock.tempo_bpm, KEYS[tonic], scale, melody, chords, bass, with_drums, recording)


class _Clock:
    """When each sixteenth sounds; the clip starts anywhere in a bar, as a cut from a longer piece would."""

    def __init__(self, draw: Draw, style: Style, num_samples: int) -> None:
        self.tempo_bpm = draw.uniform(*style.tempo)
        self.sixteenth = SAMPLE_RATE * 60 / self.tempo_bpm / 4
        self.per_bar = 4 * style.quarters
        self.swing = style.swing
        self.first = int(draw.rng.integers(self.per_bar))
        self.count = int(num_samples / self.sixteenth) + 1
        self.loose = draw.rng.normal(0, 0.004 * SAMPLE_RATE, self.count + 1)

    def steps(self) -> list[tuple[int, int, int]]:
        """(bar, sixteenth within the bar, start in samples) of everything that may sound."""
        out = []
        for i in range(self.count):
            bar, place = divmod(self.first + i, self.per_bar)
            late = self.swing * 2 * self.sixteenth if place % 4 == 2 else 0.0
            out.append((bar, place, max(0, int(i * self.sixteenth + late + self.loose[i]))))
        return out


class _Notes:
    """Scale steps of the bar's chord to frequencies."""

    def __init__(self, draw: Draw, scale: tuple[int, ...], tonic_midi: int, progression: tuple[int, ...]) -> None:
        self.scale, self.tonic_midi, self.progression = scale, tonic_midi, progression
        self.tuning = 440.0 * 2 ** (draw.uniform(-0.3, 0.3) / 12)

    def hertz(self, step: int, octave: int) -> float:
        """Frequency of scale step ``step`` (0 the tonic, may pass 6) ``octave`` octaves above the bass register."""
        up, degree = divmod(step, len(self.scale))
        midi = self.tonic_midi - 12 + 12 * (octave + up) + self.scale[degree]
        return self.tuning * float(2 ** ((midi - 69) / 12))

    def root(self, bar: int) -> int:
        """Scale step of the bar's chord."""
        return self.progression[bar % len(self.progression)]


def _note(draw: Draw, voice: str, hertz: float, num_samples: int, brightness: float) -> Wave:
    return np.asarray(VOICES[voice](hertz, num_samples, draw.rng, brightness), np.float32)


def _drums(draw: Draw, style: Style, clock: _Clock, n: int) -> Wave:
    out = np.zeros(n, np.float32)
    colour = draw.uniform(0, 1)
    for name, pattern in style.drums.items():
        hit = np.asarray(drum(name, draw.rng, colour), np.float32)
        for _, place, start in clock.steps():
            if pattern[place] != "." and not draw.chance(0.04):
                gain = 1.0 if pattern[place] == "x" else _SOFT_HIT
                dsp.add_at(out, hit, start, gain * float(draw.rng.uniform(0.8, 1.0)))
    return out


def _bass(draw: Draw, style: Style, clock: _Clock, notes: _Notes, voice: str, n: int) -> Wave:
    out = np.zeros(n, np.float32)
    pattern, brightness = draw.choice(style.bass), draw.uniform(0.2, 0.9)
    length = dsp.samples(min(1.5, max(0.2, clock.sixteenth * 2.5 / SAMPLE_RATE)))
    if style.tempo[1] <= 80:
        length = dsp.samples(2.5)
    steps = {"1": (0, 0), "5": (4, 0), "8": (0, 1)}
    for bar, place, start in clock.steps():
        if pattern[place] in steps:
            step, octave = steps[pattern[place]]
            dsp.add_at(out, _note(draw, voice, notes.hertz(notes.root(bar) + step, octave), length, brightness), start)
    return out


def _chords(draw: Draw, style: Style, clock: _Clock, notes: _Notes, voice: str, n: int) -> Wave:
    out = np.zeros(n, np.float32)
    pattern, brightness = draw.choice(style.comp), draw.uniform(0.2, 0.95)
    octave = 1 if voice == "distorted guitar" else 2
    members = (0,) if voice == "distorted guitar" else (0, 2, 4)
    rendered: dict[int, Wave] = {}
    size = dsp.samples(style.comp_sec * draw.uniform(0.7, 1.3))
    for position, (bar, place, start) in enumerate(clock.steps()):
        # A long chord is already sounding when the clip begins.
        if pattern[place] == "x" or (position == 0 and style.comp_sec > 1):
            root = notes.root(bar)
            if root not in rendered:
                parts = [_note(draw, voice, notes.hertz(root + m, octave), size, brightness) for m in members]
                rendered[root] = dsp.as_wave(np.sum(parts, axis=0) / len(members) ** 0.5)
            dsp.add_at(out, rendered[root], start, float(draw.rng.uniform(0.75, 1.0)))
    return out


def _melody(draw: Draw, style: Style, clock: _Clock, notes: _Notes, voice: str, n: int) -> Wave:
    out = np.zeros(n, np.float32)
    brightness = draw.uniform(0.2, 0.95)
    density = style.melody_density * draw.uniform(0.7, 1.3)
    step = int(draw.rng.integers(0, 7))
    for bar, place, start in clock.steps():
        on_beat = place % 4 == 0
        if place % 2 or not draw.chance(min(1.0, density * (1.4 if on_beat else 0.8))):
            continue
        step = int(np.clip(step + draw.rng.integers(-2, 3), -2, 9))
        if on_beat:  # strong beats take the nearest note of the chord
            root = notes.root(bar)
            near = [root + member + 7 * octave for member in (0, 2, 4) for octave in (-1, 0, 1)]
            step = near[int(np.argmin(np.abs(np.array(near) - step)))]
        length = int(clock.sixteenth * draw.choice([2, 2, 3, 4]))
        dsp.add_at(
            out, _note(draw, voice, notes.hertz(step, 2 if voice == "trumpet" else 3), length, brightness), start
        )
    return out


def _record(draw: Draw, wave: Wave, n: int) -> tuple[Wave, str]:
    """Room, medium and noise."""
    wave = dsp.reverb(wave, draw.rng, draw.uniform(0.2, 1.4), draw.uniform(0.05, 0.35))
    recording = draw.choice(["", "", "over a small radio", "in a noisy room", "on an old record"])
    if recording == "over a small radio":
        narrow = dsp.band(wave, draw.uniform(250, 500), draw.uniform(2200, 3600))
        return dsp.mix(narrow, dsp.noise(draw.rng, n), draw.uniform(4, 16)), recording
    if recording == "in a noisy room":
        return dsp.mix(wave, dsp.noise(draw.rng, n, -3), draw.uniform(-2, 9)), recording
    if recording == "on an old record":
        clicks = np.zeros(n, np.float32)
        at = draw.rng.integers(0, n, max(2, n // 900))
        clicks[at] = draw.rng.standard_normal(len(at)) ** 3
        dull = dsp.band(wave, 120, draw.uniform(2800, 5000), order=1)
        return dsp.mix(dull, dsp.at_rms(clicks, 1.0) + 0.7 * dsp.noise(draw.rng, n, -2), draw.uniform(5, 16)), recording
    return dsp.mix(wave, dsp.noise(draw.rng, n, -3), draw.uniform(10, 35)), recording
