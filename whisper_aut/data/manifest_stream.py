"""Manifests of any size, a piece at a time: read with every column they have, written whole or not at all."""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from whisper_aut.data.channels import CHANNEL, as_type, with_even_channels, with_one_channel_type
from whisper_aut.data.json_lines import json_objects, json_texts
from whisper_aut.data.manifest_file import check_columns, check_suffix, is_text, not_utf8, readable
from whisper_aut.data.outputs import writing
from whisper_aut.data.row_checks import OPTIONAL, REQUIRED
from whisper_aut.errors import ManifestError, first_line
from whisper_aut.files import existing_form, real_path, whole_file

PIECE_ROWS = 65_536  # of a row group: some MB, the memory that a stream takes
_FEW_VALUES = ("domain", "source", "language", "split", "license")  # columns worth a dictionary
_LINES = 16_384
_AGAIN = "mend the row; `whisper-aut manifest validate FILE` lists every problem"


@dataclass(frozen=True)
class Piece:
    """Some rows of a manifest in a row; ``first`` is the number of the first, from 1; ``lines`` those of a JSONL."""

    path: Path
    table: pa.Table
    first: int
    lines: list[int] | None = None

    def where(self, index: int) -> str:
        """``file:line`` of a row of the piece (``file:row`` for Parquet)."""
        return f"{self.path}:{self.lines[index] if self.lines is not None else self.first + index}"


def read_schema(path: Path, required: Sequence[str] = REQUIRED) -> pa.Schema:
    """Columns and types of a manifest; a JSONL is read through for them.

    Args:
        path: JSONL or Parquet.
        required: columns that must be there.

    Raises:
        ManifestError: it cannot be read, or lacks a required column.
    """
    with readable(path):
        if path.suffix == ".parquet":
            schema = pq.read_schema(path).remove_metadata()
        else:
            schema = pa.schema([])
            for piece in _read_jsonl(path, None):
                schema = unify(schema, piece.table.schema, path)
    check_columns(path, schema, required)
    # JSON's 0 and 1 are whole numbers; seconds are not.
    for name in ("offset_sec", "duration_sec"):
        if name in schema.names:
            schema = schema.set(schema.get_field_index(name), pa.field(name, pa.float64()))
    return pa.schema([pa.field(name, _plain(schema.field(name).type)) for name in schema.names])


def unify(ours: pa.Schema, theirs: pa.Schema, path: Path) -> pa.Schema:
    """The columns of both.

    Raises:
        ManifestError: a column has types in them that do not go together.
    """
    ours, theirs = with_one_channel_type(ours, theirs)
    try:
        return pa.unify_schemas([ours, theirs], promote_options="permissive")
    except pa.ArrowException as error:
        raise ManifestError(
            f"a column has two types: {first_line(error)}", where=str(path), remedy="give it one type, or another name"
        ) from None


def num_rows(path: Path) -> int:
    """Rows of a manifest; a JSONL is counted through.

    Raises:
        ManifestError: it cannot be read.
    """
    with readable(path):
        if path.suffix == ".parquet":
            return int(pq.read_metadata(path).num_rows)
        return sum(1 for _ in json_texts(path))


def read_pieces(path: Path, schema: pa.Schema | None = None) -> Iterator[Piece]:
    """All rows of a manifest in order.

    Args:
        path: JSONL or Parquet.
        schema: columns to give; those that the file lacks are null. None: the file's own.

    Raises:
        ManifestError: the file cannot be read, or a value is not of the column's type; file and line are named.
    """
    schema = schema or read_schema(path)
    with readable(path):
        if path.suffix == ".parquet":
            first = 1
            with pq.ParquetFile(path, memory_map=True) as file:
                wanted = [name for name in schema.names if name in file.schema_arrow.names]
                for batch in file.iter_batches(batch_size=PIECE_ROWS, columns=wanted):
                    table = _conform(pa.Table.from_batches([batch]), schema, f"{path}:{first}")
                    _check_texts(table, path, first)
                    yield Piece(path, table, first)
                    first += len(table)
        else:
            yield from _read_jsonl(path, schema)


class ManifestWriter:
    """Writes rows in row groups of ``PIECE_ROWS``; made by :func:`whole_manifest`."""

    def __init__(self, file: BinaryIO, schema: pa.Schema, *, parquet: bool) -> None:
        self._file, self._schema = file, schema
        self._waiting: list[pa.Table] = []
        self.num_rows = 0
        unwritable = [field.name for field in schema if not parquet and not _is_json(field.type)]
        if unwritable:
            raise ManifestError(
                f"the column {unwritable[0]} is {schema.field(unwritable[0]).type}, which JSON cannot hold",
                remedy="give an --out that ends in .parquet",
            )
        few = [name for name in _FEW_VALUES if name in schema.names]
        self._parquet = pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=few) if parquet else None

    def write(self, table: pa.Table) -> None:
        """Add rows with the manifest's columns."""
        self.num_rows += len(table)
        self._waiting.append(table)
        while sum(map(len, self._waiting)) >= PIECE_ROWS:
            joined = pa.concat_tables(self._waiting)
            self._flush(joined.slice(0, PIECE_ROWS))
            self._waiting = [joined.slice(PIECE_ROWS)]

    def close(self) -> None:
        """Write what is left."""
        if any(len(table) for table in self._waiting):
            self._flush(pa.concat_tables(self._waiting))
        if self._parquet is not None:
            self._parquet.close()

    def abandon(self) -> None:
        """Let go of the file, which will not stay: Arrow would write its end to it later, when it is closed."""
        self._waiting = []
        if self._parquet is not None:
            with suppress(Exception):
                self._parquet.close()

    def _flush(self, table: pa.Table) -> None:
        if self._parquet is not None:
            self._parquet.write_table(table, row_group_size=PIECE_ROWS)
            return
        for row in table.to_pylist():
            given = {name: value for name, value in row.items() if value is not None}
            self._file.write(json.dumps(given, ensure_ascii=False).encode() + b"\n")


@contextmanager
def whole_manifest(path: Path, schema: pa.Schema) -> Iterator[ManifestWriter]:
    """A manifest to write to, by its ending Parquet or JSONL, that appears when the block ends without an error.

    Raises:
        ManifestError: the ending is another one, or the file cannot be written.
    """
    check_suffix(path)
    with writing(path, "the manifest"), whole_file(path) as file:
        writer = ManifestWriter(file, schema, parquet=path.suffix == ".parquet")
        try:
            yield writer
        except BaseException:
            writer.abandon()
            raise
        writer.close()


def moved_audio(piece: Piece, folder: Path) -> pa.Table:
    """The piece's rows with audio that is still right in a manifest in another ``folder``.

    Raises:
        ManifestError: a relative path leaves the manifest's own folder: made absolute, that would be hidden.
    """
    home = real_path(piece.path.parent)
    if real_path(folder) == home:
        return piece.table
    inside: dict[str, bool] = {}
    moved = []
    for index, audio in enumerate(piece.table["audio"].to_pylist()):
        if audio is None or audio.startswith("/") or "://" in audio:
            moved.append(audio)
            continue
        file = audio.partition("#")[0]  # of a shard, with where in it the clip lies
        parent, _, name = file.rpartition("/")
        path = Path(existing_form(os.fspath(home / file)))
        if parent not in inside:
            inside[parent] = real_path(path.parent).is_relative_to(home)
        leaves = not inside[parent] or name == ".." or ".." in parent.split("/") or "\0" in audio
        # A name may be too long for Path.is_symlink.
        if leaves or (os.path.islink(path) and not real_path(path).is_relative_to(home)):  # noqa: PTH114
            raise ManifestError(f"audio '{audio}' leads out of {home}", where=piece.where(index), remedy=_AGAIN)
        moved.append(os.fspath(home / audio))
    column = piece.table.schema.get_field_index("audio")
    return piece.table.set_column(column, piece.table.schema.field(column), pa.array(moved, _plain(pa.string())))


def _check_texts(table: pa.Table, path: Path, first: int) -> None:
    for name in table.column_names:
        for row in not_utf8(table[name]):
            raise ManifestError(f"{name} is not UTF-8", where=f"{path}:{first + row}", remedy=_AGAIN)


def _read_jsonl(path: Path, schema: pa.Schema | None) -> Iterator[Piece]:
    numbered = json_objects(path)
    first = 1
    while some := list(islice(numbered, _LINES)):
        rows = with_even_channels([_sound(row, f"{path}:{number}") for number, row in some], schema)
        lines = [number for number, _ in some]
        try:
            table = pa.Table.from_pylist(rows, schema=schema)
            if schema is None:  # from_pylist takes the columns of the first row for those of all
                names = list(dict.fromkeys(name for row in rows for name in row))
                table = pa.table({name: [row.get(name) for row in rows] for name in names})
        except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
            line, column = _first_misfit(rows, lines, schema)
            raise ManifestError(
                f"a value{column} has another type: {first_line(error)}", where=f"{path}:{line}", remedy=_AGAIN
            ) from None
        yield Piece(path, table if schema is None else _conform(table, schema, f"{path}:{lines[0]}"), first, lines)
        first += len(some)


def _first_misfit(rows: Sequence[dict[str, Any]], lines: Sequence[int], schema: pa.Schema | None) -> tuple[str, str]:
    """The line of the first row that is not of the schema, or not of the type of those before it, and the column."""
    for row, line in zip(rows, lines, strict=True) if schema is not None else ():
        try:
            pa.Table.from_pylist([row], schema=schema)
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):
            return str(line), ""
    for name in dict.fromkeys(name for row in rows for name in row) if schema is None else ():
        values = [row.get(name) for row in rows]
        if not _has_type(values):
            fewest = bisect_left(range(len(values)), True, key=lambda stop: not _has_type(values[: stop + 1]))
            return str(lines[fewest]), f" of column {name}"
    return f"{lines[0]} to {lines[-1]}", ""


def _has_type(values: list[Any]) -> bool:
    try:
        pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return False
    return True


def _sound(row: dict[str, Any] | str, where: str) -> dict[str, Any]:
    if isinstance(row, str):
        raise ManifestError(row, where=where, remedy=_AGAIN)
    return row


def _conform(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in table.schema.names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        column = table[field.name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if field.name == CHANNEL:
            column = as_type(column, field.type)
        try:
            columns.append(column.cast(field.type))
        except pa.ArrowException as error:
            raise ManifestError(
                f"column {field.name} is not {field.type}: {first_line(error)}", where=where, remedy=_AGAIN
            ) from None
    return pa.table(columns, schema=schema)


def _plain(data_type: pa.DataType) -> pa.DataType:
    """The type as it is written: texts as such, whatever way the file keeps them."""
    if pa.types.is_dictionary(data_type):
        data_type = data_type.value_type
    if is_text(data_type) or pa.types.is_null(data_type):
        return pa.string()
    return data_type


def _is_json(data_type: pa.DataType) -> bool:
    """Whether JSON has values of this type: texts, numbers, truth, and lists and objects of these."""
    if pa.types.is_nested(data_type):
        return all(_is_json(data_type.field(number).type) for number in range(data_type.num_fields))
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return is_text(data_type) or any(check(data_type) for check in checks)


def manifest_columns(schema: pa.Schema) -> list[str]:
    """Columns in the order that people expect: the manifest's own, then others."""
    own = [name for name in (*REQUIRED, *OPTIONAL) if name in schema.names]
    return [*own, *(name for name in schema.names if name not in own)]
