"""Read JSON lines strictly: one object a line, no name twice, every line that is not one named. Used by all readers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from whisper_aut.data.text_lines import is_text, numbered_lines
from whisper_aut.errors import first_line

_BLANK = " \t\r\n"
_LINES_AT_ONCE = 1024


class DoubledName(ValueError):
    """A JSON object has a name twice; the name is the only argument."""

    def __str__(self) -> str:
        return f"'{self.args[0]}' stands twice in the row"


def load_json(text: str | bytes) -> Any:
    """Parse JSON in which no object has a name twice: JSON keeps the last of them without a word.

    Raises:
        DoubledName: one has.
        ValueError: it is not JSON; the message is one line.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except DoubledName:
        raise
    except (ValueError, RecursionError) as error:  # ValueError alone: a number of thousands of digits
        raise ValueError(f"not JSON: {first_line(error)}") from None


def parse_object(line: str) -> dict[str, Any]:
    """Parse one line that is a JSON object.

    Raises:
        ValueError: it is not one; the message says why.
    """
    if not is_text(line):
        raise ValueError("not UTF-8; save the file as UTF-8, e.g. iconv -f latin1 -t utf-8")
    found = load_json(line.lstrip("\ufeff"))  # of a file that was joined to another
    if not isinstance(found, dict):
        raise ValueError(f"not a JSON object but {type(found).__name__}")
    return found


def json_texts(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line) of every line that is not blank.

    Raises:
        TextFileError: the file cannot be read as text.
        OSError: it cannot be read.
    """
    return ((number, line) for number, line in numbered_lines(path, encoding) if line.strip(_BLANK))


def json_objects(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield (line number from 1, object, or what is wrong with the line) of a file of JSON lines, but for blank ones.

    Raises:
        TextFileError: the file cannot be read as text.
        OSError: it cannot be read.
    """
    numbered = json_texts(path, encoding)
    while some := list(islice(numbered, _LINES_AT_ONCE)):
        if (rows := _flat_objects([line for _, line in some])) is not None:
            yield from zip((number for number, _ in some), rows, strict=True)
            continue
        for number, line in some:
            try:
                yield number, parse_object(line)
            except ValueError as error:
                yield number, str(error)


def _flat_objects(lines: Sequence[str]) -> list[dict[str, Any]] | None:
    """The objects of many lines, parsed at once; None unless each line is sure to be one object with distinct names.

    It is where every line begins with the only brace that it has, and all that comes out is objects. As many names as
    ``":`` in the text, in strings or not, with nothing between these two: then none was dropped.
    """
    text = ",".join(lines)
    if text.count("{") != len(lines) or '" ' in text or '"\t' in text or '"\r' in text or not is_text(text):
        return None
    try:
        rows = json.loads(f"[{text}]")
    except (ValueError, RecursionError):
        return None
    is_each = len(rows) == len(lines) and all(type(row) is dict for row in rows)
    if not is_each or not all(line.startswith("{") for line in lines):
        return None
    return rows if text.count('":') == sum(map(len, rows)) and '"\n' not in text else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise DoubledName(next(name for name in names if names.count(name) > 1))
    return found
