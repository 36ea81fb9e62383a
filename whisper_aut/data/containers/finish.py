"""Whether a file of one of FFmpeg's containers is whole: FFmpeg itself plays what is left of one without a word."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from whisper_aut.data.containers.content import Content
from whisper_aut.data.containers.ogg import ends_within_page
from whisper_aut.data.containers.tags import audio_end, audio_start

_MAX_BOXES = 1_000_000
_AMR_BYTES = (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1)  # of a frame, by its mode
_AMR_WB_BYTES = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1, 1, 1, 1, 1)


def cut_off(content: Content, kind: str) -> str:
    """Why the file's end must be missing, or nothing where it is there or cannot be told."""
    what = {"MPEG-4": _mpeg4, "WebM": _matroska, "Matroska": _matroska, "AAC": _aac, "AMR": _amr}.get(kind, _ogg)
    return what(content)


def is_fragmented(content: Content) -> bool:
    """Whether an MPEG-4 file comes in fragments, and the header in front does not know how many."""
    return any(name == b"moof" for name, _, _ in _boxes(content))


def _mpeg4(content: Content) -> str:
    names: list[bytes] = []
    for name, _, end in _boxes(content):
        names.append(name)
        if end > content.size:
            what = name.decode("latin-1")
            return f"the box '{what}' should end at byte {end}, the file ends at {content.size}: its end is missing"
    if names.count(b"moov") > 1:
        return f"{names.count(b'moov')} MPEG-4 files were joined: write them into one with FFmpeg"
    return "" if b"moov" in names else "its index (the box 'moov') is missing: the file was cut off or never finished"


def _boxes(content: Content) -> Iterator[tuple[bytes, int, int]]:
    """(name, where it begins, where it should end) of the outermost boxes."""
    place = 0
    for _ in range(_MAX_BOXES):
        head = content.at(place, 16)
        if len(head) < 8:
            return
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        end = place + size if size else content.size
        yield head[4:8], place, end
        if size < 8 and size:
            return
        place = end


def _matroska(content: Content) -> str:
    place, (_, length) = 4, _number(content, 4)
    header_bytes, _ = _number(content, 4)
    place += length + header_bytes
    if content.at(place, 4) != b"\x18\x53\x80\x67":  # Segment
        return ""
    size, length = _number(content, place + 4)
    end = place + 4 + length + size
    if size == (1 << 7 * length) - 1:  # unknown: it was written to a pipe
        return ""
    if end <= content.size:
        follows = content.at(end, 4) == b"\x1aE\xdf\xa3"
        return "another Matroska file follows: write them into one with FFmpeg" if follows else ""
    return f"the segment should end at byte {end}, the file ends at {content.size}: its end is missing"


def _number(content: Content, place: int) -> tuple[int, int]:
    """A number of EBML and how many bytes it takes."""
    first = content.at(place, 1)
    length = 9 - first[0].bit_length() if first and first[0] else 1
    raw = content.at(place, length)
    return int.from_bytes(raw, "big") & ((1 << 7 * length) - 1), length


def _aac(content: Content) -> str:
    def size(head: bytes) -> int:
        is_frame = head[0] == 0xFF and head[1] & 0xF6 == 0xF0
        return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5 if is_frame else 0

    return _ends_within_frame(content, audio_start(content), size)


def _amr(content: Content) -> str:
    wide = content.at(0, 9) == b"#!AMR-WB\n"
    table = _AMR_WB_BYTES if wide else _AMR_BYTES
    return _ends_within_frame(content, 9 if wide else 6, lambda head: table[head[0] >> 3 & 15])


def _ends_within_frame(content: Content, place: int, size_of: Callable[[bytes], int]) -> str:
    end = audio_end(content)
    while place < end:
        head = content.at(place, 8).ljust(8, b"\0")
        size = size_of(head)
        if not size:
            return ""  # something else follows; what FFmpeg makes of it is its matter
        place += size
    return "" if place == end else "the file ends within a frame: its end is missing"


def _ogg(content: Content) -> str:
    if content.at(0, 4) == b"OggS" and ends_within_page(content):
        return "the file ends within an Ogg page: its end is missing"
    return ""
