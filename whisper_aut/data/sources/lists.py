"""Lists beside audio files, with columns joined from other tables: the rows of a split."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from whisper_aut.data.sources.folders import AGAIN, read_table
from whisper_aut.data.sources.paths import find_files
from whisper_aut.data.sources.pattern import NotTextError, as_text
from whisper_aut.data.sources.rows import Reject, Row
from whisper_aut.data.sources.spec import Files, Join, ListRead, Table
from whisper_aut.errors import SourceError


def list_rows(read: ListRead, split: list[Files], root: Path, needed: Collection[str]) -> Iterator[Row | Reject]:
    """Rows of one split with the ``needed`` columns: the list's own, those joined, ``set`` and ``folder``.

    Raises:
        SourceError: a list is missing, cannot be read, or lacks a column; file, line and column are named.
    """
    tables = [(join, _joined(join, root)) for join in read.join]
    given = {name for join in read.join for name in join.take} | {"folder"}
    own = (set(needed) - given) | {join.by for join in read.join}
    for files in split:
        wanted = sorted((own - files.set.keys()) | files.keep.keys())
        for path in [path for pattern in files.files for path in find_files(root, pattern)]:
            fixed = {"folder": str(path.parent.relative_to(root)), **files.set}
            for row in read_table(path, read.format, wanted, read):
                if isinstance(row, Reject):
                    yield row
                    continue
                columns = {**row.columns, **fixed}
                try:
                    if _is_kept(columns, files):
                        for join, table in tables:
                            columns.update(_looked_up(join, table, as_text(columns.get(join.by))))
                        yield Row(columns, row.where)
                except NotTextError as error:
                    yield Reject(row.where, "", str(error))


def _is_kept(columns: Mapping[str, Any], files: Files) -> bool:
    return all(as_text(columns[name]) in values for name, values in files.keep.items() if name in columns)


def names_of(table: Table, value: str, root: Path) -> dict[str, str]:
    """One column of a table by its key: names by id, licences by file.

    Raises:
        SourceError: it cannot be read, lacks a column, or gives a key two values.
    """
    found = _Lookup(find_files(root, table.file)[0], table, [value])
    if found.broken is not None:
        raise SourceError(found.broken.reason, where=found.broken.where, remedy=AGAIN)
    for key, problem in found.doubled.items():
        raise SourceError(f"'{key}' {problem}", where=str(found.path), remedy=AGAIN)
    return {key: name for key, (name,) in found.rows.items()}


class _Lookup:
    """Columns of a second table by its key; what of it is in doubt gives no value.

    Attributes:
        rows: by key, the columns.
        doubled: keys with several values, and where those stand.
        broken: the first row that cannot be read.
    """

    def __init__(self, path: Path, table: Table, columns: Sequence[str]) -> None:
        self.path, self.rows, self.doubled = path, dict[str, tuple[str, ...]](), dict[str, str]()
        self.broken: Reject | None = None
        lines: dict[str, str] = {}
        for row in read_table(path, table.format, [table.key, *columns], table):
            try:
                if isinstance(row, Reject):
                    self.broken = self.broken or row
                    continue
                key = as_text(row.columns.get(table.key))
                values = tuple(as_text(row.columns.get(name)) for name in columns)
            except NotTextError as error:
                self.broken = self.broken or Reject(row.where, "", str(error))
                continue
            if self.rows.setdefault(key, values) != values:
                self.doubled[key] = f"has different values at {lines[key]} and {row.where}"
            lines.setdefault(key, row.where)

    def of(self, key: str) -> tuple[str, ...] | None:
        """The columns of a row; None where there is none.

        Raises:
            NotTextError: which they are is not known.
        """
        if key in self.doubled:
            raise NotTextError(f"'{key}' {self.doubled[key]}")
        if key not in self.rows and self.broken is not None:
            raise NotTextError(f"'{key}' is not in {self.path.name}, where {self.broken.where} is broken")
        return self.rows.get(key)


def _looked_up(join: Join, table: _Lookup | None, key: str) -> dict[str, str]:
    """The joined columns of a row; empty where the other table has none."""
    found = table.of(key) if table is not None else None
    return dict(zip(join.take, found or ("",) * len(join.take), strict=True))


def _joined(join: Join, root: Path) -> _Lookup | None:
    if not join.required and not (root / join.file).exists():
        return None
    return _Lookup(find_files(root, join.file)[0], join, list(join.take.values()))
