"""Spoken clips: espeak-ng in process, many voices, the same bytes for the same request whatever came before.

The library comes with the Python package ``espeakng_loader`` (extra ``demo``) and is driven through its C interface
(``speak_lib.h``). espeak-ng keeps state from one utterance to the next (its flutter phase, C's ``rand``), so every
utterance gets a freshly loaded library and a fixed ``srand``; loading takes about a millisecond (POSIX: Linux and
macOS; one thread at a time). Voice variants
with a ``breath`` line read memory that espeak-ng never set, hence none of them is in the lists below.
"""

from __future__ import annotations

import _ctypes
import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.demo import dsp
from whisper_aut.demo.draw import Draw
from whisper_aut.demo.dsp import Wave
from whisper_aut.errors import EnvironmentProblem

# From speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_RATE, _PITCH, _RANGE = 1, 3, 4
_CHARS_UTF8 = 1
_POS_CHARACTER = 1

_ACCENTS = ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-us-nyc", "en-029")
_TRAIN_VARIANTS = (
    *("f1", "Andrea", "belinda", "linda", "steph", "anika", "aunty", "grandma"),
    *("m1", "m2", "m3", "m4", "Andy", "Denis", "Hugo", "Mario", "Michael", "adam", "benjamin", "boris", "ian", "john"),
    *("grandpa", "marcelo", "michel", "miguel", "pablo", "paul", "rob", "zac"),
)
_PROBE_VARIANTS = (
    *("f4", "shelby", "Annie", "m5", "m6", "m7", "m8", "Lee", "Reed", "david", "edward", "robert", "max", "travis"),
    "norbert",
)

TRAIN_VOICES = tuple(f"{accent}+{variant}" for variant in _TRAIN_VARIANTS for accent in _ACCENTS)
"""Voices of training speech: 30 vocal tracts in 7 accents."""

PROBE_VOICES = tuple(f"{_ACCENTS[i % len(_ACCENTS)]}+{variant}" for i, variant in enumerate(_PROBE_VARIANTS))
"""Voices of the probing task demo_words: 15 other vocal tracts, one accent each."""

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "start", "wait")
"""The command words of the probing task demo_words."""

_WORDS_MIN_SEC, _WORDS_MAX_SEC = 1.0, 2.0


@dataclass(frozen=True, slots=True)
class Voice:
    """How an utterance is spoken.

    Attributes:
        name: espeak-ng voice and variant, ``en-us+f1``.
        words_per_minute: 80..450.
        pitch: 0..99, 50 is the voice's own.
        pitch_range: 0..99, 0 is monotone.
    """

    name: str
    words_per_minute: int
    pitch: int
    pitch_range: int


def synthesise(text: str, voice: Voice) -> Wave:
    """Speak ``text``: float32 [S] at 16 kHz in -1..1; a function of its arguments alone.

    Raises:
        EnvironmentProblem: the extra ``demo`` is missing, or its espeak-ng does not work here or lacks the voice.
    """
    library_path, data_path = _espeak_paths()
    _check_variant(voice.name, Path(data_path))
    try:
        library = ctypes.CDLL(library_path)
    except OSError as error:
        raise EnvironmentProblem(f"espeak-ng cannot be loaded: {error}", where=library_path, remedy=_REMEDY) from None
    try:
        pcm, rate = _speak(library, data_path, text, voice)
    finally:
        # Unloading is the point: the next utterance starts from the library's initial state.
        _ctypes.dlclose(library._handle)
    return dsp.as_wave(soxr.resample(pcm.astype(np.float32) / 32768.0, rate, SAMPLE_RATE, "HQ"))


_REMEDY = "pip install 'whisper-aut[demo]'"


def _espeak_paths() -> tuple[str, str]:
    try:
        import espeakng_loader
    except ImportError:
        raise EnvironmentProblem(
            "the demo speaks with espeak-ng, and the package espeakng-loader is not installed", remedy=_REMEDY
        ) from None
    return str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path())


def _check_variant(name: str, data_path: Path) -> None:
    # espeak-ng answers an unknown variant with the plain voice and no error.
    _, _, variant = name.partition("+")
    if variant and not (data_path / "voices" / "!v" / variant).is_file():
        raise EnvironmentProblem(
            f"espeak-ng has no voice variant '{variant}'", where=str(data_path), remedy=f"reinstall it: {_REMEDY}"
        )


def _speak(library: ctypes.CDLL, data_path: str, text: str, voice: Voice) -> tuple[np.ndarray, int]:
    """int16 samples and their rate in Hz."""
    rate = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path.encode(), _INITIALIZE_DONT_EXIT)
    if rate <= 0:
        raise EnvironmentProblem(f"espeak-ng does not start (code {rate})", where=data_path, remedy=_REMEDY)
    chunks: list[bytes] = []

    def keep(samples: int | None, count: int, events: int | None) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0  # go on

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(keep)
    library.espeak_SetSynthCallback(callback)
    ctypes.CDLL(None).srand(1)
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise EnvironmentProblem(f"espeak-ng has no voice '{voice.name}'", where=data_path, remedy=_REMEDY)
    library.espeak_SetParameter(_RATE, voice.words_per_minute, 0)
    library.espeak_SetParameter(_PITCH, voice.pitch, 0)
    library.espeak_SetParameter(_RANGE, voice.pitch_range, 0)
    raw = text.encode()
    failed = library.espeak_Synth(raw, ctypes.c_size_t(len(raw) + 1), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
    library.espeak_Synchronize()
    library.espeak_Terminate()
    if failed or not chunks:
        raise EnvironmentProblem(f"espeak-ng said nothing for '{text}' with voice {voice.name}", remedy=_REMEDY)
    return np.frombuffer(b"".join(chunks), np.int16), int(rate)


def draw_voice(draw: Draw, name: str) -> Voice:
    """The voice ``name`` at a drawn speed, pitch and liveliness."""
    return Voice(
        name,
        words_per_minute=round(draw.uniform(130, 215)),
        pitch=round(draw.uniform(28, 72)),
        pitch_range=round(draw.uniform(25, 80)),
    )


def spoken_clip(draw: Draw, sentence: str, voices: tuple[str, ...], max_sec: float) -> Wave:
    """A sentence in a room, with a little noise and silence around it; at most ``max_sec`` seconds long.

    Raises:
        EnvironmentProblem: as ``synthesise``.
    """
    voice = draw_voice(draw, draw.choice(voices))
    speech = _trim(synthesise(sentence, voice))
    before, after = samples_between(draw, 0.05, 0.3), samples_between(draw, 0.05, 0.3)
    while len(speech) + before + after > dsp.samples(max_sec):
        # A slow voice with a long sentence: speak faster rather than cut words that the transcript has.
        voice = Voice(voice.name, round(voice.words_per_minute * 1.15), voice.pitch, voice.pitch_range)
        speech = _trim(synthesise(sentence, voice))
    return _in_a_room(draw, np.pad(speech, (before, after)), snr_db=draw.uniform(8, 40))


def spoken_word(draw: Draw, word: str, voice_name: str) -> Wave:
    """A command word somewhere in one to two seconds of noise: the clips of demo_words.

    Raises:
        EnvironmentProblem: as ``synthesise``.
    """
    speech = _trim(synthesise(word, draw_voice(draw, voice_name)))
    total = dsp.samples(draw.uniform(_WORDS_MIN_SEC, _WORDS_MAX_SEC))
    room = max(0, total - len(speech))
    before = int(room * draw.rng.random())
    return _in_a_room(draw, np.pad(speech, (before, room - before)), snr_db=draw.uniform(2, 18))


def samples_between(draw: Draw, low_sec: float, high_sec: float) -> int:
    """A drawn length in samples."""
    return dsp.samples(draw.uniform(low_sec, high_sec))


def _trim(speech: Wave) -> Wave:
    """Without the silence that espeak-ng puts around an utterance (30 ms are kept)."""
    loud = np.flatnonzero(np.abs(speech) > 0.01 * np.abs(speech).max())
    margin = dsp.samples(0.03)
    return speech[max(0, loud[0] - margin) : loud[-1] + margin]


def _in_a_room(draw: Draw, speech: Wave, snr_db: float) -> Wave:
    roomy = dsp.reverb(speech, draw.rng, draw.uniform(0.1, 0.6), draw.uniform(0.02, 0.3))
    coloured = dsp.band(roomy, draw.uniform(40, 250), draw.log_uniform(3000, 7500), order=1)
    return dsp.mix(coloured, dsp.noise(draw.rng, len(speech), draw.uniform(-6, 0)), snr_db)
