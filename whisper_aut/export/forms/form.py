"""What a form is: where its files go, what it can hold, how it is written and checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from whisper_aut.export.content import DTYPE_NAMES, Content, DtypeName


@dataclass(frozen=True)
class Form:
    """One way in which consumers want the weights.

    Attributes:
        name: of the form, as ``--to`` takes it.
        folder: inside the export; empty for the export's own folder.
        loads_with: the consumer's call, ``DIR`` standing for the export.
        write: writes into the folder, which exists.
        check: reads back what was written and compares every tensor; raises CheckpointError.
        dtype_names: precisions that its consumer reads.
        needs_decoder: whether its consumer loads nothing without a decoder.
        holds_decoder: whether there is a place for one.
        packages: modules without which it cannot be written.
    """

    name: str
    folder: str
    loads_with: str
    write: Callable[[Path, Content], None]
    check: Callable[[Path, Content], None]
    dtype_names: tuple[DtypeName, ...] = DTYPE_NAMES
    needs_decoder: bool = False
    holds_decoder: bool = True
    packages: tuple[str, ...] = ()
