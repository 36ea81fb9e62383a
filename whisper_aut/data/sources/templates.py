"""Captions from labels and attributes: varied wording, chosen by the clip's id, so that each build says the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from whisper_aut.data.sources.pattern import as_text, fields_of, fill_by, value_of
from whisper_aut.data.sources.spec import CaptionField, Captions

T = TypeVar("T")
_NOTES = ("C", "C sharp", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")


class NoCaptionError(Exception):
    """A row has no value that a template could name, or one that is unknown; the reason is the only argument."""


def caption(
    captions: Captions, columns: Mapping[str, Any], clip_id: str, names: Mapping[str, Mapping[str, str]]
) -> str:
    """One sentence of a row.

    Args:
        captions: templates and fields of the source.
        columns: of the row.
        clip_id: chooses the template and the wordings.
        names: by field, the names of labels that are written as ids.

    Raises:
        NoCaptionError: no template has all that it names, or a label is unknown.
        MissingColumnError: the row lacks a column.
    """
    said = {
        name: _wording(field, columns, f"{clip_id}\0{name}", names.get(name)) for name, field in captions.fields.items()
    }
    usable = [
        template
        for template in captions.templates
        if all(said[name.removeprefix("a ")] for name in fields_of(template))
    ]
    if not usable:
        raise NoCaptionError(f"nothing to say: no value of {', '.join(captions.fields)}")
    chosen = fill_by(
        choose(usable, f"{clip_id}\0template"),
        lambda name: with_article(said[name.removeprefix("a ")]) if name.startswith("a ") else said[name],
    )
    return chosen[:1].upper() + chosen[1:]


def choose(options: Sequence[T], key: str) -> T:
    """One of ``options``: a pure function of ``key``, whatever the process and the version of a library."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return options[int.from_bytes(digest, "big") % len(options)]


def with_article(phrase: str) -> str:
    """``a`` or ``an`` before it, by its first letter."""
    return f"{'an' if phrase[:1].lower() in 'aeiou' else 'a'} {phrase}"


def enumerate_words(words: Sequence[str]) -> str:
    """``rain``, ``rain and wind``, ``rain, wind and thunder``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _wording(field: CaptionField, columns: Mapping[str, Any], key: str, names: Mapping[str, str] | None) -> str:
    """What the clip has in this field, in words; empty where it has nothing."""
    words: list[str] = []
    for value in _values(field, columns):
        if value in field.skip:
            continue
        if names is not None:
            if value not in names:
                raise NoCaptionError(f"the label '{value}' is in no table of names")
            value = names[value]
        word = _word(field, value, f"{key}\0{value}")
        if word and word not in words:
            words.append(word)
        if len(words) == field.max:
            break
    return enumerate_words(words) if words else ""


def _values(field: CaptionField, columns: Mapping[str, Any]) -> list[str]:
    value = value_of(field.column, columns)
    if isinstance(value, list | tuple):
        parts = [as_text(part) for part in value]
    else:
        text = as_text(value)
        parts = text.split(field.split) if field.split else [text]
    return [stripped for part in parts if (stripped := part.strip().strip('"').strip())]


def _word(field: CaptionField, value: str, key: str) -> str:
    if value in field.skip:
        return ""
    if value in field.words:
        wordings = field.words[value]
        return choose(wordings, key) if wordings else ""
    if field.note:
        if not value.isdecimal() or int(value) > 127:
            raise NoCaptionError(f"'{value}' is no MIDI pitch")
        return f"{_NOTES[int(value) % 12]} {int(value) // 12 - 1}"
    if field.alternatives:
        value = choose([part.strip() for part in value.split(field.alternatives) if part.strip()] or [value], key)
    value = value.replace("_", " ")
    return value.lower() if field.lower else value
