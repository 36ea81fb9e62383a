"""Read separated values strictly: every line is a row with the cells that the file has, or is named with what is wrong.

A quotation mark that closes nowhere costs its own line and no other: the lines that were read in search of its end are
read again by themselves. Nothing is trimmed, joined or left out.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from whisper_aut.data.text_lines import is_text

MAX_RECORD_CHARS = 1 << 20  # that quotation marks may span
csv.field_size_limit(
    max(csv.field_size_limit(), 1 << 24)
)  # a long cell is one nevertheless; lines have their own limit

_MIXED = "a line break stands inside the line, outside quotation marks: its line ends are mixed"
_OPEN = "a quotation mark opens here that closes nowhere, or in the middle of a cell of another line"


@dataclass(frozen=True)
class Dialect:
    """How cells are told apart.

    Attributes:
        delimiter: between cells, one character.
        quote: around cells that hold delimiters, line breaks or, doubled, itself; empty where none does.
        skip_spaces: spaces behind a delimiter are no part of the cell.
        comment: lines that begin so are left out.
    """

    delimiter: str = ","
    quote: str = '"'
    skip_spaces: bool = False
    comment: str = ""


def records(lines: Iterable[tuple[int, str]], dialect: Dialect) -> Iterator[tuple[int, list[str] | str]]:
    """Yield (number of its first line, cells, or what is wrong with that line) of every record; empty lines are none.

    Args:
        lines: numbered, with their ends.
        dialect: of the file.
    """
    source = _Lines(lines)
    while (numbered := source.take()) is not None:
        number, line = numbered
        bare = line.removesuffix("\n").rstrip("\r")
        if not bare or (dialect.comment and line.startswith(dialect.comment)):
            continue
        if dialect.quote and dialect.quote in bare:
            found = _quoted(line, source, dialect)
        else:
            found = _unquoted(bare, dialect)
        yield number, found if isinstance(found, str) else _checked(found)


class _Lines:
    """Numbered lines, of which some may be given back."""

    def __init__(self, lines: Iterable[tuple[int, str]]) -> None:
        self._lines, self._waiting = iter(lines), deque[tuple[int, str]]()

    def take(self) -> tuple[int, str] | None:
        """Return the next line; None at the end."""
        return self._waiting.popleft() if self._waiting else next(self._lines, None)

    def give_back(self, lines: Sequence[tuple[int, str]]) -> None:
        """Put lines that were taken last before all others."""
        self._waiting.extendleft(reversed(lines))


def _unquoted(bare: str, dialect: Dialect) -> list[str] | str:
    if "\r" in bare or "\n" in bare:
        return _MIXED
    cells = bare.split(dialect.delimiter)
    return [cell.lstrip(" ") for cell in cells] if dialect.skip_spaces else cells


def _quoted(line: str, source: _Lines, dialect: Dialect) -> list[str] | str:
    """Return the cells of the record that begins with ``line``; it goes on while a quotation mark is open."""
    ahead: list[tuple[int, str]] = []

    def text() -> Iterator[str]:
        yield line
        size = len(line)
        while size < MAX_RECORD_CHARS and (more := source.take()) is not None:
            ahead.append(more)
            size += len(more[1])
            yield more[1]

    try:
        cells = _parsed(text(), dialect, skip_spaces=dialect.skip_spaces)
    except csv.Error as error:
        source.give_back(ahead)
        if "new-line character" in str(error):
            return _MIXED
        is_open = ahead or "unexpected end" in str(error)
        return _OPEN if is_open else f"text stands behind a closing quotation mark: {error}"
    for number, more in ahead:
        inside = more.split(dialect.delimiter)
        shape = _shape(cells[0])
        if len(inside) >= len(cells) > 1 and len(shape) > 1 and _shape(inside[0]) == shape:
            source.give_back(ahead)
            return f"a quotation mark opens here, and line {number}, which it would take in, looks like a row"
    if not ahead and not dialect.skip_spaces and f"{dialect.delimiter} " in line:
        trimmed = _parsed(iter([line]), dialect, skip_spaces=True, strict=False)
        if [cell.lstrip(" ") for cell in cells] != [cell.lstrip(" ") for cell in trimmed]:
            return "a quotation mark stands behind a space, where it quotes nothing (skip_spaces: true lets it)"
    return cells


def _shape(cell: str) -> str:
    """Return what names of one kind have in common: ``a0-a.a`` for ``clip07-b.wav``; any word is ``a``."""
    return re.sub(r"\d+", "0", re.sub(r"[^\W\d_]+", "a", cell))


def _parsed(lines: Iterator[str], dialect: Dialect, *, skip_spaces: bool, strict: bool = True) -> list[str]:
    return next(
        csv.reader(
            lines,
            delimiter=dialect.delimiter,
            quotechar=dialect.quote,
            skipinitialspace=skip_spaces,
            strict=strict,
        )
    )


def _checked(cells: list[str]) -> list[str] | str:
    text = "".join(cells)
    if not is_text(text):
        return "the line is not UTF-8"
    return "the line holds a NUL character" if "\0" in text else cells
