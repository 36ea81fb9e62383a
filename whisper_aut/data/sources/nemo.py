"""NeMo's manifests: JSON lines of audio_filepath, duration, text, and offset, channel, lang where they are given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from whisper_aut.data.sources.folders import read_json_lines
from whisper_aut.data.sources.paths import find_files
from whisper_aut.data.sources.rows import Reject, Row
from whisper_aut.data.sources.spec import Files
from whisper_aut.errors import SourceError


def nemo_rows(split: list[Files], root: Path) -> Iterator[Row | Reject]:
    """Rows with the manifest's own keys and ``id, audio, offset_sec, duration_sec, channel, text, lang, folder``.

    NeMo has no ids: a row's is its audio file, with its offset and its channel where those are given.

    Raises:
        SourceError: a manifest is missing or cannot be read.
    """
    for files in split:
        for path in [path for pattern in files.files for path in find_files(root, pattern)]:
            folder = str(path.parent.relative_to(root))
            for row in read_json_lines(path):
                if isinstance(row, Reject):
                    yield row
                    continue
                audio = row.columns.get("audio_filepath")
                if not isinstance(audio, str):
                    yield Reject(row.where, "", f"audio_filepath is {audio!r:.80}, not a path")
                    continue
                offset_sec = row.columns.get("offset")
                channel = row.columns.get("channel", row.columns.get("channel_selector"))
                yield Row(
                    {
                        "lang": "",
                        **row.columns,
                        "id": audio
                        + ("" if offset_sec is None else f"@{offset_sec}")
                        + ("" if channel is None else f"#{channel}"),
                        "channel": channel,
                        "audio": audio,
                        "offset_sec": offset_sec,
                        "duration_sec": row.columns.get("duration"),
                        "text": row.columns.get("text"),
                        "folder": folder,
                        **files.set,
                    },
                    row.where,
                )


def refuse_other_keys(split: list[Files]) -> None:
    """``keep`` needs columns that are the same in every row.

    Raises:
        SourceError: it is given for a reader that has none.
    """
    if any(files.keep for files in split):
        raise SourceError("keep is for lists in tables", remedy="filter the manifest: whisper-aut manifest filter")
