"""Tables on the screen."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence

from rich.console import Console
from rich.table import Table


def plain_table(columns: Sequence[str], *, right: Collection[str], unbroken: Collection[str] = ()) -> Table:
    """A table without lines; ``right`` and ``unbroken`` name the columns that stand right or are never folded."""
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name in right else "left", no_wrap=name in unbroken)
    return table


def show(table: Table) -> None:
    """Print it; in a pipe, where there is no edge to wrap at, in long lines."""
    Console(width=None if sys.stdout.isatty() else 240).print(table, markup=False)
