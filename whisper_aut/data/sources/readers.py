"""Which reader a source has, and which columns it needs: from a source and a folder to batches of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from whisper_aut.data.sources.hub import hub_batches
from whisper_aut.data.sources.kaldi import kaldi_rows
from whisper_aut.data.sources.lhotse import lhotse_rows
from whisper_aut.data.sources.lists import list_rows, names_of
from whisper_aut.data.sources.nemo import nemo_rows, refuse_other_keys
from whisper_aut.data.sources.paths import find_files
from whisper_aut.data.sources.pattern import fields_of
from whisper_aut.data.sources.rows import Batch, Reject, Row, in_batches
from whisper_aut.data.sources.spec import HubRead, ListRead, SourceSpec
from whisper_aut.errors import SourceError


def iter_batches(spec: SourceSpec, split: str, root: Path | None, limit: int | None) -> Iterator[Batch]:
    """The batches of one split in order; the same whatever the number of processes.

    Args:
        spec: the source.
        split: train or validation; one that the source has.
        root: the corpus' folder; None streams from the hub.
        limit: rows that are read at most.

    Raises:
        SourceError: the corpus is not as the source says.
    """
    if isinstance(spec.read, HubRead):
        yield from hub_batches(spec.read, split, root, needed_columns(spec), limit)
    else:
        assert root is not None, "only the hub is streamed"
        yield from in_batches(_rows(spec, split, root), split, limit)


def label_names(spec: SourceSpec, root: Path | None) -> dict[str, dict[str, str]]:
    """By caption field, the names of labels that the corpus writes as ids.

    Raises:
        SourceError: the table of names cannot be read.
    """
    if spec.captions is None or root is None:
        return {}
    return {
        name: names_of(field.names, field.names.value, root)
        for name, field in spec.captions.fields.items()
        if field.names is not None
    }


def needed_columns(spec: SourceSpec) -> set[str]:
    """Columns that clips are made of and that nothing else provides."""
    clip, patterns = spec.clip, [spec.clip.id]
    if not isinstance(spec.read, HubRead):
        patterns += clip.audio
    patterns += [pattern for pattern in (clip.language, clip.license) if pattern]
    needed = {name for pattern in patterns for name in fields_of(pattern)}
    own = (clip.offset_sec, clip.end_sec, clip.duration_sec, clip.duration_ms, clip.channel)
    needed |= {name for name in own if name}
    if spec.captions is None:
        needed |= {name for pattern in clip.text for name in fields_of(pattern)}
    else:
        needed |= {field.column for field in spec.captions.fields.values()}
    for derive in reversed(spec.derive):  # what is derived later may be made of what is derived before
        if derive.name in needed:
            needed = (needed - {derive.name}) | {derive.column}
    return needed


def list_files(spec: SourceSpec, root: Path) -> list[Path]:
    """Every list of the source that is there, to tell whether one has changed.

    Raises:
        SourceError: one is missing or lies outside.
    """
    found: list[Path] = []
    for parts in spec.read.splits.values():
        for part in parts:
            for pattern in part.files:
                if spec.read.kind == "kaldi":
                    for folder in find_files(root, pattern, folders=True):
                        names = ("wav.scp", "text", "segments", "utt2dur", "reco2dur", "reco2file_and_channel")
                        found += [folder / name for name in names if (folder / name).is_file()]
                else:
                    found += find_files(root, pattern)
    if isinstance(spec.read, ListRead):
        found += [root / join.file for join in spec.read.join if (root / join.file).is_file()]
    return found


def _rows(spec: SourceSpec, split: str, root: Path) -> Iterator[Row | Reject]:
    read = spec.read
    if split not in read.splits:
        raise SourceError(f"{spec.name} has no split '{split}'", remedy=f"choose from {', '.join(read.splits)}")
    if read.kind == "list":
        return list_rows(read, read.splits[split], root, needed_columns(spec))  # type: ignore[index]
    assert read.kind != "hub"
    files = read.splits[split]  # type: ignore[index]
    refuse_other_keys(files)
    if read.kind == "nemo":
        return nemo_rows(files, root)
    if read.kind == "lhotse":
        return lhotse_rows(read, files, root)
    return kaldi_rows(files, root)
