"""Tar archives block by block: headers that are always the same bytes, and members of others' found without trust.

Nothing is ever extracted. Python's ``tarfile`` reads long-name records into memory whatever length they claim, and its
older releases follow negative sizes back in a circle; both matter for archives that strangers made.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512  # bytes; everything in a tar archive begins at a multiple of it
END = bytes(2 * BLOCK)  # of an archive
_MAX_RECORD_BYTES = 2**16  # of a long name or of PAX attributes
_REGULAR = (b"0", b"\0", b"7")
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_KINDS = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"5": "a folder",
    b"6": "a named pipe",
}  # fmt: skip
_WITHOUT_DATA = tuple(_KINDS)


class TarError(ValueError):
    """Bytes that are no tar archive, or an end too early; the text says which and where."""


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive: its data are ``size`` bytes from ``offset`` on."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A member that is not looked into, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Header:
    """What one header block says; ``kind`` is tar's type flag."""

    name: bytes
    size: int
    kind: bytes


def packed(name: str, data: bytes) -> bytes:
    """``data`` as a member: header, data, padding. The same bytes for the same arguments: no time, no owner."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)


def parse_header(block: bytes) -> Header | None:
    """The header in ``block``; None for a block of zeros, which ends an archive.

    Raises:
        TarError: it is no header.
    """
    if len(block) < BLOCK:
        raise TarError("it ends within a header")
    if not any(block):
        return None
    told = _number(block[148:156])
    unsigned = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    # Some old writers counted bytes as signed numbers.
    if told != unsigned and told != unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:]):
        raise TarError("there is no header of a tar member (its sum is wrong)")
    name, prefix = block[:100].split(b"\0", 1)[0], b""
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].split(b"\0", 1)[0]
    return Header(prefix + b"/" + name if prefix else name, _number(block[124:136]), block[156:157])


def members(file: BinaryIO) -> Iterator[Member | Skipped]:
    """All members of an archive in their order, USTAR, PAX or GNU; what is no regular file of a safe name is skipped.

    Args:
        file: seekable; only headers are read.

    Raises:
        TarError: after the members before it, where the archive is damaged or cut off.
    """
    end, place = file.seek(0, io.SEEK_END), 0
    if end == 0:
        raise TarError("it is empty")
    given: dict[bytes, bytes] = {}  # by the records before a member: its name, its size
    while True:
        file.seek(place)
        try:
            header = parse_header(file.read(BLOCK)) if place < end else None
        except TarError as error:
            raise TarError(f"at byte {place}: {error}{_compressed(file, place)}") from None
        if header is None:
            if place >= end:
                raise TarError(f"it ends at byte {end} without the empty block that ends an archive: cut off?")
            return
        data = place + BLOCK
        if header.kind in (_PAX, _LONG_NAME, _LONG_LINK, _PAX_GLOBAL):
            record = _record(file, header, data, end)
            if header.kind == _LONG_NAME:
                given[b"path"] = record.rstrip(b"\0")
            elif header.kind == _PAX:
                given |= _attributes(record, data)
            place = data + _whole_blocks(header.size)
            continue
        name, size = given.get(b"path", header.name), _given_size(given, header.size, data)
        if header.kind == b"S":
            raise TarError(f"at byte {place}: a sparse file in GNU's old form; pack anew with tar --format=posix")
        stored = 0 if header.kind in _WITHOUT_DATA else size  # whatever their headers say
        if data + stored > end:
            raise TarError(
                f"member {_shown(name)} at byte {place} claims {stored} bytes, the archive ends after "
                f"{max(0, end - data)}: cut off or forged"
            )
        if any(key.startswith(b"GNU.sparse") for key in given):
            yield Skipped(_shown(name), "a sparse file")
        else:
            yield _judged(name, header.kind, data, size)
        place, given = data + _whole_blocks(stored), {}


def _judged(name: bytes, kind: bytes, offset: int, size: int) -> Member | Skipped:
    if kind not in _REGULAR:
        return Skipped(_shown(name), _KINDS.get(kind, f"a member of unknown kind {kind!r}"))
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return Skipped(_shown(name), "its name is not UTF-8")
    text = text.removeprefix("./")
    if not text or text.endswith("/"):
        return Skipped(text, "a folder")
    if text.startswith("/") or ".." in text.split("/") or "\0" in text:
        return Skipped(text, "its name leads out of the archive")
    return Member(text, offset, size)


def _record(file: BinaryIO, header: Header, data: int, end: int) -> bytes:
    if header.size > _MAX_RECORD_BYTES:
        raise TarError(f"at byte {data}: a name or attributes of {header.size} bytes; at most {_MAX_RECORD_BYTES}")
    if data + header.size > end:
        raise TarError(f"at byte {data}: it ends within a long name")
    return file.read(header.size)


def _attributes(record: bytes, place: int) -> dict[bytes, bytes]:
    """PAX attributes: lines ``LENGTH KEY=VALUE``, whose length counts all of the line."""
    found: dict[bytes, bytes] = {}
    while record.strip(b"\0"):
        digits, _, _ = record.partition(b" ")
        if not digits.isdigit() or not len(digits) + 2 < int(digits[:9]) <= len(record):
            raise TarError(f"at byte {place}: damaged PAX attributes")
        line, record = record[len(digits) + 1 : int(digits)], record[int(digits) :]
        key, _, value = line.removesuffix(b"\n").partition(b"=")
        found[key] = value
    return found


def _given_size(given: dict[bytes, bytes], otherwise: int, place: int) -> int:
    digits = given.get(b"size")
    if digits is None:
        return otherwise
    if not digits.isdigit() or len(digits) > 18:
        raise TarError(f"at byte {place}: a size of {digits[:40]!r}")
    return int(digits)


def _number(field: bytes) -> int:
    """Octal digits, or GNU's binary form for what they cannot hold."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    if digits.strip(b"01234567"):  # int() would take signs and underscores, too
        raise TarError("there is no header of a tar member (a number is damaged)")
    return int(digits or b"0", 8)


def _whole_blocks(size: int) -> int:
    return size + -size % BLOCK


def _shown(name: bytes) -> str:
    return name[:200].decode(errors="backslashreplace")


def _compressed(file: BinaryIO, place: int) -> str:
    if place:
        return ""
    file.seek(0)
    magic = file.read(4)
    known = {b"\x1f\x8b": "gzip", b"(\xb5": "Zstandard", b"BZ": "bzip2", b"\xfd7": "xz"}.get(magic[:2])
    return f"; it is compressed with {known}, and one clip cannot be read alone: decompress it" if known else ""
