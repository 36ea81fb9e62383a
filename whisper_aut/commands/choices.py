"""What a command checks of its options before anything that takes seconds is imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from whisper_aut.errors import ProbeError

Name = TypeVar("Name", bound=str)


def one_of(what: str, value: str, known: Sequence[Name]) -> Name:
    """``value``, if it is one of the known names."""
    found = next((name for name in known if name == value), None)
    if found is None:
        raise ProbeError(f"there is no {what} '{value}'", remedy=f"choose from {', '.join(known)}")
    return found


def require_file(path: Path, what: str, remedy: str) -> None:
    """Check that a file that the command will read can be opened.

    Raises:
        ProbeError: it cannot.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise ProbeError(f"{what} cannot be read: {error.strerror}", where=str(path), remedy=remedy) from None
