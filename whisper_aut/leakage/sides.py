"""The two sides of a check: rows of training manifests, read as a stream, and the clips of evaluation tasks.

Only audio matters here, so a row needs an id and an audio file; where it names no segment, the whole file is meant.
Manifests are read twice, to count and to listen, and never held: twenty million rows are looked at in little memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from whisper_aut.data.audio import read_waveform
from whisper_aut.data.locate import AudioSource, is_url, locate
from whisper_aut.data.manifest_file import readable
from whisper_aut.errors import ManifestError
from whisper_aut.files import whole_file
from whisper_aut.leakage.ids import recording_ids
from whisper_aut.leakage.landmarks import Floats
from whisper_aut.probe.tasks.labelled import Task

_COLUMNS = ("id", "audio", "offset_sec", "duration_sec", "source")
_REQUIRED = ("id", "audio")
_BATCH_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Segment:
    """One clip of either side: a piece of an audio file.

    Attributes:
        side: the training manifest's path, or the evaluation task's name.
        row: its number in the side, from 0.
        duration_sec: None for all that follows the offset.
        recordings: ids of the recording that names tell, see :func:`recording_ids`.
    """

    side: str
    row: int
    id: str
    audio: AudioSource
    offset_sec: float
    duration_sec: float | None
    recordings: frozenset[str]

    def read(self) -> Floats:
        """Its samples [S] at 16 kHz.

        Raises:
            AudioError: it cannot be read, or is over the limits.
        """
        return read_waveform(self.audio, offset_sec=self.offset_sec, duration_sec=self.duration_sec, clip_id=self.id)


def task_segments(tasks: Sequence[Task]) -> list[Segment]:
    """Every clip of the tasks, in order."""
    return [
        Segment(
            task.name, row, clip.id, clip.audio, clip.offset_sec, clip.duration_sec,
            recording_ids(clip.id, str(clip.audio), corpus=task.name),
        )
        for task in tasks
        for row, clip in enumerate(task.clips)
    ]  # fmt: skip


def count_rows(path: Path) -> int:
    """Rows of a manifest, every one checked.

    Raises:
        ManifestError: it cannot be read, has none, or a row has no id, no audio or a segment that is none.
    """
    count = sum(1 for _ in manifest_segments(path))
    if not count:
        raise ManifestError("the manifest has no rows", where=str(path), remedy="leave it out")
    return count


def manifest_segments(path: Path) -> Iterator[Segment]:
    """The clips of a training manifest, JSONL or Parquet, in order.

    Raises:
        ManifestError: as :func:`count_rows`.
    """
    folder = path.parent.resolve()
    with readable(path):
        for number, (where, row) in enumerate(_jsonl_rows(path) if path.suffix == ".jsonl" else _parquet_rows(path)):
            yield _segment(path, number, row, where, folder)


def write_without(path: Path, dropped: set[int], out: Path) -> None:
    """A copy of a manifest without the rows of the given numbers; all columns stay.

    Where the copy lies in another folder, relative paths of audio become absolute.
    """
    folder = path.parent.resolve()
    moved = out.parent.resolve() != folder

    def place(audio: str) -> str:
        return str(folder / audio) if moved and not is_url(audio) else audio

    with whole_file(out) as file:
        if path.suffix == ".jsonl":
            kept = (row for number, (_, row) in enumerate(_jsonl_rows(path)) if number not in dropped)
            for row in kept:
                file.write(json.dumps(row | {"audio": place(row["audio"])}, ensure_ascii=False).encode() + b"\n")
        else:
            _write_parquet(path, dropped, file, place)


def _jsonl_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for line, text in enumerate(file, start=1):
            if text.strip():
                where = f"{path}:{line}"
                try:
                    row = json.loads(text)
                except (ValueError, RecursionError) as error:
                    raise ManifestError(f"not JSON: {error}", where=where, remedy="mend the row") from None
                if not isinstance(row, dict):
                    raise ManifestError("not a JSON object", where=where, remedy="mend the row")
                yield where, row


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with pq.ParquetFile(path) as file:
        wanted = [name for name in _COLUMNS if name in file.schema_arrow.names]
        number = 0
        for batch in file.iter_batches(_BATCH_ROWS, columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}:{number}", row


def _segment(path: Path, number: int, row: dict[str, Any], where: str, folder: Path) -> Segment:
    for name in _REQUIRED:
        if not isinstance(row.get(name), str) or not row[name]:
            raise ManifestError(f"{name} must be text, found {row.get(name)!r:.80}", where=where, remedy="mend the row")
    source = row.get("source")
    try:
        audio = locate(row["audio"], folder)
    except ManifestError as error:
        raise ManifestError(f"{error.what} (clip {row['id']})", where=where, remedy=error.remedy) from None
    offset_sec, duration_sec = row.get("offset_sec"), row.get("duration_sec")
    return Segment(
        side=str(path),
        row=number,
        id=row["id"],
        audio=audio,
        offset_sec=0.0 if offset_sec is None else _seconds(offset_sec, "offset_sec", where),
        duration_sec=None if duration_sec is None else _seconds(duration_sec, "duration_sec", where),
        recordings=recording_ids(row["id"], row["audio"], corpus=source if isinstance(source, str) else ""),
    )


def _seconds(value: Any, name: str, where: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 <= value < 1e7:
        raise ManifestError(f"{name} must be seconds, found {value!r:.80}", where=where, remedy="mend the row")
    return float(value)


def _write_parquet(path: Path, dropped: set[int], file: Any, place: Callable[[str], str]) -> None:
    with pq.ParquetFile(path) as source, pq.ParquetWriter(file, source.schema_arrow) as writer:
        number = 0
        for batch in source.iter_batches(_BATCH_ROWS):
            keep = [number + row not in dropped for row in range(batch.num_rows)]
            number += batch.num_rows
            table = pa.Table.from_batches([batch]).filter(pa.array(keep))
            column = table.schema.get_field_index("audio")
            field = table.schema.field(column)
            audio = pa.array([place(value) for value in table["audio"].to_pylist()], field.type)
            writer.write_table(table.set_column(column, field, audio))
