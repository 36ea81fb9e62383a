"""Kaldi's data folders: wav.scp, text, segments, utt2dur and so on; a pipe in wav.scp is refused, never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from whisper_aut.data.sources.folders import key_values, read_table
from whisper_aut.data.sources.paths import find_files
from whisper_aut.data.sources.rows import Reject, Row
from whisper_aut.data.sources.spec import Files
from whisper_aut.errors import SourceError


def kaldi_rows(split: list[Files], root: Path) -> Iterator[Row | Reject]:
    """Rows of ``id, audio, offset_sec, end_sec, duration_sec, channel, side, text, folder``, in the order of ``text``.

    Raises:
        SourceError: a table is missing or cannot be read, or wav.scp has a command.
    """
    for files in split:
        for folder in [path for pattern in files.files for path in find_files(root, pattern, folders=True)]:
            fixed = {"folder": str(folder.relative_to(root)), **files.set}
            audio = _wav_scp(folder / "wav.scp")
            segments = _optional(folder / "segments")
            lengths = _optional(folder / "utt2dur") or _optional(folder / "reco2dur")
            sides = _sides(folder / "reco2file_and_channel")
            for row in read_table(folder / "text", "transcripts", []):
                if isinstance(row, Reject):
                    yield row
                    continue
                utterance = row.columns["id"]
                placed = _placed(utterance, audio, segments, lengths, sides)
                if isinstance(placed, str):
                    yield Reject(row.where, utterance, placed)
                else:
                    yield Row({**row.columns, **placed, **fixed}, row.where)


def _placed(
    utterance: str,
    audio: Mapping[str, str],
    segments: Mapping[str, str],
    lengths: Mapping[str, str],
    sides: Mapping[str, int],
) -> dict[str, str | int | None] | str:
    """Columns that say where an utterance is, or why that is unknown."""
    recording, offset_sec, end_sec, channel = utterance, "0", None, None
    if segments:
        segment = segments.get(utterance, "").split()
        if len(segment) < 3:
            return f"'{utterance}' is not in segments"
        recording, offset_sec, end_sec = segment[:3]
        channel = segment[3] if len(segment) > 3 else None  # as extract-segments has it, counted from 0
        if channel and channel in _LETTERS:
            channel = str(_LETTERS.index(channel))
        if end_sec == "-1":  # up to the end of the file
            end_sec = None
    if recording not in audio:
        return f"'{recording}' is not in wav.scp"
    duration_sec = None if segments else lengths.get(utterance)
    return {
        "audio": audio[recording],
        "offset_sec": offset_sec,
        "end_sec": end_sec,
        "duration_sec": duration_sec,
        "channel": channel,
        "side": sides.get(recording),
    }


_LETTERS = "ABCDEFGH"


def _sides(path: Path) -> dict[str, int]:
    """The channel of each recording, from 0, where the folder says it: ``RECORDING FILE A``, or 1 for A.

    Raises:
        SourceError: a line says something else.
    """
    sides = {recording: value.split()[-1] for recording, value in _optional(path).items()}
    first = 0 if "0" in sides.values() else 1
    numbers: dict[str, int] = {}
    for number, (recording, side) in enumerate(sides.items(), start=1):
        if len(side) == 1 and side.upper() in _LETTERS:
            numbers[recording] = _LETTERS.index(side.upper())
        elif side.isdecimal():
            numbers[recording] = int(side) - first
        else:
            raise SourceError(
                f"the channel of '{recording}' is '{side}'",
                where=f"{path}:{number}",
                remedy="write A or B, or 1 or 2",
            )
    return numbers


def _wav_scp(path: Path) -> Mapping[str, str]:
    table = key_values(path)
    for number, (recording, audio) in enumerate(table.items(), start=1):
        if "|" in audio:
            raise SourceError(
                f"'{recording}' is read by a command: {audio:.80}",
                where=f"{path}:{number}",
                remedy="commands are never run; write the audio to files and name those",
            )
    return table


def _optional(path: Path) -> Mapping[str, str]:
    return key_values(path) if path.is_file() else {}
