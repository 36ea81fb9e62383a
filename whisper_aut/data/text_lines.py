"""Read the lines of a text file: numbered and whole, whatever its encoding and line ends, of which none is guessed."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

MAX_LINE_CHARS = 1 << 24  # a longer line is no row but a damaged file
_HEAD_BYTES = 1 << 16
# A mark at the begin of a file is certain; UTF-32's begins as UTF-16's does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class TextFileError(ValueError):
    """A file that cannot be read as text.

    Attributes:
        line: where, from 1; the lines before it were read.
    """

    line = 1


def encoding_of(head: bytes, default: str = "utf-8") -> str:
    """Return the name of the encoding that a byte-order mark at the begin of ``head`` tells, else ``default``.

    Raises:
        TextFileError: every second byte is NUL: UTF-16 without a mark.
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    even, odd = head[::2].count(0), head[1::2].count(0)
    if default == "utf-8" and max(even, odd) > len(head) / 3 and min(even, odd) < len(head) / 10:
        raise TextFileError("it looks like UTF-16 without a byte-order mark; convert it: iconv -f utf-16le -t utf-8")
    return default


@contextmanager
def open_text(path: Path, encoding: str = "utf-8") -> Iterator[io.TextIOWrapper]:
    """Open a text file, gzip by its name; lines end as the first one does, by ``\\n`` (or ``\\r\\n``) or ``\\r``.

    No other character ends a line: not U+2028, not a form feed. Bytes that are not of the encoding come as lone
    surrogates where the codec can, so that one of them spoils one row only.

    Args:
        path: of the file.
        encoding: where the file has no byte-order mark.

    Raises:
        TextFileError: see :func:`encoding_of`; or the compression or the encoding is damaged.
        OSError: it cannot be opened.
    """
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb", buffering=_HEAD_BYTES) as raw:
        try:
            head = raw.peek(_HEAD_BYTES)  # type: ignore[union-attr]
            found = encoding_of(head, encoding)
            with io.TextIOWrapper(raw, found, errors="surrogateescape", newline=line_end_of(head, found)) as text:
                yield text
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise TextFileError(f"the compression is damaged: {error}") from None
        except UnicodeError as error:
            raise TextFileError(f"it is not {found}: {error}") from None


def numbered_lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line with its end) of a file; see :func:`open_text`.

    Raises:
        TextFileError: the file cannot be read as text, or a line has more than ``MAX_LINE_CHARS`` characters.
        OSError: it cannot be read.
    """
    number = 0
    try:
        with open_text(path, encoding) as text:
            for line in iter(partial(text.readline, MAX_LINE_CHARS), ""):
                if len(line) == MAX_LINE_CHARS:
                    raise TextFileError(f"the line has {MAX_LINE_CHARS:,} characters or more")
                number += 1
                yield number, line if number > 1 else line.lstrip("\ufeff")  # some tools write a second mark
    except TextFileError as error:
        error.line = number + 1
        raise


def is_text(line: str) -> bool:
    """Whether a line is of the encoding: it holds no lone surrogate."""
    if line.isascii():
        return True
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


def line_end_of(head: bytes, encoding: str) -> str:
    """``\\r`` where the first line ends so, as on old Macs; else ``\\n``."""
    text = head.decode(encoding, "replace")
    feed, back = text.find("\n"), text.find("\r")
    return "\r" if back >= 0 and (feed < 0 or feed > back + 1) and back + 1 < len(text) else "\n"
