"""What readers give: rows with where each stood, in batches that are the same whoever works on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

BATCH_ROWS = 4096  # rows of one unit of work: a fraction of a second, and what a kill can cost


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a list; ``where`` is ``file:line``, or ``file:row`` where a file has no lines."""

    columns: Mapping[str, Any]
    where: str


@dataclass(frozen=True, slots=True)
class Reject:
    """A row, or a clip of one, that is left out; ``id`` may be empty."""

    where: str
    id: str
    reason: str


class Batch(Protocol):
    """A unit of work that can be sent to another process; ``key`` is unique in its source and sorts in order."""

    @property
    def key(self) -> str:
        """Of files and of order."""

    @property
    def split(self) -> str:
        """Of the manifest: train or validation."""

    def rows(self) -> Iterator[Row | Reject]:
        """All of it, in order."""


@dataclass(frozen=True)
class ListedBatch:
    """Rows that were read already: lists are parsed once, in one process."""

    key: str
    split: str
    listed: list[Row | Reject]

    def rows(self) -> Iterator[Row | Reject]:
        """See :class:`Batch`."""
        return iter(self.listed)


def in_batches(rows: Iterable[Row | Reject], split: str, limit: int | None) -> Iterator[ListedBatch]:
    """The first ``limit`` rows of a split in batches of ``BATCH_ROWS``."""
    number, listed = 0, list[Row | Reject]()
    for count, row in enumerate(rows):
        if count == limit:
            break
        listed.append(row)
        if len(listed) == BATCH_ROWS:
            yield ListedBatch(batch_key(split, number), split, listed)
            number, listed = number + 1, []
    if listed:
        yield ListedBatch(batch_key(split, number), split, listed)


def batch_key(split: str, number: int) -> str:
    """``train-000012``."""
    return f"{split}-{number:06d}"
