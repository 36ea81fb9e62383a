"""Ogg with Vorbis or Opus: chained streams, a missing mark of the end, pages that are missing or cut off.

A file may hold several streams one after another (internet radio, ``cat a.ogg b.ogg``); libsndfile reads the first.
The length of a stream is the position in its last page. A look at both ends of a file tells most; where that is not
enough every page is looked at.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from whisper_aut.data.containers.content import Content
from whisper_aut.data.containers.layout import Layout, Part, chained

PAGE = struct.Struct("<4sBBqIIIB")  # capture pattern, version, flags, position, serial, number, sum, segments
MAX_PAGE_BYTES = PAGE.size + 255 + 255 * 255
_BEGIN, _END = 2, 4  # flags
_SMALL_BYTES = 2**20  # of such a file every page is looked at
_STEP = 1.25  # of a larger one a page at every so-many-fold place
_OPUS_RATE = 48_000
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)  # that libsndfile decodes to; else 48 kHz
_OPUS_FRAMES = [*[480, 960, 1920, 2880] * 3, *[480, 960] * 2, *[120, 240, 480, 960] * 4]  # at 48 kHz, by configuration
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class _Page:
    """Where it stands, and what its header says."""

    start: int
    end: int
    flags: int
    position: int
    serial: int
    number: int
    num_packets: int  # that end in it
    first_byte: int  # where its data begin


@dataclass(slots=True)
class _Stream:
    """The audio of one link of the chain, as it is found."""

    start: int
    serial: int
    codec: str = ""  # vorbis or opus
    rate: int = 0
    channels: int = 0
    skip: int = 0  # samples in front that are not played
    block: int = 0  # the longest of Vorbis
    first: _Page | None = None  # with audio
    last: _Page | None = None  # with a position
    num_packets: int = 0  # of audio, in all pages
    others: set[int] = field(default_factory=set)  # streams side by side with it


def examine_ogg(content: Content) -> Layout | None:
    """The true length of an Ogg file with Vorbis or Opus; None for other codecs and what is no Ogg."""
    head = _page_at(content, 0)
    if head is None or not head.flags & _BEGIN:
        return None
    stream = _begun(content, head)
    if not stream.codec:
        return None
    if content.size <= _SMALL_BYTES and content.path is not None:
        content = Content(io.BytesIO(content.at(0, content.size)))
    return _by_its_ends(content, stream) or _by_every_page(content)


def ends_within_page(content: Content) -> bool:
    """Whether the last page of an Ogg file, whatever is in it, is not whole."""
    end = 0
    for page in _pages(content, 0):
        end = page.end
    return _begins_page(content, end)


def page_sum(page: bytes) -> int:
    """CRC-32 of a page (RFC 3533) whose own sum is zero: zlib's has the same polynomial, bits mirrored, and inverts
    before and after."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _by_its_ends(content: Content, stream: _Stream) -> Layout | None:
    """The layout where all is as it should be: one stream, its end marked, numbers of pages that rise."""
    tail_start = max(0, content.size - 2 * MAX_PAGE_BYTES)
    tail = content.at(tail_start, 2 * MAX_PAGE_BYTES)
    place = tail.rfind(b"OggS")
    last = _page_at(content, tail_start + place) if place >= 0 else None
    if last is None or last.end != content.size or last.serial != stream.serial or not last.flags & _END:
        return None
    if content.size <= _SMALL_BYTES:  # as many pages as there are numbers, and one that begins a stream
        data = content.at(0, content.size)
        if data.count(b"OggS\0") != last.number + 1 or data.find(b"OggS\0\2", 1) >= 0:
            return None
    before, around = 0, float(_SMALL_BYTES)
    while around < tail_start:
        page = _page_near(content, int(around))
        if page is None or page.serial != stream.serial or page.number <= before:
            return None
        before, around = page.number, around * _STEP
    if last.number <= before or last.position < 0:
        return None
    for page in _pages(content, 0):
        if page.number >= 1 and page.position > 0:
            stream.first = page
            break
    stream.last = last
    frames, fault = _length(content, stream)
    if stream.codec == "opus" and stream.first is not None and stream.first is not last:
        # Pages hold about as much as the first: where positions say much less, or more, packets are to be counted.
        in_first = _samples_of(content, stream, stream.first)
        about = in_first * (last.number - stream.first.number)
        if abs(last.position - stream.first.position - about) > in_first + about / 4:
            return None
    return None if fault or frames is None else Layout(stream.rate, stream.channels, frames)


def _by_every_page(content: Content) -> Layout | None:
    streams: list[_Stream] = []
    numbers: dict[int, int] = {}
    fault, end, in_head = "", 0, False
    for page in _pages(content, 0):
        if page.start != end:
            fault = fault or f"{page.start - end} bytes at {end} are no Ogg page"
        end = page.end
        if page.flags & _BEGIN:
            if not in_head:
                streams.append(_begun(content, page))
                numbers = {}
            elif not streams[-1].codec:
                others = streams[-1].others | {streams[-1].serial}
                streams[-1] = _begun(content, page)
                streams[-1].start, streams[-1].others = min(streams[-1].start, page.start), others
            else:
                streams[-1].others.add(page.serial)
            in_head = True
            continue
        in_head = False
        if not streams or page.serial != streams[-1].serial:
            continue
        stream = streams[-1]
        if stream.first is not None and page.number != numbers.get(page.serial, page.number - 1) + 1:
            fault = fault or "pages are missing in the middle of the file"
        numbers[page.serial] = page.number
        if page.position > 0 and stream.first is None:
            stream.first = page
        if stream.first is not None:
            stream.num_packets += page.num_packets
        if page.position >= 0:
            stream.last = page
    if _begins_page(content, end):
        fault = fault or "the file ends within an Ogg page: its end is missing"
    if not streams or not all(stream.codec for stream in streams):
        return None
    layouts = []
    for stream, stop in zip(streams, [*(stream.start for stream in streams[1:]), content.size], strict=True):
        frames, odd = _length(content, stream)
        patches = _with_end_mark(content, stream)
        part = Part(stream.start, stop, frames, patches)
        layouts.append(Layout(stream.rate, stream.channels, frames, (part,), fault or odd))
    if len(layouts) == 1 and not layouts[0].parts[0].patches and layouts[0].frames is not None:
        return Layout(layouts[0].rate, layouts[0].channels, layouts[0].frames, (), layouts[0].fault)
    return chained(layouts)


def _begins_page(content: Content, place: int) -> bool:
    return place < content.size and content.at(place, 4) == b"OggS"[: content.size - place]


def _begun(content: Content, page: _Page) -> _Stream:
    """A stream by its first page."""
    stream = _Stream(page.start, page.serial)
    raw = content.at(page.first_byte, 30)
    if raw.startswith(b"\x01vorbis") and len(raw) == 30:
        stream.codec, stream.channels = "vorbis", raw[11]
        stream.rate, stream.block = int.from_bytes(raw[12:16], "little"), 1 << (raw[28] >> 4)
    elif raw.startswith(b"OpusHead") and len(raw) >= 19:
        rate = int.from_bytes(raw[12:16], "little")
        stream.codec, stream.channels, stream.skip = "opus", raw[9], int.from_bytes(raw[10:12], "little")
        stream.rate = rate if rate in _OPUS_RATES else _OPUS_RATE
    return stream if stream.rate and stream.channels else _Stream(page.start, page.serial)


def _length(content: Content, stream: _Stream) -> tuple[int | None, str]:
    """Samples at the rate of libsndfile, None where it is to say, and what is wrong."""
    if stream.last is None or stream.first is None:
        return 0, ""
    held = _samples_of(content, stream, stream.first)
    # A recording of a running stream begins at the position that the stream had then.
    begin = stream.first.position - held if stream.first is not stream.last else 0
    if stream.codec == "vorbis":
        if begin > 0 or (stream.first is stream.last and stream.last.position > held):
            return None, ""  # how many samples the first page holds, only its decoder knows
        return stream.last.position, ""
    if stream.first is stream.last and stream.first.position > held:
        begin = stream.first.position - held
    frames = stream.last.position - max(begin, 0) - stream.skip
    fault = ""
    if stream.num_packets and stream.first.num_packets:
        # Some programs count positions at the rate of the input, where Opus has 48 kHz whatever that is.
        packets_sec = stream.num_packets * held / stream.first.num_packets / _OPUS_RATE
        stated_sec = (stream.last.position - max(begin, 0)) / _OPUS_RATE
        if abs(packets_sec - stated_sec) > 1 + packets_sec / 4:
            fault = f"its pages say {stated_sec:.3f} s, its packets hold about {packets_sec:.3f} s"
    return max(frames, 0) * stream.rate // _OPUS_RATE, fault


def _samples_of(content: Content, stream: _Stream, page: _Page) -> int:
    """Samples that the packets of a page hold, exactly for Opus, at most for Vorbis."""
    if stream.codec == "vorbis":
        return page.num_packets * stream.block
    data = content.at(page.start, page.end - page.start)
    total, place = 0, page.first_byte - page.start
    begin, is_begun = place, not page.flags & 1
    for segment in data[PAGE.size : place]:
        place += segment
        if segment < 255:
            if place > begin and is_begun:  # RFC 6716, 3.1: how long frames are, and how many
                kind, more = data[begin], data[begin + 1] if place > begin + 1 else 0
                total += _OPUS_FRAMES[kind >> 3] * (1, 2, 2, more & 0x3F)[kind & 3]
            begin, is_begun = place, True
    return total


def _with_end_mark(content: Content, stream: _Stream) -> tuple[tuple[int, bytes], ...]:
    """What to put in place of the last page's header where its mark of the end is missing: without it, libsndfile
    takes the position of a page that is not full for damage."""
    page = stream.last
    if page is None or page.flags & _END:
        return ()
    raw = bytearray(content.at(page.start, page.end - page.start))
    raw[5] |= _END
    raw[22:26] = bytes(4)
    raw[22:26] = page_sum(bytes(raw)).to_bytes(4, "little")
    return ((page.start, bytes(raw[:26])),)


def _pages(content: Content, place: int) -> Iterator[_Page]:
    """Whole pages in order; what is none is passed over."""
    while place < content.size:
        page = _page_at(content, place)
        if page is None:
            page = _page_near(content, place + 1)
            if page is None:
                return
        yield page
        place = page.end


def _page_at(content: Content, place: int) -> _Page | None:
    """The page that begins there and is whole."""
    raw = content.at(place, PAGE.size + 255)
    if len(raw) < PAGE.size:
        return None
    capture, version, flags, position, serial, number, _, num_segments = PAGE.unpack_from(raw)
    if capture != b"OggS" or version:
        return None
    table = raw[PAGE.size : PAGE.size + num_segments]
    first = place + PAGE.size + num_segments
    end = first + sum(table)
    if end > content.size or len(table) < num_segments:
        return None
    num_packets = num_segments - table.count(255)
    return _Page(place, end, flags, position, serial, number, num_packets, first)


def _page_near(content: Content, place: int) -> _Page | None:
    """The first page from ``place`` on, within two pages' size."""
    data = content.at(place, 2 * MAX_PAGE_BYTES)
    inside = data.find(b"OggS")
    while inside >= 0:
        page = _page_at(content, place + inside)
        # Within the data of a page these four letters may stand by chance, but hardly in front of another page's.
        if page is not None and (page.end == content.size or content.at(page.end, 4) == b"OggS"):
            return page
        inside = data.find(b"OggS", inside + 1)
    return None
