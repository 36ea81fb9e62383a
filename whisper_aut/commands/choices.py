"""An option that takes one of a few names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from whisper_aut.errors import ProbeError

Name = TypeVar("Name", bound=str)


def one_of(what: str, value: str, known: Sequence[Name]) -> Name:
    """``value``, if it is one of the known names."""
    found = next((name for name in known if name == value), None)
    if found is None:
        raise ProbeError(f"there is no {what} '{value}'", remedy=f"choose from {', '.join(known)}")
    return found
