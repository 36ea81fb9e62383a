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
    """Rows of ``id, audio, offset_sec, duration_sec, text, lang, speaker, folder``.

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


class _WrongError(Exception):
    pass


def _of_cut(cut: Mapping[str, Any], text_at: str) -> Iterator[dict[str, Any]]:
    kind = cut.get("type", "MonoCut")
    if kind != "MonoCut":
        raise _WrongError(f"a {kind} is not read, a MonoCut is")
    supervisions = cut["supervisions"]
    if not supervisions:
        raise _WrongError("the cut has no supervision")
    for number, supervision in enumerate(supervisions):
        # A supervision's times count from the beginning of its cut, a cut's from that of the recording.
        yield {
            "id": cut["id"] if len(supervisions) == 1 else f"{cut['id']}-{number}",
            "audio": _audio_of(cut["recording"]),
            "offset_sec": float(cut["start"]) + float(supervision["start"]),
            "duration_sec": float(supervision["duration"]),
            **_said(supervision, text_at),
        }


def _of_supervision(
    supervision: Mapping[str, Any], recordings: Mapping[str, str | _WrongError], text_at: str
) -> dict[str, Any]:
    audio = recordings.get(supervision["recording_id"])
    if audio is None:
        raise _WrongError(f"there is no recording '{supervision['recording_id']}'")
    if isinstance(audio, _WrongError):
        raise audio
    return {
        "id": supervision["id"],
        "audio": audio,
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


def _audio_of(recording: Mapping[str, Any]) -> str:
    sources = recording["sources"]
    if len(sources) != 1:
        raise _WrongError(f"the recording has {len(sources)} sources, one is read")
    kind, audio = sources[0]["type"], sources[0]["source"]
    if kind != "file" or not isinstance(audio, str):
        raise _WrongError(f"the recording's source is a {kind}, not a file; commands and addresses are never followed")
    return audio


def _recordings(pattern: str, root: Path) -> dict[str, str | _WrongError]:
    found: dict[str, str | _WrongError] = {}
    for path in find_files(root, pattern):
        for row in read_json_lines(path):
            if isinstance(row, Reject):
                raise SourceError(row.reason, where=row.where, remedy="write the recordings again")
            try:
                found[row.columns["id"]] = _audio_of(row.columns)
            except _WrongError as error:
                found[row.columns["id"]] = error
            except (KeyError, TypeError, IndexError) as error:
                raise SourceError(
                    f"not as Lhotse writes a recording: {error!r}", where=row.where, remedy="write them again"
                ) from None
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
