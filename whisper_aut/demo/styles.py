"""Ten styles of music as data: tempo, metre, scale, groove, and which instruments may play which part.

A pattern has one character a sixteenth note, a bar long: ``x`` a hit, ``o`` a soft hit, ``.`` nothing; for the bass
``1`` the chord's root, ``5`` its fifth, ``8`` the octave.
"""

from __future__ import annotations

from dataclasses import dataclass

SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "blues": (0, 3, 5, 6, 7, 10, 12),
    "pentatonic": (0, 2, 4, 7, 9, 12, 14),
}
"""Semitones above the tonic, seven steps each (five-note scales go on into the next octave)."""


@dataclass(frozen=True, slots=True)
class Style:
    """A style's rules.

    Attributes:
        tempo: quarter notes a minute, from and to.
        quarters: quarter notes in a bar.
        scales: keys of ``SCALES`` that it uses.
        chords: progressions of scale steps (0 is the tonic), one a bar.
        drums: drum name to pattern.
        bass: patterns, one is chosen.
        comp: patterns of chord hits, one is chosen.
        comp_sec: longest chord in seconds.
        melody_density: chance of a melody note on an eighth.
        bass_voices, comp_voices, melody_voices: keys of ``instruments.VOICES``.
        swing: share of an eighth by which every second eighth comes late.
    """

    tempo: tuple[float, float]
    quarters: int
    scales: tuple[str, ...]
    chords: tuple[tuple[int, ...], ...]
    drums: dict[str, str]
    bass: tuple[str, ...]
    comp: tuple[str, ...]
    comp_sec: float
    melody_density: float
    bass_voices: tuple[str, ...]
    comp_voices: tuple[str, ...]
    melody_voices: tuple[str, ...]
    swing: float = 0.0


_POP = ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 3), (5, 3, 0, 4))

STYLES: dict[str, Style] = {
    "techno": Style(
        tempo=(118, 145), quarters=4, scales=("minor", "dorian"), chords=((0, 0, 0, 0), (0, 0, 5, 6)),
        drums={"kick": "x...x...x...x...", "hat": "..x...x...x...x.", "snare": "....x.......x..."},
        bass=("..1...1...1...1.", "1.11..1.1.11..1."), comp=("x..x..x...x..x..", "..x...x...x...x."), comp_sec=0.15,
        melody_density=0.25, bass_voices=("synth bass", "sub bass"), comp_voices=("synth lead", "synth pad", "organ"),
        melody_voices=("synth lead", "electric piano"),
    ),
    "drum and bass": Style(
        tempo=(150, 180), quarters=4, scales=("minor", "dorian"), chords=((0, 0, 5, 6), (0, 0, 3, 3)),
        drums={"kick": "x.........x.....", "snare": "....x..o.o..x..o", "hat": "x.x.x.x.x.x.x.x."},
        bass=("1.....1...5.....", "1..1......1..5.."), comp=("x...............", "x.......x......."), comp_sec=1.4,
        melody_density=0.2, bass_voices=("sub bass", "synth bass"), comp_voices=("synth pad", "electric piano"),
        melody_voices=("synth lead", "flute", "electric piano"),
    ),
    "rock": Style(
        tempo=(100, 145), quarters=4, scales=("major", "minor"), chords=_POP,
        drums={"kick": "x.....x.x.x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
        bass=("1.1.1.1.1.1.1.1.", "1...1.1.1...1.1."), comp=("x.x.x.x.x.x.x.x.", "x.....x.x......."), comp_sec=0.4,
        melody_density=0.3, bass_voices=("plucked bass", "synth bass"), comp_voices=("distorted guitar",),
        melody_voices=("distorted guitar", "organ", "synth lead"),
    ),
    "blues": Style(
        tempo=(70, 120), quarters=4, scales=("blues",), chords=((0, 0, 0, 0), (0, 2, 0, 4), (0, 2, 2, 0)),
        drums={"kick": "x.......x.......", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
        bass=("1...5...8...5...", "1.1.5.5.1.1.5.5."), comp=("x.x.x.x.x.x.x.x.", "....x.......x..."), comp_sec=0.3,
        melody_density=0.6, bass_voices=("plucked bass",),
        comp_voices=("acoustic guitar", "organ", "electric piano"),
        melody_voices=("acoustic guitar", "distorted guitar", "trumpet"), swing=0.33,
    ),
    "reggae": Style(
        tempo=(66, 92), quarters=4, scales=("major", "minor"), chords=_POP,
        drums={"kick": "........x.......", "snare": "........x.......", "hat": "x.x.x.x.x.x.x.x.",
               "rim": "......x.......x."},
        bass=("1..1..5.....1.5.", "..1.1...5..1...."), comp=("....x.......x...", "..x...x...x...x."), comp_sec=0.12,
        melody_density=0.2, bass_voices=("plucked bass", "sub bass"),
        comp_voices=("acoustic guitar", "organ", "electric piano"), melody_voices=("organ", "trumpet", "flute"),
        swing=0.15,
    ),
    "bossa nova": Style(
        tempo=(115, 150), quarters=4, scales=("major", "dorian"), chords=((0, 1, 4, 0), (0, 5, 1, 4), (1, 4, 0, 0)),
        drums={"kick": "x..xx..xx..xx..x", "rim": "x..x..x...x..x..", "shaker": "x.x.x.x.x.x.x.x."},
        bass=("1..55..11..55..1", "1.....5.5.....1."), comp=("x..x...x..x..x..", "..x..x..x...x..."), comp_sec=0.35,
        melody_density=0.4, bass_voices=("plucked bass",), comp_voices=("acoustic guitar", "electric piano"),
        melody_voices=("flute", "electric piano", "acoustic guitar"),
    ),
    "waltz": Style(
        tempo=(110, 180), quarters=3, scales=("major", "minor"), chords=((0, 3, 4, 0), (0, 4, 4, 0), (0, 5, 1, 4)),
        drums={"kick": "x...........", "hat": "....x...x..."},
        bass=("1...........", "1.......5..."), comp=("....x...x...",), comp_sec=0.3,
        melody_density=0.5, bass_voices=("plucked bass", "sub bass"),
        comp_voices=("accordion", "electric piano", "acoustic guitar"),
        melody_voices=("accordion", "flute", "music box", "trumpet"),
    ),
    "march": Style(
        tempo=(96, 130), quarters=4, scales=("major",), chords=((0, 0, 4, 0), (0, 3, 4, 0), (0, 4, 0, 4)),
        drums={"kick": "x.......x.......", "snare": "x..ox.x.x.ooxoxo"},
        bass=("1.......5.......", "1...5...1...5..."), comp=("....x.......x...", "x...x...x...x..."), comp_sec=0.25,
        melody_density=0.55, bass_voices=("tuba", "plucked bass"), comp_voices=("trumpet", "organ", "accordion"),
        melody_voices=("trumpet", "flute"),
    ),
    "folk": Style(
        tempo=(85, 130), quarters=4, scales=("pentatonic", "major"), chords=((0, 3, 0, 4), (0, 2, 3, 0), (0, 4, 3, 0)),
        drums={"shaker": "x.x.x.x.x.x.x.x."},
        bass=("1.......5.......", "1...5...1...5..."), comp=("x.xxx.xxx.xxx.xx", "x..x..x.x..x..x."), comp_sec=0.5,
        melody_density=0.5, bass_voices=("plucked bass", "acoustic guitar"), comp_voices=("acoustic guitar", "banjo"),
        melody_voices=("flute", "banjo", "accordion"),
    ),
    "ambient": Style(
        tempo=(50, 80), quarters=4, scales=("major", "minor", "dorian", "pentatonic"),
        chords=((0, 3, 5, 3), (0, 5, 0, 5)),
        drums={}, bass=("1...............", "................"), comp=("x...............",), comp_sec=4.0,
        melody_density=0.18, bass_voices=("sub bass", "synth pad"), comp_voices=("synth pad", "organ"),
        melody_voices=("electric piano", "flute", "music box"),
    ),
}  # fmt: skip
"""Every style by the name that the probing task demo_music gives it."""
