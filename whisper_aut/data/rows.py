"""The rows of a manifest's file, JSONL or Parquet, as a stream of checked batches: memory does not grow with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from whisper_aut.constants import DOMAINS
from whisper_aut.data.channels import CHANNEL, column_of_lines, is_channel_type, texts_of
from whisper_aut.data.manifest_file import readable
from whisper_aut.data.row_checks import DEFAULTS, NUMBERS, OPTIONAL, REQUIRED, Problem, check_types, check_values
from whisper_aut.errors import ManifestError

BLOCK_BYTES = 8 * 2**20  # of JSONL that are parsed at once
BATCH_ROWS = 65_536  # of Parquet
MAX_PROBLEMS = 10_000  # then reading ends: the file is another thing than it should be

SCHEMA = pa.schema([(name, pa.float64() if name in NUMBERS else pa.large_string()) for name in REQUIRED + OPTIONAL])


@dataclass(frozen=True)
class Rows:
    """Some consecutive rows.

    Attributes:
        batch: columns of ``SCHEMA``; defaults are in place of optional values that were left out.
        lines: int64 [N], from 1; numbers of rows for Parquet.
        problems: of these rows, and of lines between them that are none.
        channels: of each row as data/channels.py writes them; None where no row names any.
    """

    batch: pa.RecordBatch
    lines: npt.NDArray[np.int64]
    problems: tuple[Problem, ...]
    channels: list[str | None] | None = None


def stream_rows(path: Path) -> Iterator[Rows]:
    """All rows of ``path`` in its order.

    Raises:
        ManifestError: the file as a whole cannot be read.
    """
    with readable(path):
        num_problems = 0
        for rows in _stream_jsonl(path) if path.suffix == ".jsonl" else _stream_parquet(path):
            yield rows
            num_problems += len(rows.problems)
            if num_problems >= MAX_PROBLEMS:
                what = f"more than {MAX_PROBLEMS} problems; what follows was not read"
                last = int(rows.lines[-1]) if len(rows.lines) else 0
                yield Rows(rows.batch.slice(0, 0), rows.lines[:0], (Problem(f"{path}:{last}", "file", "", what),))
                return


def _defaults(path: Path) -> dict[str, str]:
    return {"source": path.stem, **DEFAULTS}


def _first_domain(batch: pa.RecordBatch) -> str | None:
    """Domain of the first row, if it is one."""
    return next((name for name in batch["domain"][:1].to_pylist() if name in DOMAINS), None)


def _stream_jsonl(path: Path) -> Iterator[Rows]:
    line, domain, begun = 1, None, False
    for block in _blocks(path):
        num_lines = block.count(b"\n") + (not block.endswith(b"\n"))
        rows = _parsed_fast(path, block, line, num_lines, domain if begun else ...) or _parsed(
            path, block, line, domain
        )
        if not begun and len(rows.lines):
            begun, domain = True, _first_domain(rows.batch)
        yield rows
        line += num_lines


def _blocks(path: Path) -> Iterator[bytes]:
    """The file in whole lines, a few megabytes at once."""
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            rest = b"" if block.endswith(b"\n") else file.readline(BLOCK_BYTES)
            if len(rest) == BLOCK_BYTES:
                raise ManifestError(
                    f"a line has more than {BLOCK_BYTES // 2**20} MiB",
                    where=str(path),
                    remedy="write one JSON object a line, with the texts of one clip each",
                )
            yield block + rest


def _parsed_fast(path: Path, block: bytes, first_line: int, num_lines: int, domain: Any) -> Rows | None:
    """The block by Arrow's parser, much faster than Python's; None unless there is nothing to complain of."""
    try:
        table = pa_json.read_json(
            pa.BufferReader(block),
            read_options=pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pa_json.ParseOptions(explicit_schema=SCHEMA, unexpected_field_behavior="ignore"),
        )
        if table.num_rows != num_lines:  # blank lines
            return None
        table.validate(full=True)  # UTF-8, too
        (batch,) = table.combine_chunks().to_batches()
    except (pa.ArrowException, ValueError):
        return None
    filled = _filled(batch, path)
    lines = np.arange(first_line, first_line + num_lines, dtype=np.int64)
    own_domain = _first_domain(filled) if domain is ... else domain
    if next(check_values(path, filled, lines, own_domain), None) is not None:
        return None
    channels = column_of_lines(block, num_lines) if b'"channel"' in block else None
    return None if channels is None and b'"channel"' in block else Rows(filled, lines, (), channels)


def _filled(batch: pa.RecordBatch, path: Path) -> pa.RecordBatch:
    """With defaults in place of optional values that were left out."""
    defaults = _defaults(path)
    columns = [pc.fill_null(batch[name], defaults[name]) if name in OPTIONAL else batch[name] for name in SCHEMA.names]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


class _Object(dict[str, Any]):
    """A JSON object that knows which of its names came more than once; the last value is the one that is kept."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.doubled = [] if len(self) == len(names) else [name for name in self if names.count(name) > 1]


def _parsed(path: Path, block: bytes, first_line: int, domain: str | None) -> Rows:
    """The block line by line, so that every problem gets its line."""
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    channels: list[str | None] = []
    lines: list[int] = []
    problems: list[Problem] = []
    defaults = _defaults(path)
    for line, raw in enumerate(block.split(b"\n"), start=first_line):
        if len(problems) >= MAX_PROBLEMS:
            break
        if not raw.strip():
            continue
        where = f"{path}:{line}"
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            what = "not UTF-8; save the manifest as UTF-8, e.g. iconv -f latin1 -t utf-8 (or -f utf-16)"
            problems.append(Problem(where, "row", "", what))
            continue
        try:
            row = json.loads(text, object_pairs_hook=_Object)
        except (ValueError, RecursionError) as error:  # ValueError alone: a number of thousands of digits
            problems.append(Problem(where, "row", "", f"not JSON: {error}"))
            continue
        if not isinstance(row, _Object):
            problems.append(Problem(where, "row", "", f"not a JSON object but {type(row).__name__}"))
            continue
        found = list(check_types(row, where))
        found += [Problem(where, name, "", "stands twice in the row") for name in row.doubled if name in columns]
        problems += found
        if not found:
            lines.append(line)
            channels += texts_of([row.get(CHANNEL)])[0]
            for name, column in columns.items():
                value = row.get(name)
                column.append(defaults.get(name) if value is None else value)
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    batch, numbers = pa.RecordBatch.from_arrays(arrays, schema=SCHEMA), np.array(lines, dtype=np.int64)
    problems += check_values(path, batch, numbers, domain or _first_domain(batch))
    return Rows(batch, numbers, tuple(problems), channels)


def _stream_parquet(path: Path) -> Iterator[Rows]:
    with pq.ParquetFile(path, memory_map=True) as file:
        present = file.schema_arrow
        missing = [name for name in REQUIRED if name not in present.names]
        if missing:
            raise ManifestError(f"the manifest has no column {', '.join(missing)}", where=str(path), remedy="add it")
        wanted = [name for name in SCHEMA.names if name in present.names]
        for name in wanted:
            _check_column_type(path, present.field(name))
        first_row, domain = 1, None
        with_channel = [CHANNEL] if CHANNEL in present.names else []
        for name in with_channel:
            if not is_channel_type(present.field(name).type):
                what = f"column {name} is {present.field(name).type}, not a number or a list of numbers"
                raise ManifestError(what, where=str(path), remedy="convert the column")
        for batch in file.iter_batches(BATCH_ROWS, columns=wanted + with_channel):
            columns = [
                batch[field.name].cast(field.type) if field.name in wanted else pa.nulls(batch.num_rows, field.type)
                for field in SCHEMA
            ]
            full = _filled(pa.RecordBatch.from_arrays(columns, schema=SCHEMA), path)
            lines = np.arange(first_row, first_row + batch.num_rows, dtype=np.int64)
            if first_row == 1:
                domain = _first_domain(full)
            channels, wrong = texts_of(batch[CHANNEL].to_pylist()) if with_channel else (None, [])
            problems = list(check_values(path, full, lines, domain))
            problems += [Problem(f"{path}:{lines[row]}", CHANNEL, full["id"][row].as_py() or "", message)
                         for row, message in wrong]  # fmt: skip
            yield Rows(full, lines, tuple(problems), channels)
            first_row += batch.num_rows


def _check_column_type(path: Path, field: pa.Field) -> None:
    """Refuse a column of another kind: a cast would make sense of some values and nonsense of others."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if field.name in NUMBERS:
        fits, wanted = pa.types.is_floating(kind) or pa.types.is_integer(kind), "a number of seconds"
    else:
        fits, wanted = pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view(), "text"
    if not (fits or pa.types.is_null(kind)):
        raise ManifestError(
            f"column {field.name} is {field.type}, not {wanted}", where=str(path), remedy="convert the column"
        )
