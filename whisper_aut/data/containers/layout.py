"""What was found in an audio file: its true length, and the stretches that libsndfile can read one after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

SHORT_BY_SEC = 0.25  # how much less than declared a file may hold: codec delay, rounded durations

Frames = npt.NDArray[np.float32]  # [S, C]: samples at the file's rate, channels


class Reader(Protocol):
    """Something that decodes any stretch of an audio file.

    Attributes:
        rate: Hz.
        channels: how many.
        frames: samples of each channel; None where only decoding tells.
        fault: why the file does not hold all that it should, or nothing; what is there can be read.
    """

    rate: int
    channels: int
    frames: int | None
    fault: str

    def read(self, start: int, num_frames: int) -> Frames:
        """Float32 [S, C], fewer than asked for at the end.

        Raises:
            DecodingError: the data are damaged.
        """

    def close(self) -> None:
        """Let go of the file."""


class DecodingError(Exception):
    """What a decoder says of damaged data."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a file that libsndfile reads as a file of its own.

    Attributes:
        start: first byte.
        end: behind the last byte.
        frames: samples of each channel; None where libsndfile is to say.
        patches: (place in the file, bytes that stand there instead).
        seek_points: of MPEG audio without a header, places of every ``mpeg.SEEK_FRAMES``-th frame; else nothing.
    """

    start: int
    end: int
    frames: int | None = None
    patches: tuple[tuple[int, bytes], ...] = ()
    seek_points: memoryview | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file holds.

    Attributes:
        rate: Hz.
        channels: how many.
        frames: samples of each channel that can be decoded; None where libsndfile is to say.
        parts: stretches that follow one another; none where libsndfile reads the file as it is.
        fault: why the file does not hold all that it should, or nothing.
    """

    rate: int
    channels: int
    frames: int | None
    parts: tuple[Part, ...] = ()
    fault: str = ""


def chained(layouts: list[Layout]) -> Layout:
    """Streams that follow one another in a file, as one.

    Where they differ in rate or channels, only those before the first other one can be read, and that is a fault.
    """
    first = layouts[0]
    fault = next((layout.fault for layout in layouts if layout.fault), "")
    for number, layout in enumerate(layouts):
        if (layout.rate, layout.channels) != (first.rate, first.channels):
            fault = (
                f"streams of {first.rate} Hz with {first.channels} channel(s) and of {layout.rate} Hz with "
                f"{layout.channels} follow one another"
            )
            layouts = layouts[:number]
            break
    parts = tuple(part for layout in layouts for part in layout.parts)
    known = [part.frames for part in parts if part.frames is not None]
    return Layout(first.rate, first.channels, sum(known) if len(known) == len(parts) else None, parts, fault)


def short_by(declared: float, held: float) -> str:
    """The fault of a file that holds less than its header declares; nothing where that is a rounding."""
    if declared - held <= SHORT_BY_SEC:
        return ""
    return f"the header declares {declared:.3f} s, the file holds {held:.3f} s: its end is missing"
