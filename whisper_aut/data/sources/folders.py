"""Tables beside audio files: CSV, TSV, JSON, JSON lines, Parquet and transcripts, row by row, wrong rows named.

One law: every row comes out as it is written, or is a reject with its line. Nothing moves from one row to another.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from whisper_aut.data.json_lines import DoubledName, json_objects
from whisper_aut.data.manifest_file import as_bytes, not_utf8
from whisper_aut.data.separated import Dialect, records
from whisper_aut.data.sources.layout import Separated
from whisper_aut.data.sources.rows import Reject, Row
from whisper_aut.data.sources.spec import Format, ListRead
from whisper_aut.data.text_lines import TextFileError, is_text, numbered_lines, open_text
from whisper_aut.errors import SourceError, first_line

AGAIN = "get the corpus' own file again, or correct the source's YAML"
_UTF8 = Separated()


def read_table(path: Path, form: Format, wanted: Sequence[str], layout: Separated = _UTF8) -> Iterator[Row | Reject]:
    """Rows of one file with the ``wanted`` columns; a JSON row may lack some of them.

    Raises:
        SourceError: the file cannot be read as ``form``, or its headings lack a column or have it twice.
    """
    try:
        if form in {"csv", "tsv"}:
            yield from _separated(path, form, wanted, layout)
        elif form == "json":
            yield from _json(path, wanted, layout)
        elif form == "jsonl":
            for row in read_json_lines(path, layout.encoding):
                yield row if isinstance(row, Reject) else _picked(row.columns, wanted, row.where)
        elif form == "parquet":
            yield from _parquet(path, wanted)
        else:
            yield from _transcripts(path, layout.encoding)
    except OSError as error:
        raise SourceError(f"the list cannot be read: {error}", where=str(path), remedy=AGAIN) from None
    except TextFileError as error:
        where = f"{path}:{error.line}"
        raise SourceError(f"the list cannot be read: {error}", where=where, remedy=AGAIN) from None


def _separated(path: Path, form: str, wanted: Sequence[str], layout: Separated) -> Iterator[Row | Reject]:
    is_csv, read = form == "csv", layout if isinstance(layout, ListRead) else None
    dialect = Dialect(
        delimiter=layout.delimiter or ("," if is_csv else "\t"),
        # Tab-separated lists have quotation marks as they come: those of Common Voice's sentences close nowhere.
        quote=('"' if is_csv else "") if layout.quote is None else layout.quote,
        skip_spaces=layout.skip_spaces,
        comment=read.comment if read else "",
    )
    found = records(numbered_lines(path, layout.encoding), dialect)
    headings = list(read.columns) if read and read.columns else _headings(found, path, read.header_rows if read else 1)
    places = _places(headings, wanted, path)
    for number, cells in found:
        where = f"{path}:{number}"
        if isinstance(cells, str):
            yield Reject(where, "", cells)
        elif len(cells) != len(headings):
            yield Reject(where, "", f"the line has {len(cells)} columns, not {len(headings)}")
        else:
            yield Row({name: cells[place] for name, place in places}, where)


def _headings(found: Iterator[tuple[int, list[str] | str]], path: Path, num_rows: int) -> list[str]:
    rows = []
    for number, cells in islice(found, num_rows):
        if isinstance(cells, str):
            raise SourceError(f"the headings cannot be read: {cells}", where=f"{path}:{number}", remedy=AGAIN)
        rows.append([cell.replace("\ufeff", "") for cell in cells])
    width = max((len(row) for row in rows), default=0)
    padded = [row + [""] * (width - len(row)) for row in rows]
    return [".".join(part.strip() for part in column if part.strip()) for column in zip(*padded, strict=True)]


def _places(headings: Sequence[str], wanted: Sequence[str], path: Path) -> list[tuple[str, int]]:
    for name in wanted:
        if headings.count(name) > 1:
            what = f"the list has {headings.count(name)} columns '{name}'"
            raise SourceError(what, where=f"{path}:1", remedy="rename all but one of them")
        if name not in headings:
            near = difflib.get_close_matches(name, headings, n=1, cutoff=0.5)
            there = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(headings[:20]) or 'none'}"
            if len(headings) == 1 and (other := next((char for char in ";\t|," if char in headings[0]), None)):
                there = f"its headings are one, '{headings[0]:.80}'; set delimiter: {other!r} in the YAML"
            raise SourceError(f"the list has no column '{name}'; {there}", where=f"{path}:1", remedy=AGAIN)
    return [(name, headings.index(name)) for name in wanted]


class _Doubled(dict[str, Any]):
    """A JSON object with a name that stands in it twice: one of the values is lost."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.names = {name for name in self if names.count(name) > 1}


def _json(path: Path, wanted: Sequence[str], layout: Separated) -> Iterator[Row | Reject]:
    def mark(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return found if len(found := dict(pairs)) == len(pairs) else _Doubled(pairs)

    try:
        with open_text(path, layout.encoding) as file:
            text = file.read()
        found: Any = json.loads(text, object_pairs_hook=mark)
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}"
        raise SourceError(f"the list is not JSON: {error.msg}", where=where, remedy=AGAIN) from None
    except (ValueError, RecursionError) as error:
        raise SourceError(f"the list is not JSON: {first_line(error)}", where=str(path), remedy=AGAIN) from None
    for key in filter(None, layout.records.split(".") if isinstance(layout, ListRead) else []):
        if not isinstance(found, dict) or key not in found:
            raise SourceError(f"the list has no key '{key}'", where=str(path), remedy=AGAIN)
        if isinstance(found, _Doubled) and key in found.names:
            raise SourceError(f"the list has the key '{key}' twice", where=str(path), remedy=AGAIN)
        found = found[key]
    if isinstance(found, dict):  # rows by their key, which is a column too
        doubled = found.names if isinstance(found, _Doubled) else set()
        for key in sorted(doubled):
            line = text.count("\n", 0, max(0, text.rfind(json.dumps(key, ensure_ascii=False)))) + 1
            yield Reject(f"{path}:{line}", key, f"the key '{key}' stands twice in the list: neither row is taken")
        found = [_keyed(key, row) for key, row in found.items() if key not in doubled]
    if not isinstance(found, list):
        raise SourceError(f"the list is {type(found).__name__}, not rows", where=str(path), remedy=AGAIN)
    for number, row in enumerate(found, start=1):
        yield _picked(row, wanted, f"{path}:{number}")


def _keyed(key: str, row: Any) -> Any:
    """A row that stands under a key, with the key as a column; a row's own column of this name counts."""
    return {"key": key, **row} if isinstance(row, dict) and not isinstance(row, _Doubled) else row


def _picked(row: Any, wanted: Sequence[str], where: str) -> Row | Reject:
    if not isinstance(row, dict):
        return Reject(where, "", f"not a JSON object but {type(row).__name__}")
    if isinstance(row, _Doubled):
        return Reject(where, "", str(DoubledName(min(row.names))))
    return Row({name: row[name] for name in wanted if name in row}, where)


def read_json_lines(path: Path, encoding: str = "utf-8") -> Iterator[Row | Reject]:
    """Objects of JSON lines, gzip or not; a broken line is a reject.

    Raises:
        SourceError: the file cannot be read at all, or its compression is damaged.
    """
    try:
        for number, found in json_objects(path, encoding):
            where = f"{path}:{number}"
            yield Reject(where, "", found) if isinstance(found, str) else Row(found, where)
    except OSError as error:
        raise SourceError(f"the list cannot be read: {error}", where=str(path), remedy=AGAIN) from None
    except TextFileError as error:
        where = f"{path}:{error.line}"
        raise SourceError(f"the list is damaged: {error}", where=where, remedy=AGAIN) from None


def _parquet(path: Path, wanted: Sequence[str]) -> Iterator[Row | Reject]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            _places(file.schema_arrow.names, wanted, path)
            number = 0
            for batch in file.iter_batches(batch_size=4096, columns=list(wanted)):
                broken = {row: name for name in batch.schema.names for row in not_utf8(batch[name])}
                if broken:  # as bytes, so that one value spoils one row
                    batch = pa.RecordBatch.from_arrays([as_bytes(one) for one in batch.columns], batch.schema.names)
                for index, columns in enumerate(batch.to_pylist()):
                    number += 1
                    where = f"{path}:{number}"
                    yield Reject(where, "", f"{broken[index]} is not UTF-8") if index in broken else Row(columns, where)
    except pa.ArrowException as error:
        raise SourceError(
            f"the list is no whole Parquet file: {first_line(error)}", where=str(path), remedy=AGAIN
        ) from None


def _transcripts(path: Path, encoding: str) -> Iterator[Row | Reject]:
    """``ID TEXT``, as LibriSpeech, MLS and Kaldi have it."""
    for number, line in numbered_lines(path, encoding):
        where, bare = f"{path}:{number}", line.strip(" \t\r\n")
        key, text = (*re.split(r"[ \t]+", bare, maxsplit=1), "")[:2]
        if not key:
            continue
        if not is_text(line):
            yield Reject(where, "", "the line is not UTF-8")
        elif "\r" in bare or "\n" in bare or "\0" in bare:
            yield Reject(where, key, "a line break or a NUL character stands inside the line")
        else:
            yield Row({"id": key, "text": text}, where)


def key_values(path: Path) -> Mapping[str, str]:
    """``KEY VALUE`` lines of Kaldi's tables.

    Raises:
        SourceError: the file cannot be read, a line has no value, or a key has two.
    """
    found: dict[str, str] = {}
    for row in read_table(path, "transcripts", []):
        if isinstance(row, Reject):
            raise SourceError(row.reason, where=row.where, remedy=AGAIN)
        key, value = row.columns["id"], row.columns["text"]
        if not value:
            raise SourceError(f"'{key}' has no value", where=row.where, remedy=AGAIN)
        if found.setdefault(key, value) != value:
            raise SourceError(f"'{key}' has two values, of which one stands earlier", where=row.where, remedy=AGAIN)
    return found
