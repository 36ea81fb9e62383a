"""A manifest: a table of clips, JSONL or Parquet, read into Arrow and checked row by row before anything uses it.

Columns: ``id``, ``audio``, ``offset_sec``, ``duration_sec``, ``text``, ``domain`` are required; ``source`` (else the
file's name), ``language`` (else en), ``split`` (else train) and ``license`` (else unknown) are optional; others are
ignored. ``audio`` is a path relative to the manifest's folder, which it may not leave, an absolute path, a URL, or a
member of a tar shard (whisper_aut/data/locate.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whisper_aut.constants import DOMAINS, Domain
from whisper_aut.data.locate import AudioSource, locate, malformed_audio
from whisper_aut.errors import ManifestError

REQUIRED = ("id", "audio", "offset_sec", "duration_sec", "text", "domain")
OPTIONAL = ("source", "language", "split", "license")
_NUMBERS = ("offset_sec", "duration_sec")
_MAX_DURATION_SEC = 86_400.0
_REMEDY = "mend the row; `whisper-aut manifest validate FILE` lists every problem"


@dataclass(frozen=True, slots=True)
class Clip:
    """One (audio segment, text) pair: a row of a manifest."""

    id: str
    audio: str
    offset_sec: float
    duration_sec: float
    text: str
    domain: Domain
    source: str
    language: str
    split: str
    license: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one row: ``where`` is ``file:line`` (``file:row`` for Parquet), ``clip_id`` may be empty."""

    where: str
    field: str
    clip_id: str
    message: str

    def __str__(self) -> str:
        clip = f" (clip {self.clip_id})" if self.clip_id else ""
        return f"{self.where}: {self.field}: {self.message}{clip}"


class Manifest:
    """The clips of one file, in the file's order; rows count from 0.

    Attributes:
        path: of the file.
        fingerprint: SHA-256 of the file, in hex: changes with any row.
        table: Arrow table with the columns of ``Clip``.
        duration_sec: float32 [N], of every clip.
    """

    def __init__(self, path: Path, table: pa.Table, lines: npt.NDArray[np.int64], fingerprint: str) -> None:
        self.path, self.table, self.fingerprint = path, table, fingerprint
        with np.errstate(over="ignore"):  # what is too large for float32 is listed as a problem
            self.duration_sec: npt.NDArray[np.float32] = table["duration_sec"].to_numpy().astype(np.float32)
        self._lines = lines
        self._folder = path.parent.resolve()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def clip(self, row: int) -> Clip:
        """The clip in ``row``."""
        return Clip(**{name: self.table[name][row].as_py() for name in REQUIRED + OPTIONAL})

    def where(self, row: int) -> str:
        """``file:line`` of ``row`` (lines count from 1; the row's number for Parquet)."""
        return f"{self.path}:{self._lines[row]}"

    def audio_source(self, row: int) -> AudioSource:
        """Where the clip's audio lies.

        Raises:
            ManifestError: a relative path that a link leads out of the manifest's folder.
        """
        try:
            return locate(self.table["audio"][row].as_py(), self._folder)
        except ManifestError as error:
            what = f"{error.what} (clip {self.table['id'][row].as_py()})"
            raise ManifestError(what, where=self.where(row), remedy=error.remedy) from None


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        ManifestError: the file cannot be read or a row is wrong; file, line, field and clip are named.
    """
    manifest, problems = read_manifest(path)
    if problems:
        first, others = problems[0], len(problems) - 1
        more = f" (and {others} more problem(s))" if others else ""
        clip = f" of clip {first.clip_id}" if first.clip_id else ""
        raise ManifestError(f"{first.field}{clip}: {first.message}{more}", where=first.where, remedy=_REMEDY)
    return manifest


def read_manifest(path: Path) -> tuple[Manifest, list[Problem]]:
    """Read a manifest and list all that is wrong with its rows; rows that cannot be stored at all are left out of it.

    Raises:
        ManifestError: the file as a whole cannot be read.
    """
    try:
        with path.open("rb") as file:
            fingerprint = hashlib.file_digest(file, "sha256").hexdigest()
        if path.suffix == ".jsonl":
            table, lines, problems = _read_jsonl(path)
        elif path.suffix == ".parquet":
            table, lines, problems = _read_parquet(path)
        else:
            raise ManifestError(
                f"a manifest ends in .jsonl or .parquet, not in '{path.suffix}'", where=str(path), remedy="convert it"
            )
    except FileNotFoundError:
        raise ManifestError(
            f"there is no manifest at {path}",
            remedy="check the path; in a recipe it is data.root with data.mixture.*.manifests",
        ) from None
    except IsADirectoryError:
        raise ManifestError(
            "this is a folder", where=str(path), remedy="give the .jsonl or .parquet files in it"
        ) from None
    except UnicodeDecodeError:
        raise ManifestError(
            "the manifest is not UTF-8",
            where=f"{path}:{_line_of_byte(path)}",
            remedy="save it as UTF-8, e.g. iconv -f latin1 -t utf-8 (or -f utf-16)",
        ) from None
    except pa.ArrowException as error:
        raise ManifestError(
            f"the manifest is not a whole Parquet file: {error}", where=str(path), remedy="write or copy it again"
        ) from None
    except OSError as error:
        raise ManifestError(
            f"the manifest cannot be read: {error}", where=str(path), remedy="check the file and its permissions"
        ) from None
    if not len(lines) and not problems:
        raise ManifestError("the manifest has no rows", where=str(path), remedy="remove it from the recipe")
    return Manifest(path, table, lines, fingerprint), problems + list(_check_rows(path, table, lines))


def _line_of_byte(path: Path) -> int:
    """The first line that is not UTF-8, from 1."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _schema() -> pa.Schema:
    return pa.schema([(name, pa.float64() if name in _NUMBERS else pa.large_string()) for name in REQUIRED + OPTIONAL])


def _defaults(path: Path) -> dict[str, str]:
    return {"source": path.stem, "language": "en", "split": "train", "license": "unknown"}


def _read_jsonl(path: Path) -> tuple[pa.Table, npt.NDArray[np.int64], list[Problem]]:
    columns: dict[str, list[Any]] = {name: [] for name in REQUIRED + OPTIONAL}
    lines: list[int] = []
    problems: list[Problem] = []
    defaults = _defaults(path)
    with path.open(encoding="utf-8") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            where = f"{path}:{line}"
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:  # ValueError alone: a number of thousands of digits
                problems.append(Problem(where, "row", "", f"not JSON: {error}"))
                continue
            if not isinstance(row, dict):
                problems.append(Problem(where, "row", "", f"not a JSON object but {type(row).__name__}"))
                continue
            found = list(_check_types(row, where))
            problems += found
            if not found:
                lines.append(line)
                for name, column in columns.items():
                    value = row.get(name)
                    column.append(defaults.get(name) if value is None else value)
    return pa.table(columns, schema=_schema()), np.array(lines, dtype=np.int64), problems


def _check_types(row: dict[str, Any], where: str) -> Iterator[Problem]:
    """Problems that keep a JSON row out of the table: a missing field, or a value of another type."""
    clip_id = row["id"] if isinstance(row.get("id"), str) else ""
    for name in REQUIRED + OPTIONAL:
        value = row.get(name)
        if value is None:
            if name in REQUIRED:
                yield Problem(where, name, clip_id, "is missing")
        elif name in _NUMBERS:
            # JSON's true is a Python int, and an int may be too large for a float.
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or (isinstance(value, int) and abs(value) > 2**53):
                yield Problem(where, name, clip_id, f"must be a number of seconds, found {value!r:.80}")
        elif not isinstance(value, str):
            yield Problem(where, name, clip_id, f"must be text, found {value!r:.80}")
        elif not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            yield Problem(where, name, clip_id, "holds half of a surrogate pair, which is not a character")


def _read_parquet(path: Path) -> tuple[pa.Table, npt.NDArray[np.int64], list[Problem]]:
    present = set(pq.read_schema(path).names)
    missing = [name for name in REQUIRED if name not in present]
    if missing:
        raise ManifestError(f"the manifest has no column {', '.join(missing)}", where=str(path), remedy="add it")
    wanted = [name for name in REQUIRED + OPTIONAL if name in present]
    table = pq.read_table(path, columns=wanted, memory_map=True)
    defaults = _defaults(path)
    columns = []
    for name, data_type in zip(REQUIRED + OPTIONAL, _schema().types, strict=True):
        if name in present:
            try:
                column = table[name].cast(data_type)
            except pa.ArrowException as error:
                raise ManifestError(f"column {name} is not {data_type}: {error}", where=str(path)) from None
            columns.append(pc.fill_null(column, defaults[name]) if name in OPTIONAL else column)
        else:
            columns.append(pa.chunked_array([pa.repeat(pa.scalar(defaults[name], data_type), table.num_rows)]))
    full = pa.table(columns, schema=_schema())
    return full, np.arange(1, full.num_rows + 1, dtype=np.int64), []


def _check_rows(path: Path, table: pa.Table, lines: npt.NDArray[np.int64]) -> Iterator[Problem]:
    """Problems of values, found column by column: 20 million rows pass in seconds."""

    def problem(name: str, row: int, message: str) -> Problem:
        value = table[name][row].as_py()
        shown = f"{value:g}" if isinstance(value, float) else value
        return Problem(f"{path}:{lines[row]}", name, table["id"][row].as_py() or "", message.format(value=shown))

    def problems(name: str, bad: pa.ChunkedArray, message: str) -> Iterator[Problem]:
        for row in np.flatnonzero(pc.fill_null(bad, False).to_numpy()):
            yield problem(name, int(row), message)

    for name in REQUIRED:
        yield from problems(name, pc.is_null(table[name]), "is missing")
    for name in ("id", "audio", "text"):
        yield from problems(name, pc.equal(pc.binary_length(pc.utf8_trim_whitespace(table[name])), 0), "is empty")
    domain, offset_sec, duration_sec = table["domain"], table["offset_sec"], table["duration_sec"]
    unknown = pc.invert(pc.is_in(domain, value_set=pa.array([*DOMAINS, None], pa.large_string())))
    yield from problems("domain", unknown, "'{value}' is none of " + ", ".join(DOMAINS))
    for name in _NUMBERS:
        yield from problems(name, pc.invert(pc.is_finite(table[name])), "{value} is not a finite number of seconds")
    yield from problems("offset_sec", _finite(offset_sec, pc.less(offset_sec, 0)), "{value} s lies before the audio")
    yield from problems("duration_sec", _finite(duration_sec, pc.less_equal(duration_sec, 0)), "{value} s is no length")
    too_long = _finite(duration_sec, pc.greater(duration_sec, _MAX_DURATION_SEC))
    yield from problems("duration_sec", too_long, "{value} s is more than a day; seconds are wanted, not samples")
    first = next((name for name in domain.to_pylist()[:1] if name in DOMAINS), None)
    if first is not None:
        other = pc.and_(pc.is_in(domain, value_set=pa.array(DOMAINS, pa.large_string())), pc.not_equal(domain, first))
        yield from problems(
            "domain", other, f"{{value}} in a manifest that begins with {first}; write one file per domain"
        )
    for row, message in malformed_audio(table["audio"]):
        yield problem("audio", row, message)
    yield from _check_duplicates(path, table, lines)


def _finite(values: pa.ChunkedArray, bad: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.and_(pc.is_finite(values), bad)


def _check_duplicates(path: Path, table: pa.Table, lines: npt.NDArray[np.int64]) -> Iterator[Problem]:
    for row, earlier in duplicate_rows([table["id"]]):
        clip_id = table["id"][row].as_py()
        yield Problem(f"{path}:{lines[row]}", "id", clip_id, f"is the id of line {lines[earlier]} too")


def duplicate_rows(id_columns: Sequence[pa.ChunkedArray]) -> Iterator[tuple[int, int]]:
    """(row, first row with the same id) for every repeated id, rows counted over all columns in turn."""
    ids = pa.chunked_array([chunk for column in id_columns for chunk in column.chunks], pa.large_string())
    if pc.count_distinct(ids).as_py() == len(ids) - ids.null_count:  # no Python object per id in the usual case
        return
    first: dict[str, int] = {}
    for row, clip_id in enumerate(ids.to_pylist()):
        if clip_id is not None and first.setdefault(clip_id, row) != row:
            yield row, first[clip_id]
