"""WAV, RF64, W64, AU, AIFF and CAF: one block of samples whose size stands in front of it, right or wrong.

A program that writes to a pipe cannot go back and fill in the size; it leaves 0 or the largest number there. A file
that was cut off holds less than its size says; one whose size was never brought up to date holds more.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from whisper_aut.data.containers.content import Content
from whisper_aut.data.containers.layout import Layout, Part, chained, short_by

_MAX_CHUNKS = 1_000  # in front of the samples
_STREAMED = 0x7FFFF000  # sizes from here on are what SoX, FFmpeg and others write when they do not know
_PLAIN_TAGS = {1: (8, 16, 24, 32), 3: (32, 64), 6: (8,), 7: (8,)}  # of WAV: PCM, floats, A-law, µ-law; bits
_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
_W64_RIFF = bytes.fromhex("72696666 2e91cf11 a5d628db 04c10000")
_CHUNKS_BEHIND = (
    b"LIST", b"fact", b"id3 ", b"ID3 ", b"JUNK", b"junk", b"PAD ", b"FLLR", b"bext", b"cue ", b"smpl", b"iXML", b"_PMX",
    b"PEAK", b"INFO", b"afsp", b"axml", b"inst", b"levl", b"plst", b"DISP", b"acid", b"adtl",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Header:
    """What stands in front of the samples.

    Attributes:
        align: bytes of one sample of all channels; 0 for a compressed form, of which libsndfile knows the length.
        data: where the samples begin.
        declared: bytes of samples; None where the header says that it does not know.
        size_fields: (place, form, what is added to the bytes of samples) of every field that holds a size.
    """

    rate: int
    channels: int
    align: int
    data: int
    declared: int | None
    size_fields: tuple[tuple[int, str, int], ...]


def examine_pcm(content: Content, start: int = 0) -> Layout | None:
    """The true length of a file of samples with a size in front; None where libsndfile is to say what it is."""
    head = content.at(start, 16)
    for magic, read in _READERS.items():
        if head.startswith(magic):
            header = read(content, start)
            return None if header is None or not (header.rate and header.channels) else _settled(content, start, header)
    return None


def _settled(content: Content, start: int, header: _Header) -> Layout | None:
    held = max(content.size - header.data, 0)
    declared = header.declared if header.declared is None else max(header.declared, 0)
    if declared == 0 and _is_chunk(content, header.data, _CHUNKS_BEHIND):
        return Layout(header.rate, header.channels, 0)
    if declared is None or (declared == 0 and held):
        patches = tuple(
            (place, struct.pack(form, held + more))
            for place, form, more in header.size_fields
            if held + more < 2 ** (8 * struct.calcsize(form))
        )
        return _of(header, held, (Part(start, content.size, patches=patches),))
    if declared > held:
        return _of(header, held, (), declared)
    behind = header.data + declared
    behind += (behind - start) % 2  # chunks begin at even places
    next_bytes = content.at(behind, 16)
    if header.size_fields and next_bytes[:4] in (b"RIFF", b"RIFX") and next_bytes[8:12] == b"WAVE":
        first, rest = _of(header, declared, (Part(start, behind),)), examine_pcm(content, behind)
        if rest is None:
            return Layout(first.rate, first.channels, first.frames, (), "another WAV follows, which cannot be read")
        rest = rest if rest.parts else Layout(
            rest.rate, rest.channels, rest.frames, (Part(behind, content.size, rest.frames),), rest.fault
        )  # fmt: skip
        return chained([first, rest])
    if header.align and _is_more(content, header, behind, next_bytes):
        extra_sec = (content.size - behind) / header.align / header.rate
        fault = f"{extra_sec:.3f} s of data follow the {declared / header.align / header.rate:.3f} s that it declares"
        return Layout(header.rate, header.channels, declared // header.align, (), fault)
    return _of(header, declared, ())


def _of(header: _Header, held: int, parts: tuple[Part, ...], declared: int | None = None) -> Layout:
    """The layout of ``held`` bytes of samples."""
    if not header.align:
        # libsndfile knows how many samples are in the bytes; that some are missing is told from the bytes alone.
        fault = (
            f"{declared - held} of {declared} bytes are missing" if declared and declared - held > held // 100 else ""
        )
        return Layout(header.rate, header.channels, None, parts, fault)
    frames = held // header.align
    fault = short_by(declared / header.align / header.rate, frames / header.rate) if declared else ""
    parts = tuple(Part(part.start, part.end, frames, part.patches) for part in parts)
    return Layout(header.rate, header.channels, frames, parts, fault)


def _is_more(content: Content, header: _Header, behind: int, next_bytes: bytes) -> bool:
    """Whether what follows the samples may be more of them: no chunk, no tag, no zeros, and not just a few bytes."""
    left = content.size - behind
    if left < header.align * header.rate // 4 or not next_bytes.strip(b"\0"):
        return False
    return not next_bytes.startswith((b"ID3", b"TAG", b"APETAGEX")) and not _is_chunk(content, behind)


def _is_chunk(content: Content, place: int, names: tuple[bytes, ...] = ()) -> bool:
    """Whether a chunk that fits into the file begins there, of one of these names or any printable one."""
    head = content.at(place, 8)
    if len(head) < 8:
        return False
    name, size = head[:4], min(int.from_bytes(head[4:], "little"), int.from_bytes(head[4:], "big"))
    known = name in names if names else all(32 <= byte < 127 for byte in name)
    return known and place + 8 + size <= content.size + 1


def _chunks(content: Content, place: int, form: str) -> dict[bytes, tuple[int, int]]:
    """(where it begins, size) of every chunk up to the samples, by name; ``form`` reads name and size."""
    found: dict[bytes, tuple[int, int]] = {}
    head = struct.Struct(form)
    for _ in range(_MAX_CHUNKS):
        raw = content.at(place, head.size)
        if len(raw) < head.size:
            break
        name, size = head.unpack(raw)
        found.setdefault(name, (place + head.size, size))
        if name in (b"data", b"SSND") or size < 0:
            break
        place += head.size + size + size % 2
    return found


def _wav(content: Content, start: int) -> _Header | None:
    order = ">" if content.at(start, 4) == b"RIFX" else "<"
    if content.at(start + 8, 4) != b"WAVE":
        return None
    chunks = _chunks(content, start + 12, f"{order}4sI")
    if b"fmt " not in chunks or b"data" not in chunks:
        return None
    raw = content.at(chunks[b"fmt "][0], 26)
    if len(raw) < 16:
        return None
    tag, channels, rate, _, align, bits = struct.unpack_from(f"{order}HHIIHH", raw)
    if tag == 0xFFFE and len(raw) == 26:
        tag = int.from_bytes(raw[24:26], "little" if order == "<" else "big")
    plain = bits in _PLAIN_TAGS.get(tag, ()) and align == channels * bits // 8
    data, declared = chunks[b"data"]
    fields = ((start + 4, f"{order}I", data - start - 8), (data - 4, f"{order}I", 0))
    if b"ds64" in chunks and content.at(start, 4) in (b"RF64", b"BW64"):
        sizes = content.at(chunks[b"ds64"][0], 16)
        declared = int.from_bytes(sizes[8:16], "little")
        fields = ((chunks[b"ds64"][0], "<Q", data - start - 8), (chunks[b"ds64"][0] + 8, "<Q", 0))
        unknown = declared >= 2**63
    else:
        unknown = declared >= _STREAMED and declared > content.size - data
    return _Header(rate, channels, align if plain else 0, data, None if unknown else declared, fields)


def _w64(content: Content, start: int) -> _Header | None:
    if content.at(start, 16) != _W64_RIFF:
        return None
    place, found = start + 40, dict[bytes, tuple[int, int]]()
    for _ in range(_MAX_CHUNKS):
        raw = content.at(place, 24)
        if len(raw) < 24 or (size := int.from_bytes(raw[16:], "little")) < 24:
            return None
        found.setdefault(raw[:4], (place + 24, size - 24))
        if raw[:4] == b"data":
            break
        place += size + -size % 8
    raw = content.at(found.get(b"fmt ", (0, 0))[0], 16)
    if b"fmt " not in found or b"data" not in found or len(raw) < 16:
        return None
    tag, channels, rate, _, align, bits = struct.unpack("<HHIIHH", raw)
    plain = bits in _PLAIN_TAGS.get(tag, ()) and align == channels * bits // 8
    return _Header(rate, channels, align if plain else 0, found[b"data"][0], found[b"data"][1], ())


def _au(content: Content, start: int) -> _Header | None:
    raw = content.at(start, 24)
    if len(raw) < 24:
        return None
    data, declared, encoding, rate, channels = struct.unpack(">IIIII", raw[4:])
    unknown = declared >= _STREAMED and declared > content.size - start - data
    align = channels * _AU_BYTES.get(encoding, 0)
    return _Header(rate, channels, align, start + data, None if unknown else declared, ((start + 8, ">I", 0),))


def _aiff(content: Content, start: int) -> _Header | None:
    if content.at(start + 8, 4) not in (b"AIFF", b"AIFC"):
        return None
    chunks = _chunks(content, start + 12, ">4sI")
    raw = content.at(chunks.get(b"COMM", (0, 0))[0], 22)
    if b"COMM" not in chunks or b"SSND" not in chunks or len(raw) < 18:
        return None
    channels, _, bits = struct.unpack_from(">HIH", raw)
    exponent, mantissa = struct.unpack_from(">HQ", raw, 8)  # an 80-bit float
    rate = mantissa >> min(63, max(0, 16383 + 63 - (exponent & 0x7FFF)))
    plain = content.at(start + 8, 4) == b"AIFF" or raw[18:22] in (b"NONE", b"sowt", b"twos")
    place, size = chunks[b"SSND"]
    if not size:
        return None  # libsndfile reads on to the end
    return _Header(rate, channels, channels * -(-bits // 8) if plain else 0, place + 8, size - 8, ())


def _caf(content: Content, start: int) -> _Header | None:
    chunks = _chunks(content, start + 8, ">4sq")
    raw = content.at(chunks.get(b"desc", (0, 0))[0], 32)
    if b"desc" not in chunks or b"data" not in chunks or len(raw) < 32:
        return None
    rate, form, _, packet_bytes, packet_frames, channels, _ = struct.unpack(">d4sIIIII", raw)
    place, size = chunks[b"data"]
    plain = form == b"lpcm" and packet_frames == 1
    declared = None if size < 0 else max(0, size - 4)  # the samples follow a number of edits
    if not 0 < rate < 2**31:
        return None
    return _Header(int(rate), channels, packet_bytes if plain else 0, place + 4, declared, ((place - 8, ">q", 4),))


_READERS: dict[bytes, Callable[[Content, int], _Header | None]] = {
    b"RIFF": _wav, b"RIFX": _wav, b"RF64": _wav, b"BW64": _wav, b".snd": _au, b"FORM": _aiff, b"caff": _caf,
    _W64_RIFF[:16]: _w64,
}  # fmt: skip
