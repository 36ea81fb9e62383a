"""A player in a page: some audio as MP3 inside the page itself, so that it needs no network and no other file."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
import soundfile
from markupsafe import Markup

from whisper_aut.constants import SAMPLE_RATE

_COMPRESSION = 0.8  # of libsndfile's MP3: about 40 kbit/s


def mp3_player(waveform: npt.NDArray[np.float32]) -> Markup:
    """A waveform [S] at 16 kHz, or [S, 2] for left and right, as an ``<audio>`` element.

    MP3 since every browser plays it; Opus in Ogg is not for all of them.
    """
    packed = io.BytesIO()
    channels = 1 if waveform.ndim == 1 else 2
    with soundfile.SoundFile(packed, "w", SAMPLE_RATE, channels, format="MP3", compression_level=_COMPRESSION) as file:
        file.write(waveform)
    data = base64.b64encode(packed.getvalue()).decode()
    return Markup('<audio controls preload="none" src="data:audio/mpeg;base64,{}"></audio>').format(data)
