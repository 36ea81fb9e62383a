"""MP3 and MPEG audio of layers 1 and 2: frames counted where no Xing or Info header says how many there are.

Without such a header libsndfile guesses the length from the bit rate of the first frames, and reads no further than
that. A header may also cover only the first of several files that were joined, or more than is left of one that was
cut off; its number of bytes tells.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from whisper_aut.data.containers.content import Content
from whisper_aut.data.containers.layout import Layout, Part, chained, short_by
from whisper_aut.data.containers.tags import audio_end, audio_start, tag_size

SEEK_FRAMES = 32  # the place of every so-manieth frame is kept
_COUNTED_BYTES = 2 * 2**20  # of such a file frames are counted, although its header says how many there are
_MAX_JUNK_BYTES = 64 * 2**10  # between frames; what is longer is taken for the end
_SURE_FRAMES = 3  # in a row: bytes that look like one header are met everywhere
_DECODER_DELAY = 529  # samples that decoders take off beside an encoder's own delay
# kbit/s by (MPEG 1 or later, layer) and index; 0 is a free format, which libsndfile may read as it likes.
_KBITS = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


@dataclass(frozen=True, slots=True)
class MpegFrame:
    """What a frame's header says.

    Attributes:
        size: bytes of the frame.
        samples: of each channel.
        rate: Hz.
        channels: 1 or 2.
        layer: 1, 2 or 3.
        first: MPEG 1 rather than 2 or 2.5.
        side: bytes up to what a Xing header or, of layer 3, coded audio begins with.
    """

    size: int
    samples: int
    rate: int
    channels: int
    layer: int
    first: bool
    side: int

    def is_like(self, other: MpegFrame) -> bool:
        """Whether both may be of one stream."""
        return (self.rate, self.layer, self.first) == (other.rate, other.layer, other.first)


@lru_cache(4096)
def parse_frame(header: bytes) -> MpegFrame | None:
    """The frame whose first four bytes are ``header``; None where that is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer, index = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3), header[2] >> 4
    if version == 1 or layer == 4 or index in (0, 15) or header[2] >> 2 & 3 == 3:
        return None
    first, mono = version == 3, header[3] >> 6 == 3
    rate = (44_100, 48_000, 32_000)[header[2] >> 2 & 3] >> {3: 0, 2: 1, 0: 2}[version]
    bits_per_sec = _KBITS[first, layer][index] * 1000
    padding = header[2] >> 1 & 1
    samples = 384 if layer == 1 else 1152 if first or layer == 2 else 576
    size = (12 * bits_per_sec // rate + padding) * 4 if layer == 1 else samples // 8 * bits_per_sec // rate + padding
    side = (17 if mono else 32) if first else (9 if mono else 17)
    return MpegFrame(size, samples, rate, 1 if mono else 2, layer, first, 4 + side + (0 if header[1] & 1 else 2))


@dataclass(frozen=True, slots=True)
class _Tag:
    """A Xing or Info header: frames and bytes, 0 where it does not say, and samples cut off at both ends.

    Info stands for a constant bit rate.
    """

    frames: int
    num_bytes: int
    trimmed: int
    is_constant: bool


@dataclass(slots=True)
class _Stream:
    """Frames that belong together: a file among those that were joined."""

    start: int  # of the Xing header where there is one
    frame: MpegFrame
    tag: _Tag | None
    end: int = 0
    count: int = 0
    places: array[int] | None = None

    def layout(self) -> Layout:
        """Its true length."""
        samples = self.count * self.frame.samples
        part = Part(self.start, self.end, samples, seek_points=memoryview(self.places or array("q")))
        fault = ""
        if self.tag is not None and self.tag.frames == self.count:
            samples -= self.tag.trimmed
            part = Part(self.start, self.end, samples)
        elif self.tag is not None:
            declared_sec = self.tag.frames * self.frame.samples / self.frame.rate
            fault = short_by(declared_sec, samples / self.frame.rate)
            if self.tag.frames > self.count:  # libsndfile reads up to where the file was cut off
                part = Part(self.start, self.end, max(samples - self.tag.trimmed, 0))
        if self.frame.layer < 3:
            part = Part(self.start, self.end, samples)  # of constant bit rate: libsndfile counts right
        return Layout(self.frame.rate, self.frame.channels, part.frames, (part,), fault)


def examine_mpeg(content: Content) -> Layout | None:
    """The true length of a file of MPEG audio; None where there are no frames."""
    start, end = audio_start(content), audio_end(content)
    head = content.at(start, 4)
    frame = parse_frame(head)
    if frame is not None and (tag := _tag(content, start, frame)) is not None and tag.frames and tag.num_bytes:
        samples = tag.frames * frame.samples - tag.trimmed
        # Programs count the bytes of the header's own frame or do not, and some a tag.
        tolerance = frame.size + 2 * tag.num_bytes // tag.frames
        fits = samples > 0 and abs(end - start - tag.num_bytes) <= tolerance
        if fits and (
            end - start > _COUNTED_BYTES
            or _is_constant(content, start + frame.size, tag)
            or _count(content.at(start, end - start)) == tag.frames + 1
        ):
            return Layout(frame.rate, frame.channels, samples)
    streams = list(_streams(content, start, end))
    return chained([stream.layout() for stream in streams]) if streams else None


def frames_from(content: Content, place: int, end: int) -> Iterator[tuple[int, MpegFrame]]:
    """(place, frame) of whole frames in order; tags between them, and a little of other bytes, are passed over."""
    like: MpegFrame | None = None
    while place + 4 <= end:
        frame = parse_frame(content.at(place, 4))
        if frame is None or (like is not None and not frame.is_like(like) and not _is_sure(content, place, end)):
            size = tag_size(content, place)
            found = place + size if size else _next_frame(content, place + 1, end)
            if found is None:
                return
            place = found
            continue
        if place + frame.size > end:
            return
        yield place, frame
        like = frame
        place += frame.size


def _is_constant(content: Content, place: int, tag: _Tag) -> bool:
    """Whether frames are all of one size, as many as the header says."""
    frame = parse_frame(content.at(place, 4))
    return tag.is_constant and frame is not None and abs(tag.num_bytes - tag.frames * frame.size) <= 4 * frame.size


def _count(data: bytes) -> int:
    """Frames that follow one another from the first byte on, counted as fast as can be."""
    sizes: dict[bytes, int] = {}
    place = count = 0
    while True:
        head = data[place : place + 4]
        size = sizes.get(head, 0)
        if not size:
            frame = parse_frame(head)
            if frame is None:
                return count
            size = sizes[head] = frame.size
        place += size
        if place > len(data):
            return count
        count += 1


def _streams(content: Content, start: int, end: int) -> Iterator[_Stream]:
    stream: _Stream | None = None
    for place, frame in frames_from(content, start, end):
        tag = _tag(content, place, frame)
        if stream is None or tag is not None or not frame.is_like(stream.frame):
            if stream is not None and stream.count:
                yield stream
            stream = _Stream(place, frame, tag, place + frame.size, 0, array("q"))
            if tag is not None:
                continue
        if stream.count % SEEK_FRAMES == 0 and stream.places is not None:
            stream.places.append(place)
        stream.count += 1
        stream.end = place + frame.size
    if stream is not None and stream.count:
        yield stream


def _tag(content: Content, place: int, frame: MpegFrame) -> _Tag | None:
    """The Xing, Info or VBRI header that the frame holds instead of audio. Of VBRI's, frames are counted."""
    if frame.layer != 3:
        return None
    raw = content.at(place, min(frame.size, 256))
    if raw[36:40] == b"VBRI":
        return _Tag(0, 0, 0, False)
    side = frame.side
    if raw[side : side + 4] not in (b"Xing", b"Info") or len(raw) < side + 8:
        return None
    flags, place = int.from_bytes(raw[side + 4 : side + 8], "big"), side + 8
    values = []
    for flag, size in ((1, 4), (2, 4), (4, 100), (8, 4)):
        values.append(int.from_bytes(raw[place : place + size], "big") if flags & flag and size == 4 else 0)
        place += size if flags & flag else 0
    trimmed = 0
    if len(raw) >= place + 24 and raw[place]:  # LAME's own part, which others write too
        packed = int.from_bytes(raw[place + 21 : place + 24], "big")
        delay, padding = packed >> 12, packed & 0xFFF
        trimmed = delay + _DECODER_DELAY + max(padding - _DECODER_DELAY, 0)
    return _Tag(values[0], values[1], trimmed or _DECODER_DELAY, raw[side : side + 4] == b"Info")


def _next_frame(content: Content, place: int, end: int) -> int | None:
    """Where several frames in a row begin, not too far behind ``place``."""
    data = content.at(place, _MAX_JUNK_BYTES)
    inside = data.find(b"\xff")
    while inside >= 0:
        if parse_frame(data[inside : inside + 4]) is not None and _is_sure(content, place + inside, end):
            return place + inside
        if data[inside : inside + 3] == b"ID3" and tag_size(content, place + inside):
            return place + inside
        inside = data.find(b"\xff", inside + 1)
    return None


def _is_sure(content: Content, place: int, end: int) -> bool:
    """Whether frames of one kind follow one another from there on."""
    frame = parse_frame(content.at(place, 4))
    for _ in range(_SURE_FRAMES):
        if frame is None:
            return False
        place += frame.size
        if place >= end:
            return place == end
        following = parse_frame(content.at(place, 4))
        if following is None or not following.is_like(frame):
            return bool(tag_size(content, place))
        frame = following
    return True


def headed(content: Content, part: Part, first: int, num_frames: int) -> tuple[bytes, int]:
    """Frames of a part without a header as a file that has one, so that libsndfile reads all of it.

    Args:
        content: the file.
        part: with seek points.
        first: of the wanted frames.
        num_frames: how many.

    Returns:
        the file, and how many frames stand in it before the wanted ones: layer 3 uses bytes of the frames before, which
        are therefore there, but silent where they lack such bytes themselves.
    """
    assert part.seek_points is not None, "who calls has looked"
    lead = min(first, SEEK_FRAMES)
    begin = first - lead
    place = part.seek_points[begin // SEEK_FRAMES]
    data, kept, reservoir, head, frame = bytearray(), 0, 0, b"", None
    for number, (at, frame) in enumerate(frames_from(content, place, part.end), start=begin - begin % SEEK_FRAMES):
        if number < begin:
            continue
        if number >= first + num_frames:
            break
        raw = bytearray(content.at(at, frame.size))
        head = head or bytes(raw[:4])
        if begin and reservoir < 511:
            _silence(raw, frame, reservoir)
            reservoir += frame.size - frame.side
        data += raw
        kept += 1
    assert frame is not None, "the part has frames"
    # One frame of silence more in front: the decoder takes its delay off the beginning.
    return _headers(head, kept + 1, len(data)) + bytes(data), lead


def _silence(raw: bytearray, frame: MpegFrame, reservoir: int) -> None:
    """Keep of a frame's side information only how far back its audio begins, if that is there: the bytes stay, for the
    frames behind it."""
    start, bits = (6 if not raw[1] & 1 else 4), (9 if frame.first else 8)
    back = min(int.from_bytes(raw[start : start + 2], "big") >> 16 - bits, reservoir)
    raw[start : frame.side] = (back << 16 - bits).to_bytes(2, "big").ljust(frame.side - start, b"\0")


def _headers(head: bytes, num_frames: int, num_bytes: int) -> bytes:
    """An Info header and a silent frame, in the kind of the frame that begins with ``head``."""
    plain = bytes([head[0], head[1] | 1, 0x80 | head[2] & 0x0C, head[3]])  # no sum, 64 or 112 kbit/s, no padding
    frame = parse_frame(plain)
    assert frame is not None, "made of the header of a frame"
    info = plain + bytes(frame.side - 4) + b"Info" + struct.pack(">III", 3, num_frames, num_bytes + 2 * frame.size)
    return info.ljust(frame.size, b"\0") + plain.ljust(frame.size, b"\0")
