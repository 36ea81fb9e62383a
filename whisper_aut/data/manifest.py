"""A manifest: a table of clips, JSONL or Parquet, checked row by row before anything uses it.

Columns: ``id``, ``audio``, ``offset_sec``, ``duration_sec``, ``text``, ``domain`` are required; ``source`` (else the
file's name), ``language`` (else en), ``split`` (else train), ``license`` (else unknown) and ``channel`` (else all of
them, mixed) are optional; others are ignored.

``audio`` is a path relative to the manifest's folder, which it may not leave, an absolute path, a URL, or a
member of a tar shard (whisper_aut/data/locate.py).

A large manifest is read and checked once; its columns are kept in a cache and mapped from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from whisper_aut.constants import Domain
from whisper_aut.data.channels import CHANNEL, Channels, from_text
from whisper_aut.data.clip_table import CODED, ClipTable, TableWriter
from whisper_aut.data.locate import AudioSource, locate
from whisper_aut.data.row_checks import Problem
from whisper_aut.data.rows import stream_rows
from whisper_aut.data.table_cache import cached_table, working_folder
from whisper_aut.errors import ManifestError
from whisper_aut.files import file_sha256, real_path

# A smaller file is read again in about a second.
CACHED_FROM_BYTES = 64 * 2**20  # of JSONL
CACHED_FROM_ROWS = 200_000  # of Parquet, whose bytes tell little of its rows
_CLIPS_AT_ONCE = 65_536
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
    channels: Channels = ()  # of the file that are mixed; none: all


class Manifest:
    """The clips of one file, in the file's order; rows count from 0.

    Attributes:
        path: of the file.
        table: the clips as columns.
        fingerprint: SHA-256 of the file, in hex: changes with any row.
    """

    def __init__(self, path: Path, table: ClipTable) -> None:
        self.path, self.table, self.fingerprint = path, table, table.fingerprint
        self._folder = real_path(path.parent)

    def __len__(self) -> int:
        return len(self.table)

    def clip(self, row: int) -> Clip:
        """The clip in ``row``."""
        texts = {name: self.table.texts[name][row].as_py() for name in self.table.texts.column_names}
        coded = {name: self.table.values[name][self.table.numbers[name][row]] for name in CODED}
        return Clip(**texts, **coded, channels=self.channels(row))

    def channels(self, row: int) -> Channels:
        """The channels that ``row`` names; none where it is the mix of all."""
        codes = self.table.numbers.get(CHANNEL)
        return () if codes is None else from_text(self.table.values[CHANNEL][codes[row]])

    def clips(self) -> Iterator[Clip]:
        """All clips in order, many rows at once out of their columns."""
        first = 0
        for batch in self.table.texts.to_batches(_CLIPS_AT_ONCE):
            texts = [batch.column(name).to_pylist() for name in batch.schema.names]
            stop = first + batch.num_rows
            coded = [
                [self.table.values[name][code] for code in self.table.numbers[name][first:stop].tolist()]
                for name in CODED
            ]
            names = (*batch.schema.names, *CODED, "channels")
            coded.append([self.channels(row) for row in range(first, stop)])
            yield from (Clip(**dict(zip(names, row, strict=True))) for row in zip(*texts, *coded, strict=True))
            first = stop

    def id(self, row: int) -> str:
        """Id of the clip in ``row``."""
        return str(self.table.texts["id"][row].as_py())

    def where(self, row: int) -> str:
        """``file:line`` of ``row`` (lines count from 1; the row's number for Parquet)."""
        return f"{self.path}:{self.table.numbers['line'][row]}"

    def audio_source(self, row: int) -> AudioSource:
        """Where the clip's audio lies.

        Raises:
            ManifestError: a relative path that a link leads out of the manifest's folder.
        """
        try:
            return locate(self.table.texts["audio"][row].as_py(), self._folder)
        except ManifestError as error:
            raise ManifestError(
                f"{error.what} (clip {self.id(row)})", where=self.where(row), remedy=error.remedy
            ) from None


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest, or map what an earlier check of the same file has kept.

    Raises:
        ManifestError: the file cannot be read or a row is wrong; file, line, field and clip are named.
    """
    if _is_large(path):
        return Manifest(path, cached_table(path, lambda folder, origin: _sound_table(path, folder, origin)))
    return Manifest(path, _sound_table(path, None, None))


def read_manifest(path: Path) -> tuple[Manifest, list[Problem]]:
    """Read a manifest and list all that is wrong with its rows; rows that cannot be stored at all are left out of it.

    Raises:
        ManifestError: the file as a whole cannot be read.
    """
    if not _is_large(path):
        table, problems = _read(path, None, None, strict=True)
        return Manifest(path, table), problems
    with working_folder() as folder:  # gone at once; what is mapped from it stays
        table, problems = _read(path, folder, None, strict=True)
    return Manifest(path, table), problems


def _is_large(path: Path) -> bool:
    try:
        if path.suffix == ".parquet":
            return path.is_file() and pq.read_metadata(path).num_rows >= CACHED_FROM_ROWS
        return path.is_file() and path.stat().st_size >= CACHED_FROM_BYTES
    except (OSError, pa.ArrowException):
        return False  # said when it is opened, with what is the matter


def _sound_table(path: Path, folder: Path | None, origin: dict[str, Any] | None) -> ClipTable:
    table, problems = _read(path, folder, origin)
    if problems:
        first, others = problems[0], len(problems) - 1
        more = f" (and {others} more problem(s))" if others else ""
        clip = f" of clip {first.clip_id}" if first.clip_id else ""
        raise ManifestError(f"{first.field}{clip}: {first.message}{more}", where=first.where, remedy=_REMEDY)
    return table


def _read(
    path: Path, folder: Path | None, origin: dict[str, Any] | None, *, strict: bool = False
) -> tuple[ClipTable, list[Problem]]:
    problems: list[Problem] = []
    writer = TableWriter(folder)
    try:
        for rows in stream_rows(path, strict=strict):
            problems += rows.problems
            writer.add(rows.batch, rows.lines, rows.channels)
        table = writer.finish(file_sha256(path), origin)
    finally:
        writer.close()
    if not len(table) and not problems:
        raise ManifestError("the manifest has no rows", where=str(path), remedy="remove it from the recipe")
    for (manifest, row), (_, earlier) in duplicates([Manifest(path, table)]):
        line = table.numbers["line"][earlier]
        problems.append(Problem(manifest.where(row), "id", manifest.id(row), f"is the id of line {line} too"))
    return table, problems


Place = tuple[Manifest, int]  # and a row of it


def duplicates(manifests: Sequence[Manifest]) -> Iterator[tuple[Place, Place]]:
    """(place, first place with the same id) of every repeated id, in the order of manifests and rows."""
    hashes = np.concatenate([manifest.table.numbers["id_hash"] for manifest in manifests])
    ordered = np.sort(hashes)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    del hashes, ordered
    if not len(repeated):
        return
    first: dict[str, Place] = {}
    for manifest in manifests:
        # Of the same hash: nearly always the same id.
        for row in np.flatnonzero(np.isin(manifest.table.numbers["id_hash"], repeated)).tolist():
            place = (manifest, row)
            if (clip_id := manifest.id(row)) and first.setdefault(clip_id, place) is not place:
                yield place, first[clip_id]
