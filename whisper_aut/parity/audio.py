"""The audio that encoders are compared on: files that are given, or speech from the demo's synthesiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from whisper_aut.constants import WINDOW_SEC
from whisper_aut.data.audio import audio_duration_sec, read_waveform

_SPOKEN = (
    ("en-us+f1", "The quick brown fox jumps over the lazy dog."),
    ("en-gb-x-rp+m3", "Please leave a message after the tone, and we will call you back as soon as we can."),
)


@dataclass(frozen=True)
class Clip:
    """One piece of audio: float32 [S] at 16 kHz, at most 30 s."""

    name: str
    waveform: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Audio:
    """Clips, and where they come from in words."""

    clips: tuple[Clip, ...]
    source: str


def read_audio(files: Sequence[Path]) -> Audio:
    """The first 30 s of each file; without files, two sentences that espeak-ng speaks.

    Raises:
        AudioError: a file is not audio.
        EnvironmentProblem: there are no files and the extra [demo] is not installed.
    """
    if files:
        clips = tuple(
            Clip(path.name, read_waveform(path, duration_sec=min(WINDOW_SEC, audio_duration_sec(path))))
            for path in files
        )
        return Audio(clips, f"{len(clips)} files: " + ", ".join(clip.name for clip in clips))
    from whisper_aut.demo.speech import Voice, synthesise

    spoken = tuple(
        Clip(f"'{text}'", synthesise(text, Voice(voice, words_per_minute=150, pitch=50, pitch_range=50)))
        for voice, text in _SPOKEN
    )
    return Audio(spoken, f"{len(spoken)} sentences spoken by espeak-ng (give --audio for recordings)")
