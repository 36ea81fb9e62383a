"""Lhotse's cuts, or supervisions beside recordings: one clip for each supervision; commands are never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from whisper_aut.data.sources.folders import read_json_lines
from whisper_aut.data.sources.paths import find_files
from whisper_aut.data.sources.rows import Reject, Row
from whisper_aut.data.sources.spec import Files, LhotseRead
from whisper_aut.errors import SourceError


def lhotse_rows(read: LhotseRead, split: list[Files], root: Path) -> Iterator[Row | Reject]:
    """Rows of ``id, audio, offset_sec, duration_sec, channel, num_channels, text, lang, speaker, folder``.

    Raises:
        SourceError: a list is missing or cannot be read.
    """
    recordings = _recordings(read.recordings, root) if read.recordings else None
    for files in split:
        for path in [path for pattern in files.files for path in find_files(root, pattern)]:
            fixed = {"folder": str(path.parent.relative_to(root)), **files.set}
            for row in read_json_lines(path):
                if isinstance(row, Reject):
                    yield row
                    continue
                try:
                    if recordings is None:
                        found = list(_of_cut(row.columns, read.text))
                    else:
                        found = [_of_supervision(row.columns, recordings, read.text)]
                except _WrongError as error:
                    yield Reject(row.where, _text(row.columns.get("id")), str(error))
                except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
                    what = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else str(error)
                    yield Reject(row.where, _text(row.columns.get("id")), f"not as Lhotse writes it: {what}")
                else:
                    yield from (Row({**columns, **fixed}, row.where) for columns in found)


# Transforms that change nothing here: everything is resampled anyhow. Speed and Tempo move time, the others change what
# is heard; a manifest that names the file as it is would have other audio under the text than its maker.
_HARMLESS = ("Resample",)


class _WrongError(Exception):
    pass


def _of_cut(cut: Mapping[str, Any], text_at: str) -> Iterator[dict[str, Any]]:
    kind = cut.get("type", "MonoCut")
    if kind not in ("MonoCut", "MultiCut"):
        raise _WrongError(f"a {kind} is not read, a MonoCut or a MultiCut is")
    supervisions = cut["supervisions"]
    if not supervisions:
        raise _WrongError("the cut has no supervision")
    for number, supervision in enumerate(supervisions):
        wanted = _channels(cut.get("channel"))
        own = _channels(supervision.get("channel")) or wanted
        if wanted and not set(own) <= set(wanted):
            raise _WrongError(f"the supervision is of channel {_said_of(own)}, the cut of {_said_of(wanted)}")
        # A supervision's times count from the beginning of its cut, a cut's from that of the recording.
        yield {
            "id": cut["id"] if len(supervisions) == 1 else f"{cut['id']}-{number}",
            **_audio_of(cut["recording"], own),
            "offset_sec": float(cut["start"]) + float(supervision["start"]),
            "duration_sec": float(supervision["duration"]),
            **_said(supervision, text_at),
        }


def _of_supervision(
    supervision: Mapping[str, Any], recordings: Mapping[str, Mapping[str, Any]], text_at: str
) -> dict[str, Any]:
    recording = recordings.get(supervision["recording_id"])
    if recording is None:
        raise _WrongError(f"there is no recording '{supervision['recording_id']}'")
    return {
        "id": supervision["id"],
        **_audio_of(recording, _channels(supervision.get("channel"))),
        "offset_sec": float(supervision["start"]),
        "duration_sec": float(supervision["duration"]),
        **_said(supervision, text_at),
    }


def _said(supervision: Mapping[str, Any], text_at: str) -> dict[str, Any]:
    found: Any = supervision
    for key in text_at.split("."):
        found = found[int(key)] if isinstance(found, list) else found[key]
    return {
        "text": found,
        "lang": supervision.get("language") or "",
        "speaker": supervision.get("speaker") or "",
    }


def _channels(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _said_of(channels: list[Any]) -> str:
    return ", ".join(map(str, channels))


def _audio_of(recording: Mapping[str, Any], wanted: list[Any]) -> dict[str, Any]:
    """Columns that say which channels of which file: a recording may have a file for each of its channels."""
    changes = [_name_of(change) for change in recording.get("transforms") or ()]
    if changed := [name for name in changes if name not in _HARMLESS]:
        raise _WrongError(
            f"the recording is changed by {', '.join(changed)}, which is not done here: save it as a file"
        )
    holding = [source for source in recording["sources"] if set(wanted) <= set(source["channels"])]
    if not wanted and len(recording["sources"]) != 1:
        raise _WrongError(f"the recording has {len(recording['sources'])} sources, and the row names no channel")
    if not holding:
        known = [channel for source in recording["sources"] for channel in source["channels"]]
        missing = [channel for channel in wanted if channel not in known]
        raise _WrongError(
            f"there is no channel {_said_of(missing)}; the recording has {_said_of(known)}"
            if missing
            else f"channels {_said_of(wanted)} lie in several files, which are not mixed"
        )
    kind, audio, channels = holding[0]["type"], holding[0]["source"], list(holding[0]["channels"])
    if kind != "file" or not isinstance(audio, str):
        raise _WrongError(f"the recording's source is a {kind}, not a file; commands and addresses are never followed")
    # Lhotse names channels; in the file they stand in the order of the list.
    return {
        "audio": audio,
        "channel": [channels.index(channel) for channel in wanted] or None,
        "num_channels": len(channels),
    }


def _name_of(change: Any) -> str:
    """Of one transform: a name beside its arguments, or an object that has a type."""
    found = change.get("name") or change.get("type") if isinstance(change, dict) else None
    return str(found or type(change).__name__)


def _recordings(pattern: str, root: Path) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for path in find_files(root, pattern):
        for row in read_json_lines(path):
            if isinstance(row, Reject):
                raise SourceError(row.reason, where=row.where, remedy="write the recordings again")
            if not isinstance(row.columns.get("id"), str) or not isinstance(row.columns.get("sources"), list):
                what = "not as Lhotse writes a recording: 'id' or 'sources' is missing"
                raise SourceError(what, where=row.where, remedy="write them again")
            kept = ("id", "sources", "transforms")
            found[row.columns["id"]] = {name: row.columns[name] for name in kept if name in row.columns}
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
