"""The rows of a manifest's file, JSONL or Parquet, as a stream of checked batches: memory does not grow with it."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
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
from whisper_aut.data.json_lines import DoubledName, parse_object
from whisper_aut.data.manifest_file import check_columns, not_utf8, readable
from whisper_aut.data.row_checks import DEFAULTS, NUMBERS, OPTIONAL, REQUIRED, Problem, check_types, check_values
from whisper_aut.data.text_lines import encoding_of, line_end_of, numbered_lines
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


def stream_rows(path: Path, *, strict: bool = False) -> Iterator[Rows]:
    """All rows of ``path`` in its order.

    Args:
        path: of the manifest.
        strict: name also what is wrong with columns that are not the manifest's own: a name that stands twice in a row.

    Raises:
        ManifestError: the file as a whole cannot be read.
    """
    with readable(path):
        num_problems = 0
        for rows in _stream_jsonl(path, strict) if path.suffix == ".jsonl" else _stream_parquet(path):
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


def _stream_jsonl(path: Path, strict: bool) -> Iterator[Rows]:
    line, domain, begun = 1, None, False
    for block in _blocks(path):
        num_lines = block.count(b"\n") + (not block.endswith(b"\n"))
        rows = _parsed_fast(path, block, line, num_lines, domain if begun else ..., strict) or _parsed(
            path, block, line, domain, strict
        )
        if not begun and len(rows.lines):
            begun, domain = True, _first_domain(rows.batch)
        yield rows
        line += num_lines


def _blocks(path: Path) -> Iterator[bytes]:
    """The file in whole lines of UTF-8 without a byte-order mark, a few megabytes at once."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
        encoding = encoding_of(head)
        if not encoding.startswith("utf-8") or line_end_of(head, encoding) != "\n":
            yield from _recoded(path)
            return
        file.seek(len(BOM_UTF8) if encoding == "utf-8-sig" else 0)
        while block := file.read(BLOCK_BYTES):
            rest = b"" if block.endswith(b"\n") else file.readline(BLOCK_BYTES)
            if len(rest) == BLOCK_BYTES:
                raise ManifestError(
                    f"a line has more than {BLOCK_BYTES // 2**20} MiB",
                    where=str(path),
                    remedy="write one JSON object a line, with the texts of one clip each",
                )
            yield block + rest


def _recoded(path: Path) -> Iterator[bytes]:
    """The lines of a file in UTF-16, or of one with old Macs' ends of lines, as UTF-8 with line feeds."""
    numbered = numbered_lines(path)
    while some := list(islice(numbered, BATCH_ROWS)):
        yield "".join(line.rstrip("\r\n") + "\n" for _, line in some).encode("utf-8", "surrogatepass")


def _parsed_fast(path: Path, block: bytes, first_line: int, num_lines: int, domain: Any, strict: bool) -> Rows | None:
    """The block by Arrow's parser, much faster than Python's; None unless there is nothing to complain of.

    Arrow reads objects wherever they begin: two on a line, or one on two. Where every line begins and ends as one does,
    and there are as many of either, each line is one.
    """
    if not (block.startswith(b"{") and block[-8:].rstrip(b"\r\n").endswith(b"}")):
        return None
    if block.count(b"}\n{") != num_lines - 1 and block.count(b"}\r\n{") != num_lines - 1:
        return None
    try:
        table = pa_json.read_json(
            pa.BufferReader(block),
            read_options=pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pa_json.ParseOptions(
                explicit_schema=SCHEMA, unexpected_field_behavior="infer" if strict else "ignore"
            ),
        )
        if table.num_rows != num_lines:
            return None
        table = table.select(SCHEMA.names)
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


def _parsed(path: Path, block: bytes, first_line: int, domain: str | None, strict: bool) -> Rows:
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
            row = _row(raw, strict)
        except DoubledName as error:
            problems.append(Problem(where, error.args[0], "", "stands twice in the row"))
            continue
        except ValueError as error:
            problems.append(Problem(where, "row", "", str(error)))
            continue
        found = list(check_types(row, where))
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


def _row(raw: bytes, strict: bool) -> dict[str, Any]:
    line = raw.decode("utf-8", "surrogateescape")
    try:
        return parse_object(line)
    except DoubledName as error:
        if strict or error.args[0] in (*SCHEMA.names, CHANNEL):
            raise
        return dict(json.loads(line))


def _stream_parquet(path: Path) -> Iterator[Rows]:
    with pq.ParquetFile(path, memory_map=True) as file:
        present = file.schema_arrow
        check_columns(path, present, REQUIRED)
        wanted = [name for name in SCHEMA.names if name in present.names]
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
            named = batch[CHANNEL] if with_channel else None
            first_row += batch.num_rows
            problems: list[Problem] = []
            if broken := {row: name for name in SCHEMA.names for row in not_utf8(full[name])}:
                problems = [Problem(f"{path}:{lines[row]}", name, "", "is not UTF-8") for row, name in broken.items()]
                sound = np.array([row not in broken for row in range(len(lines))])
                full, lines = full.filter(pa.array(sound)), lines[sound]
                named = None if named is None else named.filter(pa.array(sound))
            domain = domain or _first_domain(full)
            problems += check_values(path, full, lines, domain)
            channels, wrong = (None, []) if named is None else texts_of(named.to_pylist())
            problems += [Problem(f"{path}:{lines[row]}", CHANNEL, full["id"][row].as_py() or "", message)
                         for row, message in wrong]  # fmt: skip
            yield Rows(full, lines, tuple(problems), channels)
