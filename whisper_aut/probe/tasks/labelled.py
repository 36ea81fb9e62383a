"""A probing task, and the one from a labelled manifest: a folder with ``clips.jsonl``, one clip a line, all checked."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from whisper_aut.data.channels import CHANNEL, Channels, parse_channel, text_of
from whisper_aut.data.json_lines import json_objects
from whisper_aut.data.text_lines import TextFileError
from whisper_aut.errors import ProbeError
from whisper_aut.files import existing_form, file_sha256, is_regular_file, missing_hint, real_path

MANIFEST_NAME = "clips.jsonl"
COLUMNS = "id, audio, duration_sec, label, fold; optional: group, offset_sec, license, channel"

Part = Literal["train", "valid", "test"]  # of a fixed split; a fold's number where every fold is the test once
PARTS: tuple[Part, ...] = get_args(Part)
Fold = int | Part
Metric = Literal["accuracy", "mAP"]


@dataclass(frozen=True, slots=True)
class LabelledClip:
    """One clip of a task."""

    id: str
    audio: Path  # resolved
    offset_sec: float
    duration_sec: float
    labels: tuple[str, ...]  # one, or of a multi-label task one and more
    fold: Fold
    group: str  # the recording it was cut from; its audio file where the manifest names none
    license: str
    where: str  # file:line, for messages
    channels: Channels = ()  # of the file that are mixed; none: all

    @property
    def label(self) -> str:
        """The label of a clip that has one."""
        (label,) = self.labels
        return label


@dataclass(frozen=True)
class Task:
    """A benchmark: its clips in the order of the manifest."""

    name: str
    folder: Path
    clips: tuple[LabelledClip, ...]
    clips_sha256: str  # over ids, labels, folds, groups, segments and audio bytes, in order
    notes: tuple[str, ...] = ()  # what the reader of a result must know of the task
    metric: Metric = "accuracy"  # mAP where a clip may have several labels
    valid_shares_groups: bool = False  # the official validation part shares recordings with the test, not with training

    @property
    def classes(self) -> list[str]:
        """Distinct labels, sorted: a label's index here is its class number."""
        return sorted({label for clip in self.clips for label in clip.labels})

    @property
    def fixed(self) -> bool:
        """Whether the split is fixed (train, valid, test) instead of folds that are each the test once."""
        return isinstance(self.clips[0].fold, str)


def load_task(folder: Path) -> Task:
    """Read and check ``folder/clips.jsonl``; the task is named after the folder.

    Columns: id, audio (relative to the folder, or absolute), duration_sec, label (a text; a list of texts makes a
    multi-label task), fold (an integer; or of a fixed split train, valid, test), and optionally group (the original
    recording; all its clips must be in one fold), offset_sec (0), license ('unknown'), channel (a number from 0, or a
    list to be mixed). Other columns are ignored.

    Raises:
        ProbeError: the manifest cannot be used; file:line, field and clip id are named.
    """
    manifest = folder / MANIFEST_NAME
    if folder.is_file():
        raise ProbeError("a task is a folder, not a file", where=str(folder), remedy=f"give {folder.parent}")
    root = folder.resolve()
    try:
        parsed = [_parse_row(row, f"{manifest}:{number}", root) for number, row in json_objects(manifest)]
    except (OSError, TextFileError) as error:
        raise ProbeError(
            f"the task's manifest cannot be read: {error}",
            where=str(manifest),
            remedy=f"a task is a folder with {MANIFEST_NAME} in it, one clip a line: {COLUMNS}",
        ) from None
    if not parsed:
        raise ProbeError("the task has no clips", where=str(manifest), remedy=f"write one clip a line: {COLUMNS}")
    clips = tuple(clip for clip, _ in parsed)
    refuse_duplicates(clips)
    refuse_missing(clips, str(manifest), remedy=f"put the audio where the manifest says, e.g. {clips[0].audio.parent}")
    of_lists = {is_list: clip for clip, is_list in parsed}
    if len(of_lists) > 1:
        raise ProbeError(
            f"the label of clip {of_lists[True].id} is a list, that of clip {of_lists[False].id} is one text",
            where=of_lists[True].where,
            remedy="write a list for every clip (several labels, mean average precision), or one text for every clip",
        )
    metric: Metric = "mAP" if True in of_lists else "accuracy"
    return Task(
        name=root.name,
        folder=folder,
        clips=clips,
        clips_sha256=hash_clips(clips),
        notes=warn_of_alike_labels(root.name, clips),
        metric=metric,
    )


def warn_of_alike_labels(name: str, clips: Sequence[LabelledClip]) -> tuple[str, ...]:
    """Say on the screen, and return as notes of the task, which labels differ in spaces, capitals or normal form alone.

    They are classes of their own, as they are written: nobody but who made the task knows whether they are one.
    """
    alike: dict[str, set[str]] = {}
    for label in {label for clip in clips for label in clip.labels}:
        key = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
        alike.setdefault(key, set()).add(label)
    notes = tuple(
        f"labels {', '.join(map(repr, sorted(labels)))} count as {len(labels)} classes: "
        "they differ in spaces, capitals or Unicode normal form alone"
        for _, labels in sorted(alike.items())
        if len(labels) > 1
    )
    for note in notes:
        print(f"warning: {name}: {note}", file=sys.stderr)
    return notes


def _parse_row(row: dict[str, Any] | str, where: str, root: Path) -> tuple[LabelledClip, bool]:
    """The clip, and whether its labels are a list."""
    if isinstance(row, str):
        raise ProbeError(f"the line is no clip: {row}", where=where, remedy=f"write one JSON object a line: {COLUMNS}")
    clip_id = _text(row, "id", where)
    where = f"{where}, clip {clip_id}"
    audio = _contained(_text(row, "audio", where), root, where)
    labels, is_list = _labels(row, where)
    clip = LabelledClip(
        id=clip_id,
        audio=audio,
        offset_sec=_seconds(row, "offset_sec", where, default=0.0),
        duration_sec=_seconds(row, "duration_sec", where, default=None),
        labels=labels,
        fold=_fold(row, where),
        # Segments of one file are one recording even where nobody wrote it down.
        group=_text(row, "group", where) if row.get("group") is not None else str(audio),
        license=_text(row, "license", where) if row.get("license") is not None else "unknown",
        where=where,
        channels=_channels(row, where),
    )
    return clip, is_list


def _channels(row: dict[str, Any], where: str) -> Channels:
    try:
        return parse_channel(row.get(CHANNEL))
    except ValueError as error:
        raise _field_error(CHANNEL, row, where, str(error).partition(";")[0].removeprefix("must be ")) from None


def _labels(row: dict[str, Any], where: str) -> tuple[tuple[str, ...], bool]:
    value = row.get("label")
    if not isinstance(value, list):
        return (_text(row, "label", where),), False
    if (
        not value
        or len(set(map(str, value))) < len(value)
        or not all(isinstance(v, str) and v.strip() and "\0" not in v for v in value)
    ):
        raise _field_error("label", row, where, "a text, or for several labels a list of different texts")
    return tuple(value), True


def _fold(row: dict[str, Any], where: str) -> Fold:
    value = row.get("fold")
    part = next((part for part in PARTS if part == value), None)
    if part is not None:
        return part
    if isinstance(value, bool) or not isinstance(value, int):
        raise _field_error("fold", row, where, "the number of the clip's official fold, or train, valid or test")
    return value


def _text(row: dict[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise _field_error(field, row, where, "text, in quotes, that is not empty")
    return value


def _seconds(row: dict[str, Any], field: str, where: str, *, default: float | None) -> float:
    value = row.get(field, default)
    positive = default is None  # a duration must be above zero, an offset may be zero
    wanted = "seconds above zero" if positive else "seconds, zero or more"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _field_error(field, row, where, wanted)
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise _field_error(field, row, where, wanted)
    return float(value)


def _field_error(field: str, row: dict[str, Any], where: str, wanted: str) -> ProbeError:
    found = f"is {row[field]!r}" if field in row else "is missing"
    return ProbeError(f"the field '{field}' {found}", where=where, remedy=f"write {wanted}")


def _contained(audio: str, root: Path, where: str) -> Path:
    """The resolved path; a relative one may not leave the task's folder, by ``..`` or by a link."""
    if "://" in audio or "\0" in audio:
        raise ProbeError(f"the field 'audio' is {audio!r}, not a path", where=where, remedy="give a local file")
    path = Path(existing_form(os.fspath(root / audio)))
    if PurePosixPath(audio).is_absolute():
        return real_path(path)
    resolved = real_path(path)
    if ".." in PurePosixPath(audio).parts or not resolved.is_relative_to(root):
        raise ProbeError(
            f"the field 'audio' leads out of the task's folder: {audio!r}",
            where=where,
            remedy="put the file into the folder, or give an absolute path",
        )
    return resolved


def refuse_duplicates(clips: Sequence[LabelledClip]) -> None:
    """Raise ``ProbeError`` where an id or a piece of audio stands twice."""
    ids: dict[str, LabelledClip] = {}
    segments: dict[tuple[Path, float, float, Channels], LabelledClip] = {}
    for clip in clips:
        if (first := ids.setdefault(clip.id, clip)) is not clip:
            raise ProbeError(
                f"the id '{clip.id}' stands twice, first at {first.where}", where=clip.where, remedy="remove one"
            )
        segment = (clip.audio, clip.offset_sec, clip.duration_sec, clip.channels)
        if (first := segments.setdefault(segment, clip)) is not clip:
            raise ProbeError(
                f"the same audio stands twice, first as clip {first.id} at {first.where}",
                where=clip.where,
                remedy="remove one: a clip that is counted twice counts double, or stands in training and test",
            )


def refuse_missing(clips: Sequence[LabelledClip], source: str, *, remedy: str) -> None:
    """Raise ``ProbeError`` where audio is not there: how many files, which (the first three), how to get them."""
    missing = [clip for clip in clips if not is_regular_file(clip.audio)]
    fault = f"of {source} are missing" + (missing_hint(missing[0].audio) if missing else "")
    refuse_files(missing, len(clips), fault, remedy=remedy)


def refuse_files(at_fault: Sequence[LabelledClip], num_clips: int, fault: str, *, remedy: str) -> None:
    """Raise ``ProbeError`` where there are such files: how many of ``num_clips``, the first three, and ``fault``."""
    if at_fault:
        named = ", ".join(str(clip.audio) for clip in at_fault[:3])
        raise ProbeError(
            f"{len(at_fault)} of {num_clips} audio files {fault}: {named}{', …' if len(at_fault) > 3 else ''}",
            where=at_fault[0].where,
            remedy=remedy,
        )


def hash_clips(clips: Sequence[LabelledClip]) -> str:
    """SHA-256 over everything that a result depends on. Groups that are file paths count by order of appearance, so
    that the same task in another folder has the same hash."""
    digest = hashlib.sha256()
    group_numbers: dict[str, int] = {}
    for clip in clips:
        group = group_numbers.setdefault(clip.group, len(group_numbers))
        audio = _audio_sha256(clip)
        # One label stands alone: hashes of such tasks, and with them caches, are older than several labels.
        label = clip.labels[0] if len(clip.labels) == 1 else list(clip.labels)
        row: list[Any] = [clip.id, label, clip.fold, group, clip.offset_sec, clip.duration_sec, audio]
        row += [list(clip.channels)] if clip.channels else []
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def hash_audio(clips: Sequence[LabelledClip]) -> str:
    """SHA-256 over what there is to hear, in any order: the same with other labels and with folds dealt anew."""
    heard = sorted(
        f"{_audio_sha256(clip)} {clip.offset_sec} {clip.duration_sec}"
        + (f" channel {text_of(clip.channels)}" if clip.channels else "")
        for clip in clips
    )
    return hashlib.sha256("\n".join(heard).encode()).hexdigest()


def _audio_sha256(clip: LabelledClip) -> str:
    try:
        return file_sha256(clip.audio)
    except OSError as error:
        raise ProbeError(f"the audio cannot be read: {error}", where=clip.where, remedy="mend the file") from None
