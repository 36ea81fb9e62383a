"""The two sides of a check: rows of training manifests, read as a stream, and the clips of evaluation tasks.

Only audio matters here, so a row needs an id and an audio file; where it names no segment, the whole file is meant.
Manifests are read twice, to count and to listen, and never held: twenty million rows are looked at in little memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from whisper_aut.data.audio import read_waveform
from whisper_aut.data.channels import CHANNEL, CHANNEL_LISTS, Channels, parse_channel
from whisper_aut.data.locate import AudioSource, locate
from whisper_aut.data.manifest_stream import moved_audio, read_pieces, read_schema, whole_manifest
from whisper_aut.errors import ManifestError
from whisper_aut.files import real_path
from whisper_aut.leakage.ids import recording_ids
from whisper_aut.leakage.landmarks import Floats
from whisper_aut.probe.tasks.labelled import Task

_REQUIRED = ("id", "audio")
_SCHEMA = pa.schema(
    [(name, pa.float64() if name.endswith("_sec") else pa.string())
     for name in (*_REQUIRED, "offset_sec", "duration_sec", "source")]
    + [(CHANNEL, CHANNEL_LISTS)]
)  # fmt: skip


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
    channels: Channels = ()

    def read(self) -> Floats:
        """Its samples [S] at 16 kHz.

        Raises:
            AudioError: it cannot be read, or is over the limits.
        """
        return read_waveform(
            self.audio,
            offset_sec=self.offset_sec,
            duration_sec=self.duration_sec,
            clip_id=self.id,
            channels=self.channels,
        )


def task_segments(tasks: Sequence[Task]) -> list[Segment]:
    """Every clip of the tasks, in order."""
    return [
        Segment(
            task.name, row, clip.id, clip.audio, clip.offset_sec, clip.duration_sec,
            recording_ids(clip.id, str(clip.audio), corpus=task.name), clip.channels,
        )
        for task in tasks
        for row, clip in enumerate(task.clips)
    ]  # fmt: skip


def count_rows(path: Path) -> int:
    """Rows of a manifest, every one checked, so that nothing is refused after hours of listening.

    Raises:
        ManifestError: it cannot be read, has none, a row has no id, no audio or a segment that is none, or the rows
            could not be written again.
    """
    count = sum(1 for _ in manifest_segments(path))
    if not count:
        raise ManifestError("the manifest has no rows", where=str(path), remedy="leave it out")
    read_schema(path, _REQUIRED)
    return count


def manifest_segments(path: Path) -> Iterator[Segment]:
    """The clips of a training manifest, JSONL or Parquet, in order.

    Raises:
        ManifestError: it cannot be read, or a row has no id, no audio or a segment that is none.
    """
    folder = real_path(path.parent)
    for piece in read_pieces(path, _SCHEMA):
        for index, row in enumerate(piece.table.to_pylist()):
            yield _segment(path, piece.first - 1 + index, row, piece.where(index), folder)


def write_without(path: Path, dropped: set[int], out: Path) -> None:
    """A copy of a manifest without the rows of the given numbers; all columns stay.

    Where the copy lies in another folder, relative paths of audio become absolute.

    Raises:
        ManifestError: it cannot be read or written.
    """
    schema = read_schema(path, _REQUIRED)
    with whole_manifest(out, schema) as writer:
        for piece in read_pieces(path, schema):
            kept = [piece.first - 1 + index not in dropped for index in range(len(piece.table))]
            writer.write(moved_audio(piece, out.parent).filter(pa.array(kept, pa.bool_())))


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
        channels=_channels(row.get(CHANNEL), where),
    )


def _channels(value: Any, where: str) -> Channels:
    try:
        return parse_channel(value)
    except ValueError as error:
        raise ManifestError(f"{CHANNEL} {error}", where=where, remedy="mend the row") from None


def _seconds(value: Any, name: str, where: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 <= value < 1e7:
        raise ManifestError(f"{name} must be seconds, found {value!r:.80}", where=where, remedy="mend the row")
    return float(value)
