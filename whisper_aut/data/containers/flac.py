"""FLAC: the length in its header is right, unknown (0) or wrong; the last frame's own number tells.

Every frame says which samples it has, so that a look at the end of the file costs one read. Whoever writes FLAC to a
pipe cannot fill in the total, and libsndfile refuses to read such files until somebody does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from whisper_aut.data.containers.content import Content
from whisper_aut.data.containers.layout import Layout, Part, chained, short_by
from whisper_aut.data.containers.tags import audio_end, audio_start

_INFO_BYTES = 42  # magic, header of the block, STREAMINFO
_TOTAL = 21  # byte in them where the 36 bits of the total begin, in its lower half
_MAX_FRAME_BYTES = 2**17  # looked at for one frame where the header does not say how long they are
_SAMPLES = (
    {1: 192} | {code: 576 << (code - 2) for code in range(2, 6)} | {code: 256 << (code - 8) for code in range(8, 16)}
)
_READ_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class _Info:
    """STREAMINFO."""

    start: int
    min_block: int
    max_block: int
    max_frame: int
    rate: int
    channels: int
    total: int


def examine_flac(content: Content) -> Layout | None:
    """The true length of a FLAC file; None where it does not begin as one."""
    start = audio_start(content)
    info = _info(content, start)
    if info is None:
        return None
    last = _end_of_last_frame(content, info, content.size)
    if info.total and last == info.total and _rises(content, info):
        return Layout(info.rate, info.channels, info.total)
    starts = [start, *_later_starts(content, start)]
    if len(starts) > 1:
        ends = [*starts[1:], content.size]
        return chained([_one(content, first, end) for first, end in zip(starts, ends, strict=True)])
    found = _one(content, start, content.size)
    # As a file of its own only where something is to be put right.
    return Layout(info.rate, info.channels, found.frames, (), found.fault) if found.frames == info.total else found


def _one(content: Content, start: int, end: int) -> Layout:
    """One stream in the file."""
    info = _info(content, start)
    assert info is not None, "who calls has looked"
    end = min(end, audio_end(content))
    last = _end_of_last_frame(content, info, end)
    fault = ""
    if last is None:
        last = info.total  # nothing is known better
    elif last != info.total and (begun := _begun_frame(content, info, end)) is not None:
        last, fault = begun, "the file ends within a frame of FLAC: its end is missing"
    if info.total:
        fault = short_by(info.total / info.rate, last / info.rate)
    total = bytes([content.at(start + _TOTAL, 1)[0] & 0xF0 | last >> 32]) + (last & 0xFFFFFFFF).to_bytes(4, "big")
    patches = () if last == info.total else ((start + _TOTAL, total),)
    return Layout(info.rate, info.channels, last, (Part(start, end, last, patches),), fault)


def _info(content: Content, start: int) -> _Info | None:
    raw = content.at(start, _INFO_BYTES)
    if len(raw) < _INFO_BYTES or raw[:4] != b"fLaC" or raw[4] & 0x7F or raw[5:8] != b"\0\0\x22":
        return None
    packed = int.from_bytes(raw[18:26], "big")
    info = _Info(
        start=start,
        min_block=int.from_bytes(raw[8:10], "big"),
        max_block=int.from_bytes(raw[10:12], "big"),
        max_frame=int.from_bytes(raw[15:18], "big"),
        rate=packed >> 44,
        channels=(packed >> 41 & 7) + 1,
        total=packed & 0xFFFFFFFFF,
    )
    return info if info.rate and info.max_block else None


def _end_of_last_frame(content: Content, info: _Info, end: int) -> int | None:
    """Number of the first sample that no frame has any more: what the last frame before ``end`` says."""
    wanted = min(info.max_frame or _MAX_FRAME_BYTES, _MAX_FRAME_BYTES) + 256
    for num_bytes in (wanted, 4 * wanted, 16 * wanted):  # tags behind the audio may be long
        first = max(info.start + _INFO_BYTES, end - num_bytes)
        found = [samples for _, samples in _frames(content.at(first, end - first), info)]
        if found:
            # Bytes inside of a frame may look like a header: the total that the file declares is believed before them.
            ends = [number + size for number, size in found]
            return info.total if info.total in ends else ends[-1]
        if first == info.start + _INFO_BYTES:
            break
    return None


def _begun_frame(content: Content, info: _Info, end: int) -> int | None:
    """First sample of the last frame where that is not whole; None where it is."""
    first = max(info.start + _INFO_BYTES, end - min(info.max_frame or _MAX_FRAME_BYTES, _MAX_FRAME_BYTES) - 256)
    data = content.at(first, end - first)
    found = list(_frames(data, info))
    if not found:
        return None
    place, (number, _) = max(found)
    return None if _crc16(data[place:]) == 0 else number


def _rises(content: Content, info: _Info) -> bool:
    """Whether frames have larger numbers further on: of a file behind another of the same length they begin anew."""
    wanted = min(info.max_frame or _MAX_FRAME_BYTES, _MAX_FRAME_BYTES) + 16
    if content.size < 4 * wanted:
        return next(_later_starts(content, info.start), None) is None
    before = -1
    for quarter in (1, 2, 3):
        place = content.size * quarter // 4
        numbers = [number for _, (number, _) in _frames(content.at(place, wanted), info)]
        if numbers:
            # Of several candidates the one that fits; a false one is rare and random.
            if max(numbers) <= before:
                return False
            before = min(number for number in numbers if number > before)
    return True


def _later_starts(content: Content, start: int) -> Iterator[int]:
    """Places of further FLAC streams in the file."""
    place = start + 4
    while place < content.size:
        data = content.at(place, _READ_BYTES)
        inside = data.find(b"fLaC")
        while inside >= 0:
            if _info(content, place + inside) is not None:
                yield place + inside
            inside = data.find(b"fLaC", inside + 4)
        place += max(len(data) - 3, 1)


def _frames(data: bytes, info: _Info) -> Iterator[tuple[int, tuple[int, int]]]:
    """(place, (first sample, samples)) of everything in ``data`` that is the header of a frame."""
    for sync in (b"\xff\xf8", b"\xff\xf9"):
        place = data.find(sync)
        while place >= 0:
            if (found := _frame(data[place : place + 16], info)) is not None:
                yield place, found
            place = data.find(sync, place + 1)


def _frame(raw: bytes, info: _Info) -> tuple[int, int] | None:
    """(first sample, samples) of a frame's header; None where it is none, or of another stream."""
    if len(raw) < 6 or raw[3] & 1 or raw[2] >> 4 == 0 or raw[2] & 15 == 15 or raw[3] >> 4 > 10:
        return None
    lead, number, place = raw[4], raw[4], 5  # a number as UTF-8 writes a character
    if lead >= 0x80:
        more = 8 - (lead ^ 0xFF).bit_length() - 1 if lead < 0xFE else 6
        if more < 1:
            return None
        number = lead & (0x3F >> more)
        for byte in raw[5 : 5 + more]:
            number = number << 6 | byte & 0x3F
        place += more
    code = raw[2] >> 4
    if code in (6, 7):
        samples = int.from_bytes(raw[place : place + code - 5], "big") + 1
        place += code - 5
    else:
        samples = _SAMPLES[code]
    place += {12: 1, 13: 2, 14: 2}.get(raw[2] & 15, 0)
    if place >= len(raw) or samples > info.max_block or _crc8(raw[:place]) != raw[place]:
        return None
    # A stream of fixed blocks counts frames, one of variable blocks samples.
    return (number if raw[1] & 1 else number * info.max_block), samples


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value = _CRC8[value ^ byte]
    return value


def _crc8_of(byte: int) -> int:
    for _ in range(8):
        byte = byte << 1 ^ (0x107 if byte & 0x80 else 0)
    return byte


def _crc16(data: bytes) -> int:
    """Of a whole frame, its own sum included: 0."""
    value = 0
    for byte in data:
        value = (value << 8 & 0xFFFF) ^ _CRC16[value >> 8 ^ byte]
    return value


def _crc16_of(byte: int) -> int:
    value = byte << 8
    for _ in range(8):
        value = value << 1 ^ (0x18005 if value & 0x8000 else 0)
    return value


_CRC16 = [_crc16_of(byte) for byte in range(256)]
_CRC8 = bytes(_crc8_of(byte) & 0xFF for byte in range(256))
