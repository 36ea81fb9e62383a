"""Tables beside audio files: CSV, TSV, JSON, JSON lines, Parquet and transcripts, row by row, wrong rows named."""

from __future__ import annotations

import csv
import difflib
import gzip
import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from whisper_aut.data.sources.paths import find_files
from whisper_aut.data.sources.pattern import as_text
from whisper_aut.data.sources.rows import Reject, Row
from whisper_aut.data.sources.spec import Files, Format, Join, ListRead, Table
from whisper_aut.errors import SourceError, first_line

_AGAIN = "get the corpus' own file again, or correct the source's YAML"
_MAX_ROW_BYTES = 1 << 24  # 16 MB: a longer line is no row but a damaged file
_SURROGATES = ("\udc80", "\udcff")  # what stands for bytes that are not UTF-8


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
                if all(as_text(columns[name]) in values for name, values in files.keep.items() if name in columns):
                    for join, table in tables:
                        found = table.get(as_text(columns.get(join.by)), ("",) * len(join.take))
                        columns.update(zip(join.take, found, strict=True))
                    yield Row(columns, row.where)


def read_table(path: Path, form: Format, wanted: Sequence[str], read: ListRead | None = None) -> Iterator[Row | Reject]:
    """Rows of one file with the ``wanted`` columns; a JSON row may lack some of them.

    Raises:
        SourceError: the file cannot be read as ``form``, or its headings lack a column.
    """
    try:
        if form in {"csv", "tsv"}:
            yield from _separated(path, form, wanted, read)
        elif form == "json":
            yield from _json(path, wanted, read.records if read else "")
        elif form == "jsonl":
            yield from _json_lines(path, wanted)
        elif form == "parquet":
            yield from _parquet(path, wanted)
        else:
            yield from _transcripts(path)
    except OSError as error:
        raise SourceError(f"the list cannot be read: {error}", where=str(path), remedy=_AGAIN) from None


def names_of(table: Table, value: str, root: Path) -> dict[str, str]:
    """One column of a table by its key: names by id, licences by file.

    Raises:
        SourceError: it cannot be read, or lacks a column.
    """
    path = find_files(root, table.file)[0]
    found = {}
    for row in read_table(path, table.format, [table.key, value]):
        if isinstance(row, Reject):
            raise SourceError(row.reason, where=row.where, remedy=_AGAIN)
        found[as_text(row.columns.get(table.key))] = as_text(row.columns.get(value))
    return found


def _joined(join: Join, root: Path) -> dict[str, tuple[str, ...]]:
    if not join.required and not (root / join.file).exists():
        return {}
    path = find_files(root, join.file)[0]
    table: dict[str, tuple[str, ...]] = {}
    for row in read_table(path, join.format, [join.key, *join.take.values()]):
        if isinstance(row, Reject):
            raise SourceError(row.reason, where=row.where, remedy=_AGAIN)
        table[as_text(row.columns.get(join.key))] = tuple(as_text(row.columns.get(name)) for name in join.take.values())
    return table


def open_text(path: Path) -> TextIO:
    """For reading; bytes that are not UTF-8 come as surrogates, so that one of them spoils one row only."""
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def not_utf8(text: str) -> bool:
    """Whether a text of :func:`open_text` stood for bytes that are not UTF-8."""
    return not text.isascii() and any(_SURROGATES[0] <= char <= _SURROGATES[1] for char in text)


def _separated(path: Path, form: str, wanted: Sequence[str], read: ListRead | None) -> Iterator[Row | Reject]:
    with open_text(path) as file:
        lines = _Lines(file, read.comment if read else "", path)
        # Tab-separated lists have quotation marks as they come: those of Common Voice's sentences close nowhere.
        reader = csv.reader(
            lines,
            delimiter="," if form == "csv" else "\t",
            quoting=csv.QUOTE_MINIMAL if form == "csv" else csv.QUOTE_NONE,
            skipinitialspace=True,
        )
        try:
            headings = list(read.columns) if read and read.columns else _headings(reader, read)
            places = _places(headings, wanted, path)
            begin = lines.number + 1
            for cells in reader:
                where, begin = f"{path}:{begin}", lines.number + 1
                if not cells:
                    continue
                if len(cells) < len(headings):
                    yield Reject(where, "", f"the line has {len(cells)} columns, not {len(headings)}")
                elif any(not_utf8(cell) for cell in cells):
                    yield Reject(where, "", "the line is not UTF-8")
                else:
                    yield Row({name: cells[place] for name, place in places}, where)
        except csv.Error as error:
            raise SourceError(
                f"the list is damaged: {error}; a quotation mark may be open", where=f"{path}:{begin_of(lines)}",
                remedy=_AGAIN,
            ) from None  # fmt: skip


class _Lines:
    """Lines of a file, numbered from 1, without comments."""

    def __init__(self, file: TextIO, comment: str, path: Path) -> None:
        self._file, self._comment, self._path = file, comment, path
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(_MAX_ROW_BYTES):
            self.number += 1
            if not (self._comment and line.startswith(self._comment)):
                yield line


def begin_of(lines: _Lines) -> int:
    """The line that was read last."""
    return max(1, lines.number)


def _headings(reader: Iterator[list[str]], read: ListRead | None) -> list[str]:
    rows = list(islice(reader, read.header_rows if read else 1))
    width = max((len(row) for row in rows), default=0)
    padded = [row + [""] * (width - len(row)) for row in rows]
    return [".".join(part.strip() for part in column if part.strip()) for column in zip(*padded, strict=True)]


def _places(headings: Sequence[str], wanted: Sequence[str], path: Path) -> list[tuple[str, int]]:
    for name in wanted:
        if name not in headings:
            near = difflib.get_close_matches(name, headings, n=1, cutoff=0.5)
            there = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(headings[:20]) or 'none'}"
            raise SourceError(f"the list has no column '{name}'; {there}", where=f"{path}:1", remedy=_AGAIN)
    return [(name, headings.index(name)) for name in wanted]


def _json(path: Path, wanted: Sequence[str], records: str) -> Iterator[Row | Reject]:
    try:
        found: Any = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}"
        raise SourceError(f"the list is not JSON: {error.msg}", where=where, remedy=_AGAIN) from None
    except (ValueError, RecursionError) as error:
        raise SourceError(f"the list is not JSON: {first_line(error)}", where=str(path), remedy=_AGAIN) from None
    for key in filter(None, records.split(".")):
        if not isinstance(found, dict) or key not in found:
            raise SourceError(f"the list has no key '{key}'", where=str(path), remedy=_AGAIN)
        found = found[key]
    if isinstance(found, dict):  # rows by their key, which is a column too
        found = [{"key": key, **row} if isinstance(row, dict) else row for key, row in found.items()]
    if not isinstance(found, list):
        raise SourceError(f"the list is {type(found).__name__}, not rows", where=str(path), remedy=_AGAIN)
    for number, row in enumerate(found, start=1):
        yield _json_row(row, wanted, f"{path}:{number}")


def _json_row(row: Any, wanted: Sequence[str], where: str) -> Row | Reject:
    if not isinstance(row, dict):
        return Reject(where, "", f"not a JSON object but {type(row).__name__}")
    return Row({name: row[name] for name in wanted if name in row}, where)


def _json_lines(path: Path, wanted: Sequence[str]) -> Iterator[Row | Reject]:
    for row in read_json_lines(path):
        yield row if isinstance(row, Reject) else _json_row(row.columns, wanted, row.where)


def read_json_lines(path: Path) -> Iterator[Row | Reject]:
    """Objects of JSON lines, gzip or not; a broken line is a reject.

    Raises:
        SourceError: the file cannot be read at all, or its compression is damaged.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            while line := file.readline(_MAX_ROW_BYTES):
                number += 1
                if not line.strip():
                    continue
                where = f"{path}:{number}"
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield Reject(where, "", f"not JSON: {first_line(error)}")
                    continue
                if isinstance(row, dict):
                    yield Row(row, where)
                else:
                    yield Reject(where, "", f"not a JSON object but {type(row).__name__}")
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"the list is damaged: {error}", where=f"{path}:{number + 1}", remedy=_AGAIN) from None


def _parquet(path: Path, wanted: Sequence[str]) -> Iterator[Row | Reject]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            _places(file.schema_arrow.names, wanted, path)
            number = 0
            for batch in file.iter_batches(batch_size=4096, columns=list(wanted)):
                for columns in batch.to_pylist():
                    number += 1
                    yield Row(columns, f"{path}:{number}")
    except pa.ArrowException as error:
        raise SourceError(
            f"the list is no whole Parquet file: {first_line(error)}", where=str(path), remedy=_AGAIN
        ) from None


def _transcripts(path: Path) -> Iterator[Row | Reject]:
    """``ID TEXT``, as LibriSpeech, MLS and Kaldi have it."""
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            key, _, text = line.strip().replace("\t", " ", 1).partition(" ")
            where = f"{path}:{number}"
            if not key:
                continue
            if not_utf8(line):
                yield Reject(where, "", "the line is not UTF-8")
            else:
                yield Row({"id": key, "text": text}, where)


def key_values(path: Path) -> Mapping[str, str]:
    """``KEY VALUE`` lines of Kaldi's tables.

    Raises:
        SourceError: the file cannot be read, or a line has no value.
    """
    try:
        found = {}
        for row in _transcripts(path):
            if isinstance(row, Reject):
                raise SourceError(row.reason, where=row.where, remedy=_AGAIN)
            if not row.columns["text"]:
                raise SourceError(f"'{row.columns['id']}' has no value", where=row.where, remedy=_AGAIN)
            found[row.columns["id"]] = row.columns["text"].strip()
        return found
    except OSError as error:
        raise SourceError(f"the list cannot be read: {error}", where=str(path), remedy=_AGAIN) from None
