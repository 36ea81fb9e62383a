"""A public benchmark as a description and one function that lists its clips; from a folder with its data to a task."""

from __future__ import annotations

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from whisper_aut.data.audio import audio_duration_sec, read_waveform
from whisper_aut.data.separated import Dialect, records
from whisper_aut.data.text_lines import TextFileError, is_text, numbered_lines
from whisper_aut.errors import AudioError, ProbeError
from whisper_aut.files import existing_form
from whisper_aut.probe.tasks.labelled import (
    Fold,
    LabelledClip,
    Metric,
    Task,
    hash_clips,
    refuse_duplicates,
    refuse_files,
    refuse_missing,
    warn_of_alike_labels,
)


@dataclass(frozen=True, slots=True)
class Archive:
    """A file that the benchmark's owner offers."""

    url: str
    checksum: str  # 'sha256:', 'sha1:' or 'md5:' and hexadecimal digits
    num_bytes: int | None = None
    into: str = ""  # folder under the benchmark's own that it is unpacked into
    volumes: tuple[Archive, ...] = ()  # the other files of a split zip archive, in order

    @property
    def file(self) -> str:
        """Its name on disk: the last part of the address."""
        return PurePosixPath(urlsplit(self.url).path).name


@dataclass(frozen=True)
class Benchmark:
    """What a person must know of a benchmark, and how its clips are listed."""

    name: str
    title: str
    domain: Literal["speech", "environment", "music"]
    license: str
    version: str
    homepage: str
    num_clips: int | None  # that are used, of a whole copy; None where nobody has counted them
    num_classes: int
    split: str  # the official split and what here is a group, in words
    layout: str  # the folders and files of a copy, in words
    checked: str  # where these facts come from, and what could not be verified
    marker: str  # a path that every copy has, under the benchmark's folder; of several archives from the last
    folders: tuple[str, ...]  # under the data root, where a copy is looked for
    list_clips: Callable[[Path], list[LabelledClip]] = field(repr=False)
    home: str = ""  # folder under the data root that archives are fetched to; the name where empty
    metric: Metric = "accuracy"
    archives: tuple[Archive, ...] = ()
    by_hand: str = ""  # how to get what cannot be fetched
    notes: tuple[str, ...] = ()  # what the reader of a result must know
    broken: Mapping[str, str] = field(default_factory=dict)  # clips that are left out, and why
    suspect: Mapping[str, str] = field(default_factory=dict)  # clips that are left out where they cannot be read
    valid_shares_groups: bool = False

    @property
    def home_folder(self) -> str:
        """The folder under the data root that archives are unpacked in."""
        return self.home or self.name

    def find(self, data_root: Path) -> Path | None:
        """The folder of a copy, or None where the data root has none."""
        return next((folder for folder in self.candidates(data_root) if (folder / self.marker).exists()), None)

    def candidates(self, data_root: Path) -> list[Path]:
        """Every folder that is looked at."""
        return [data_root / folder for folder in self.folders]

    def how_to_get(self, data_root: Path) -> str:
        """An instruction."""
        if self.archives:
            return f"`whisper-aut tasks fetch {self.name} --data-root {data_root}`"
        return f"{self.by_hand}; unpack it so that {data_root / self.folders[0] / self.marker} is there"

    def lines(self) -> list[str]:
        """The description, for a terminal."""
        facts = {
            "domain": self.domain,
            "metric": self.metric,
            "clips": "not counted" if self.num_clips is None else str(self.num_clips),
            "classes": str(self.num_classes),
            "licence": self.license,
            "version": self.version,
            "homepage": self.homepage,
            "split": self.split,
            "layout": self.layout,
            "folders": ", ".join(f"DATA_ROOT/{folder}" for folder in self.folders),
            "checked": self.checked,
            "by hand": self.by_hand,
            "notes": "; ".join(self.notes),
            "left out": ", ".join(f"{clip} ({why})" for clip, why in self.broken.items()),
            "left out where unreadable": ", ".join(self.suspect),
        }
        files = [part for archive in self.archives for part in (*archive.volumes, archive)]
        return [
            f"{self.name}: {self.title}",
            *(f"  {name}: {text}" for name, text in facts.items() if text),
            *(f"  file: {file.url} ({file.checksum})" for file in files),
        ]

    def load(self, data_root: Path) -> Task:
        """The task, with every clip's file checked.

        Raises:
            ProbeError: there is no copy, it is incomplete, or a clip in it cannot be read.
        """
        folder = self.find(data_root)
        if folder is None:
            raise ProbeError(
                f"{self.title} is not there: none of its folders holds {self.marker}",
                where=", ".join(str(candidate) for candidate in self.candidates(data_root)),
                remedy=f"{self.how_to_get(data_root)}, or give --data-root the folder that holds a copy",
            )
        listed = self.list_clips(folder)
        clips = [clip for clip in listed if clip.id not in self.broken]
        notes = list(self.notes)
        if len(clips) < len(listed):
            notes.append(f"{len(listed) - len(clips)} clip(s) known to be broken left out")
        clips, unreadable = self._without_suspects(clips)
        notes += [f"{clip_id} left out: {self.suspect[clip_id]}" for clip_id in unreadable]
        if not clips:
            raise ProbeError(f"{self.title} has no clips", where=str(folder), remedy=self.how_to_get(data_root))
        again = f"the copy is incomplete: move it away, then {self.how_to_get(data_root)}"
        refuse_missing(clips, self.title, remedy=again)
        _refuse_unreadable(clips, self.title)
        refuse_duplicates(clips)
        if self.num_clips is not None and len(clips) + len(unreadable) != self.num_clips:
            notes.append(f"{len(clips)} clips of {self.num_clips} that the benchmark has")
        notes += warn_of_alike_labels(self.name, clips)
        return Task(
            name=self.name,
            folder=folder,
            clips=tuple(clips),
            clips_sha256=hash_clips(clips),
            notes=tuple(notes),
            metric=self.metric,
            valid_shares_groups=self.valid_shares_groups,
        )

    def _without_suspects(self, clips: list[LabelledClip]) -> tuple[list[LabelledClip], list[str]]:
        """The clips, and the ids of suspects that are there and cannot be decoded."""
        unreadable = []
        for clip in clips:
            if clip.id in self.suspect and clip.audio.is_file():
                try:
                    read_waveform(clip.audio, clip_id=clip.id)
                except AudioError:
                    unreadable.append(clip.id)
        return [clip for clip in clips if clip.id not in unreadable], unreadable


def make_clip(
    root: Path,
    audio: str,
    *,
    labels: str | Sequence[str],
    fold: Fold,
    group: str,
    license_name: str,
    where: str,
    clip_id: str = "",
) -> LabelledClip:
    """A whole file as a clip; its length comes from its header, NaN where there is none to be read.

    Args:
        root: folder of the benchmark.
        audio: path under it, with forward slashes.
        labels: one label, or several.
        fold: number of the fold, or part of a fixed split.
        group: the recording, speaker or instrument that it comes from.
        license_name: of the clip.
        where: file:line of the list that names it, or the folder that holds it.
        clip_id: the file's name without its ending where empty.

    Raises:
        ProbeError: the path leads out of the benchmark's folder.
    """
    inside = PurePosixPath(audio)
    if inside.is_absolute() or ".." in inside.parts or "\0" in audio:
        raise ProbeError(f"the path '{audio}' leads out of the folder", where=where, remedy="get a sound copy")
    path = Path(existing_form(os.fspath(root / inside)))
    clip_id = clip_id or inside.stem
    return LabelledClip(
        id=clip_id,
        audio=path,
        offset_sec=0.0,
        duration_sec=seconds_of(path),
        labels=(labels,) if isinstance(labels, str) else tuple(labels),
        fold=fold,
        group=group,
        license=license_name,
        where=f"{where}, clip {clip_id}",
    )


def seconds_of(path: Path) -> float:
    """Seconds of audio in a file; NaN where there is none."""
    try:
        return audio_duration_sec(path)
    except AudioError:
        return math.nan


def read_rows(path: Path, columns: Sequence[str] = (), *, header: bool = True) -> list[tuple[str, dict[str, str]]]:
    """Rows of a CSV file as (file:line, column to text).

    Args:
        path: the file.
        columns: those that have to be there; without a header the names of the first ones, in order.
        header: whether the first line names the columns.

    Raises:
        ProbeError: it cannot be read, a column is missing, or a line has more or fewer cells than there are columns.
    """
    again = "get the benchmark's own file again"
    try:
        found = list(records(numbered_lines(path), Dialect()))
    except (OSError, TextFileError) as error:
        raise ProbeError(f"the list of clips cannot be read: {error}", where=str(path), remedy="get it again") from None
    names = list(columns)
    if header:
        number, headings = found.pop(0) if found else (1, "it is empty")
        if isinstance(headings, str):
            what = f"the list of clips cannot be read: {headings}"
            raise ProbeError(what, where=f"{path}:{number}", remedy=again)
        names = headings
        missing = [column for column in columns if names.count(column) != 1]
        if missing:
            raise ProbeError(
                f"the list of clips has no column '{missing[0]}', or has it twice (it has {', '.join(names)})",
                where=str(path),
                remedy=again,
            )
    rows = []
    for number, cells in found:
        where = f"{path}:{number}"
        if isinstance(cells, str):
            raise ProbeError(f"the line cannot be read: {cells}", where=where, remedy=again)
        if len(cells) < len(names):
            raise ProbeError(f"the line has no '{names[len(cells)]}'", where=where, remedy=again)
        if header and len(cells) > len(names):
            raise ProbeError(f"the line has {len(cells)} columns, not {len(names)}", where=where, remedy=again)
        rows.append((where, dict(zip(names, cells, strict=False))))
    return rows


def read_lines(path: Path) -> list[str]:
    """Lines of a text file that are not empty.

    Raises:
        ProbeError: it cannot be read.
    """
    try:
        lines = [line.strip() for _, line in numbered_lines(path) if line.strip()]
    except (OSError, TextFileError) as error:
        raise ProbeError(f"the list of clips cannot be read: {error}", where=str(path), remedy="get it again") from None
    if not all(map(is_text, lines)):
        raise ProbeError("the list of clips is not UTF-8", where=str(path), remedy="get it again")
    return lines


def whole_number(text: str, column: str, where: str) -> int:
    """A number of a list.

    Raises:
        ProbeError: it is none.
    """
    try:
        return int(text)
    except ValueError:
        raise ProbeError(f"the column '{column}' is '{text}'", where=where, remedy="a whole number is wanted") from None


def dealt_folds(groups: Sequence[str], labels: Sequence[str], num_folds: int) -> list[int]:
    """A fold from 1 up for each clip, where a benchmark has no official ones: groups in the order of their SHA-256,
    those of one label dealt in turn. A pure function of names, whatever the library and its version."""
    label_of = dict(zip(groups, labels, strict=True))
    by_label: dict[str, list[str]] = defaultdict(list)
    for group in sorted(label_of, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        by_label[label_of[group]].append(group)
    in_turn = [group for label in sorted(by_label) for group in by_label[label]]
    fold_of = {group: 1 + number % num_folds for number, group in enumerate(in_turn)}
    return [fold_of[group] for group in groups]


def with_folds(clips: Sequence[LabelledClip], num_folds: int, *, by_label: bool) -> list[LabelledClip]:
    """The clips with folds dealt by group; ``by_label`` where every group has one label, to keep folds alike."""
    labels = [clip.label if by_label else "" for clip in clips]
    folds = dealt_folds([clip.group for clip in clips], labels, num_folds)
    return [replace(clip, fold=fold) for clip, fold in zip(clips, folds, strict=True)]


def _refuse_unreadable(clips: Sequence[LabelledClip], title: str) -> None:
    unreadable = [clip for clip in clips if math.isnan(clip.duration_sec)]
    refuse_files(
        unreadable,
        len(clips),
        f"of {title} are no readable audio",
        remedy="get them again; a file of a few lines of text is a pointer that git-lfs has not replaced",
    )
