"""Waveforms as FLAC or Opus files in memory, the same bytes whenever and wherever they are made.

libsndfile draws the serial number of an Ogg stream from the clock, so that packing twice would give other files; it is
set to one value, and the pages' sums are made anew.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import soundfile

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.data.containers.ogg import PAGE, page_sum

AudioFormat = Literal["flac", "opus"]
AUDIO_FORMATS: tuple[AudioFormat, ...] = get_args(AudioFormat)

# Between 256 (0) and 6 (1) kbit/s in libsndfile: about 32, where 16 kHz mono has little left to gain.
_OPUS_COMPRESSION = 0.896
_SERIAL = 1  # of the only stream in the file


@dataclass(frozen=True, slots=True)
class Encoded:
    """An audio file in memory, 16 kHz mono.

    Attributes:
        data: the whole file.
        num_samples: of audio.
        scaled: whether it was louder than full scale, and is softer here than it was.
    """

    data: bytes
    num_samples: int
    scaled: bool


def encode(waveform: npt.NDArray[np.float32], audio_format: AudioFormat) -> Encoded:
    """``waveform`` [S] at 16 kHz as a file: FLAC of 16 bits, or Ogg Opus of about 32 kbit/s.

    What is louder than full scale is made softer as a whole: both formats would cut off its peaks.
    """
    peak = float(np.abs(waveform).max())
    if peak > 1.0:
        waveform = waveform / np.float32(peak)
    buffer = io.BytesIO()
    if audio_format == "flac":
        soundfile.write(buffer, waveform, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        return Encoded(buffer.getvalue(), len(waveform), peak > 1.0)
    with soundfile.SoundFile(
        buffer, "w", SAMPLE_RATE, 1, format="OGG", subtype="OPUS", compression_level=_OPUS_COMPRESSION
    ) as file:
        for start in range(0, len(waveform), SAMPLE_RATE):  # libsndfile puts what it is given on its stack
            file.write(waveform[start : start + SAMPLE_RATE])
    return Encoded(with_fixed_serial(buffer.getvalue()), len(waveform), peak > 1.0)


def with_fixed_serial(ogg: bytes) -> bytes:
    """An Ogg file of one stream with a serial number that is always the same."""
    pages = bytearray(ogg)
    start = 0
    while start < len(pages):
        capture, version, flags, position, _, number, _, num_segments = PAGE.unpack_from(pages, start)
        assert capture == b"OggS" and version == 0, f"no Ogg page at byte {start}"
        table = start + PAGE.size
        end = table + num_segments + sum(pages[table : table + num_segments])
        PAGE.pack_into(pages, start, capture, version, flags, position, _SERIAL, number, 0, num_segments)
        struct.pack_into("<I", pages, start + 22, page_sum(bytes(pages[start:end])))
        start = end
    return bytes(pages)
