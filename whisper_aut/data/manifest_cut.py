"""Long clips cut where their text can be cut with them: at the timed segments of a transcript, never in one.

A column ``segments`` holds a clip's text in parts, ``[{"start_sec": 0.0, "end_sec": 2.5, "text": "..."}, ...]`` (a
list, or its JSON), in seconds from the clip's own begin; ``start`` and ``end``, as Whisper writes them, and
``timestamp``, a pair, as pipelines do, are read too. Audio cut under a whole text teaches a model to invent.

Aligners let segments overlap by some milliseconds: up to ``MAX_OVERLAP_SEC`` both keep their whole audio, and the
report counts them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from whisper_aut.data.containers.layout import SHORT_BY_SEC
from whisper_aut.data.json_lines import load_json
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
MAX_OVERLAP_SEC = 0.1  # of segments that follow one another: less than a syllable
_NUM_NAMED = 5
_OVERLAP = "longer, with segments that overlap"
_LEAVES = "longer, with segments that leave the clip"
_NONE = "longer, with segments that are no segments"
_ROUNDING_SEC = 1e-6


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
        num_overlaps: segments of cut rows that begin a little before the one before them ends.
        dropped: rows, and segments of cut rows, that are in it no longer, by reason.
        named: where the first of them stand, by reason.
        causes: of some of those places, the segment and what is wrong with it.
    """

    kept: ManifestCounts = field(default_factory=ManifestCounts)
    num_cut: int = 0
    num_overlaps: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)
    causes: dict[str, str] = field(default_factory=dict)

    def drop(self, reason: str, where: str, count: int = 1, *, cause: str = "") -> None:
        """Count what is left out of the row at ``where``."""
        if count:
            self.dropped[reason] += count
            if len(named := self.named.setdefault(reason, [])) < _NUM_NAMED:
                named.append(where)
                if cause:
                    self.causes[where] = cause

    def shown(self, reason: str) -> list[str]:
        """Return the places named for a reason, each with its cause where that is known."""
        return [f"{where}: {self.causes[where]}" if where in self.causes else where for where in self.named[reason]]


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
            raise _nothing_kept(path, report)
    return report


def _cut(row: dict[str, Any], where: str, max_sec: float, report: CutReport) -> list[dict[str, Any]]:
    """Rows of the pieces, ``ID-0``, ``ID-1`` and so on."""
    if row.get(SEGMENTS) in (None, "", []):
        report.drop("longer, without segments", where)
        return []
    try:
        segments, num_overlaps = _segments(row[SEGMENTS], row["duration_sec"])
    except _WrongError as error:
        report.drop(error.reason, where, cause=str(error))
        return []
    report.num_overlaps += num_overlaps
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


class _WrongError(ValueError):
    """Segments that cannot be cut at; the message names the segment and the cause."""

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(what)
        self.reason = reason


def _segments(given: Any, duration_sec: float) -> tuple[list[_Segment], int]:
    """The segments without those of an empty text, in order, and how many begin before the one before them ends.

    Raises:
        _WrongError: they are not what they should be.
    """
    try:
        found = load_json(given) if isinstance(given, str) else given
    except ValueError as error:
        raise _WrongError(_NONE, str(error)) from None
    if not isinstance(found, list):
        raise _WrongError(_NONE, f"{SEGMENTS} is a {type(found).__name__}, not a list")
    segments = [_segment(number, one) for number, one in enumerate(found)]
    start_sec = end_sec = 0.0
    num_overlaps = 0
    for number, segment in enumerate(segments):
        shown = f"segment {number} ({segment.start_sec:g} to {segment.end_sec:g} s)"
        if not (math.isfinite(segment.end_sec) and 0 <= segment.start_sec < segment.end_sec):
            raise _WrongError(_NONE, f"{shown} is no stretch of time")
        if segment.start_sec < start_sec:
            raise _WrongError(_OVERLAP, f"{shown} begins before the segment that stands before it")
        overlap_sec = end_sec - segment.start_sec
        if overlap_sec > MAX_OVERLAP_SEC + _ROUNDING_SEC:
            raise _WrongError(_OVERLAP, f"{shown} begins {overlap_sec:.2f} s before the end of the one before it")
        num_overlaps += overlap_sec > _ROUNDING_SEC
        start_sec, end_sec = segment.start_sec, max(end_sec, segment.end_sec)
        if end_sec > duration_sec + SHORT_BY_SEC:
            raise _WrongError(_LEAVES, f"{shown} ends after the clip, which lasts {duration_sec:g} s")
    return [segment for segment in segments if segment.text != ""], num_overlaps


def _segment(number: int, one: Any) -> _Segment:
    """A segment under any of the names that its times have.

    Raises:
        _WrongError: a name is missing, or a value is of another kind.
    """
    if not isinstance(one, dict):
        raise _WrongError(_NONE, f"segment {number} is a {type(one).__name__}, not an object")
    pair = one.get("timestamp")
    times = dict(zip(("start_sec", "end_sec"), pair, strict=False)) if isinstance(pair, list | tuple) else {}
    for name, other in (("start_sec", "start"), ("end_sec", "end")):
        value = next((one[key] for key in (name, other) if one.get(key) is not None), times.get(name))
        if isinstance(value, bool) or not isinstance(value, int | float):
            found = ", ".join(map(str, one)) or "nothing"
            raise _WrongError(_NONE, f"segment {number} has no {name} (or {other}) in seconds; it has {found}")
        times[name] = float(value)
    text = one.get("text")
    if "text" not in one or not (text is None or isinstance(text, str)):
        raise _WrongError(_NONE, f"segment {number} has no text")
    return _Segment(times["start_sec"], times["end_sec"], None if text is None else text.strip())


def _nothing_kept(path: Path, report: CutReport) -> ManifestError:
    why = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items()) or "it is empty"
    first = report.shown(next(iter(report.dropped)))[0] if report.dropped else str(path)
    too_long = set(report.dropped) == {"segments longer by themselves"}
    remedy = "give a larger --max-sec" if too_long else "mend the segments; the first row that cannot be cut is named"
    return ManifestError(f"no row is kept: {why}", where=first, remedy=remedy)
