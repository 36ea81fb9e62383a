"""Texts with {column} in them: which columns a pattern names, and its text for a row."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

_FIELD = re.compile(r"\{([^{}]+)\}")


class MissingColumnError(Exception):
    """A row has no such column; its name is the only argument."""


class NotTextError(ValueError):
    """A value that is no text and has no one writing as such: a list, an object, bytes that are not UTF-8."""


@lru_cache(maxsize=1024)
def fields_of(pattern: str) -> tuple[str, ...]:
    """Names in curly brackets, in order."""
    return tuple(_FIELD.findall(pattern))


@lru_cache(maxsize=1024)
def _pieces(pattern: str) -> tuple[str, ...]:
    """Text and names by turns: ``('clips/', 'path', '.wav')``."""
    return tuple(_FIELD.split(pattern))


def fill_by(pattern: str, say: Callable[[str], str]) -> str:
    """``pattern`` with what ``say`` says of each name; what that gives is not looked through again."""
    return _FIELD.sub(lambda found: say(found[1]), pattern)


def fill(pattern: str, columns: Mapping[str, Any]) -> str:
    """``pattern`` with the row's values; what is null in the row is empty.

    Raises:
        MissingColumnError: the row lacks a column.
        NotTextError: a value is no text.
    """
    pieces = _pieces(pattern)
    if len(pieces) == 1:
        return pattern
    return "".join(as_text(value_of(piece, columns)) if odd % 2 else piece for odd, piece in enumerate(pieces))


def value_of(name: str, columns: Mapping[str, Any]) -> Any:
    """A column of the row.

    Raises:
        MissingColumnError: it has none.
    """
    try:
        return columns[name]
    except KeyError:
        raise MissingColumnError(name) from None


def as_text(value: Any) -> str:
    """A value as it stands in a path or an id: 30 for 30.0, nothing for null and NaN.

    Raises:
        NotTextError: it is a list, an object, or bytes that are not UTF-8.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float):
        if math.isnan(value):  # as pandas writes what is missing
            return ""
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise NotTextError("a value is bytes that are not UTF-8, not text") from None
    if isinstance(value, list | tuple | dict | set):
        raise NotTextError(f"a value is a {type(value).__name__}, not text: {value!r:.80}")
    return str(value)
