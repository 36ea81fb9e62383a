"""What is wrong with a source's YAML, in a person's words: file, line, key, and the known key that is nearest."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, text: str, path: Path, root: type[BaseModel]) -> str:
    """One line for each mistake; ``text`` is what stands in ``path``."""
    lines = []
    for item in error.errors():
        location = [part for part in item["loc"] if part != "[key]"]
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = _known_keys(root, location[:-1])
            near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
            message = f"unknown key; did you mean '{near[0]}'?" if near else f"unknown key; known: {', '.join(known)}"
        elif item["type"] == "union_tag_invalid":
            location = [*location, "kind"]
            known = sorted({tag for model in _models_below(root) if (tag := _tag(model)) is not None})
            given = str(item["ctx"]["tag"])
            near = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
            message = f"'{given}' is none of {', '.join(known)}" + (f"; did you mean '{near[0]}'?" if near else "")
        elif item["type"] == "missing":
            message = "is missing"
        elif not isinstance(item["input"], dict | list | BaseModel):
            message = f"{message} (found {item['input']!r:.80})"
        line, written = _line_of(text, location)
        lines.append(f"  {path}:{line}: {'.'.join(written) or 'source'}: {message}")
    return "\n".join(lines)


def _known_keys(root: type[BaseModel], location: Sequence[Any]) -> list[str]:
    """Keys of the section at ``location``, in which names of variants (``list``, ``hub``) may stand."""
    models = [root]
    for part in location:
        below = [model for owner in models if part in owner.model_fields
                 for model in _models_in(owner.model_fields[part].annotation)]  # fmt: skip
        tagged = [model for model in models if _tag(model) == part]
        models = below or tagged or models
    return sorted({name for model in models for name in model.model_fields})


def _models_below(root: type[BaseModel]) -> list[type[BaseModel]]:
    return [model for field in root.model_fields.values() for model in _models_in(field.annotation)]


def _tag(model: type[BaseModel]) -> str | None:
    kind = model.model_fields.get("kind")
    return get_args(kind.annotation)[0] if kind is not None else None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _line_of(text: str, location: Sequence[Any]) -> tuple[int, list[str]]:
    """(1-based line, keys) of the deepest part of ``location``; parts that the file does not write are passed over."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line, written = 1, []
    for number, part in enumerate(location):
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is not None:
                line, node = pair[0].start_mark.line + 1, pair[1]
                written.append(str(part))
            elif number == len(location) - 1:  # the missing key itself; a variant's name stands in between only
                written.append(str(part))
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
            written.append(str(part))
    return line, written
