"""What a consumer is: a program, the form of the export that it loads, its own loading call, and what it gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from whisper_aut.parity.compare import Distance, largest
from whisper_aut.parity.reference import Reference


class LeftOut(Exception):
    """This consumer cannot take this export, for a reason that is no fault of the export."""


@dataclass(frozen=True)
class Found:
    """What a consumer gave: how far its states are from the reference's, and what else was compared.

    Attributes:
        computed_in: the arithmetic of its states.
    """

    distance: Distance
    note: str = ""
    computed_in: str = "float32"


@dataclass(frozen=True)
class Consumer:
    """One row of the table.

    Attributes:
        name: the program and the class or function of it.
        form: the form of an export that it loads.
        packages: what must be installed, as distributions are named; the first gives the version that is shown.
        call: its documented loading call; DIR is the export.
        check: loads and compares. Raises ``Mismatch`` for a wrong key or value, ``LeftOut`` where the export lacks what
            it needs; whatever else the program raises counts as a failure with its words.
    """

    name: str
    form: str
    packages: tuple[str, ...]
    call: str
    check: Callable[[Path, Reference], Found]


def over_clips(reference: Reference, states_of: Callable[[int], Distance]) -> Distance:
    """The largest distance over the reference's clips, each by its number."""
    return largest([states_of(clip) for clip in range(len(reference.clips))])
