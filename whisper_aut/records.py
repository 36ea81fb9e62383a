"""Result files: JSON that carries its ``schema_version``, read back by the version that wrote it or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from whisper_aut.errors import ProbeError

T = TypeVar("T")


def read_versioned(
    path: Path, parse: Callable[[Any], T], version: int, *, what: str, again: str, remedy: str | None = None
) -> T:
    """A file of one ``schema_version``, parsed.

    Args:
        path: of the JSON.
        parse: of the content; raises ValueError (as pydantic does) where it is not what it should be.
        version: the only one that is read.
        what: the file holds, for messages: "the report has".
        again: the command that writes such files.
        remedy: for a file that cannot be read.

    Raises:
        ProbeError: missing, damaged, or written by another version.
    """
    subject = what.rsplit(" ", 1)[0]
    try:
        raw = json.loads(path.read_text("utf-8"))
        found = raw.get("schema_version") if isinstance(raw, dict) else None
        if found != version:
            raise ProbeError(
                f"{what} schema version {found}, this whisper-aut reads {version}",
                where=str(path),
                remedy=f"run `{again}` again with this version",
            )
        return parse(raw)
    except OSError as error:
        raise ProbeError(f"{subject} cannot be read: {error.strerror}", where=str(path), remedy=remedy) from None
    except (ValueError, RecursionError) as error:
        raise ProbeError(f"{subject} cannot be read: {error}", where=str(path), remedy=remedy) from None
