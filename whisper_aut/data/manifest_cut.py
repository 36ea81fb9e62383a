"""Long clips cut where their text can be cut with them: at the timed segments of a transcript, never in one.

A column ``segments`` holds a clip's text in parts, ``[{"start_sec": 0.0, "end_sec": 2.5, "text": "..."}, ...]`` (a
list, or its JSON), in seconds from the clip's own begin. Audio cut under a whole text teaches a model to invent.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from whisper_aut.data.containers.layout import SHORT_BY_SEC
from whisper_aut.data.manifest_counts import ManifestCounts
from whisper_aut.data.manifest_file import check_suffix
from whisper_aut.data.manifest_stream import (
    manifest_columns,
    moved_audio,
    read_pieces,
    read_schema,
    whole_manifest,
)
from whisper_aut.data.outputs import check_output
from whisper_aut.data.row_checks import REQUIRED
from whisper_aut.errors import ManifestError

SEGMENTS = "segments"
_NUM_NAMED = 5


@dataclass(frozen=True, slots=True)
class _Segment:
    start_sec: float
    end_sec: float
    text: str | None  # None: said by nobody, not nothing said


@dataclass
class CutReport:
    """What became of the rows.

    Attributes:
        kept: what the new manifest holds.
        num_cut: long rows that were cut.
        dropped: rows, and segments of cut rows, that are in it no longer, by reason.
        named: where the first of them stand, by reason.
    """

    kept: ManifestCounts = field(default_factory=ManifestCounts)
    num_cut: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)

    def drop(self, reason: str, where: str, count: int = 1) -> None:
        """Count what is left out of the row at ``where``."""
        if count:
            self.dropped[reason] += count
            if len(named := self.named.setdefault(reason, [])) < _NUM_NAMED:
                named.append(where)


def cut_manifest(path: Path, out: Path, *, max_sec: float) -> CutReport:
    """Write the rows of ``path`` to ``out``, those longer than ``max_sec`` in pieces of whole segments.

    Segments that follow one another are joined while they fit. A long row without segments that can be used is left
    out with its text, and so is a segment that is too long by itself.

    Raises:
        ManifestError: a file cannot be read or written, ``out`` is ``path``, there is no column ``segments``, or
            nothing is left.
    """
    check_suffix(out)
    check_output(out, [path])
    if not (math.isfinite(max_sec) and max_sec > 0):
        raise ManifestError(f"{max_sec} s is no length of a clip", remedy="give --max-sec in seconds")
    schema = read_schema(path, (*REQUIRED, SEGMENTS))
    schema = pa.schema([schema.field(name) for name in manifest_columns(schema)])
    report = CutReport()
    with whole_manifest(out, schema) as writer:
        for piece in read_pieces(path, schema):
            rows: list[dict[str, Any]] = []
            for index, row in enumerate(moved_audio(piece, out.parent).to_pylist()):
                if row["duration_sec"] is None or row["offset_sec"] is None or not isinstance(row["id"], str):
                    raise ManifestError(
                        "id, offset_sec or duration_sec is missing", where=piece.where(index), remedy="mend the row"
                    )
                where = f"{piece.where(index)} (clip {row['id']})"
                rows += _cut(row, where, max_sec, report) if row["duration_sec"] > max_sec else [row]
            table = pa.Table.from_pylist(rows, schema=schema)
            report.kept.add(table)
            writer.write(table)
        if not report.kept.clips:
            why = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items()) or "it is empty"
            raise ManifestError(f"no row is kept: {why}", where=str(path), remedy="give a larger --max-sec")
    return report


def _cut(row: dict[str, Any], where: str, max_sec: float, report: CutReport) -> list[dict[str, Any]]:
    """Rows of the pieces, ``ID-0``, ``ID-1`` and so on."""
    if row.get(SEGMENTS) in (None, "", []):
        report.drop("longer, without segments", where)
        return []
    segments = _segments(row[SEGMENTS], row["duration_sec"])
    if segments is None:
        report.drop("longer, with segments that overlap, leave the clip or are no segments", where)
        return []
    told = [segment for segment in segments if segment.text is not None]
    fitting = [segment for segment in told if segment.end_sec - segment.start_sec <= max_sec]
    report.drop("segments whose text is null", where, len(segments) - len(told))
    report.drop("segments longer by themselves", where, len(told) - len(fitting))
    report.num_cut += 1
    return [
        row
        | {
            "id": f"{row['id']}-{number}",
            "offset_sec": row["offset_sec"] + part[0].start_sec,
            "duration_sec": part[-1].end_sec - part[0].start_sec,
            "text": " ".join(segment.text or "" for segment in part),
            SEGMENTS: None,
        }
        for number, part in enumerate(_joined(fitting, segments, max_sec))
    ]


def _joined(fitting: Sequence[_Segment], segments: Sequence[_Segment], max_sec: float) -> Iterator[list[_Segment]]:
    """Segments side by side that last ``max_sec`` at most; what was left out is never in the middle of a piece."""
    places = {id(segment): place for place, segment in enumerate(segments)}
    part: list[_Segment] = []
    for segment in fitting:
        follows = bool(part) and places[id(segment)] == places[id(part[-1])] + 1
        if part and (not follows or segment.end_sec - part[0].start_sec > max_sec):
            yield part
            part = []
        part.append(segment)
    if part:
        yield part


def _segments(given: Any, duration_sec: float) -> list[_Segment] | None:
    """The segments without those of an empty text, in order; None where they are not what they should be."""
    try:
        found = json.loads(given) if isinstance(given, str) else given
        segments = [_Segment(float(one["start_sec"]), float(one["end_sec"]), _text(one["text"])) for one in found]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    before_sec = 0.0
    for segment in segments:
        if not (math.isfinite(segment.end_sec) and before_sec <= segment.start_sec < segment.end_sec):
            return None
        before_sec = segment.end_sec
    if before_sec > duration_sec + SHORT_BY_SEC:
        return None
    return [segment for segment in segments if segment.text != ""]


def _text(given: Any) -> str | None:
    if given is not None and not isinstance(given, str):
        raise TypeError(given)
    return None if given is None else given.strip()
