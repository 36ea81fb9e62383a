"""The samples of a tar shard, as WebDataset has them: members side by side whose names are one up to the first dot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from whisper_aut.data.quarantine import QuarantineEntry
from whisper_aut.data.tarfiles import Member, members

AUDIO_ENDINGS = (
    "flac", "wav", "ogg", "oga", "opus", "mp3", "aiff", "aif", "au", "caf", "w64",
    "m4a", "mp4", "mov", "3gp", "webm", "mka", "mkv", "aac", "amr", "wma", "wv", "ac3",  # by FFmpeg
)  # fmt: skip
APART = "its members do not stand side by side in the archive"
DOTS = "a key ends at its first dot"


@dataclass
class Sample:
    """Members of one key."""

    key: str
    endings: set[str] = field(default_factory=set)
    doubled: str = ""  # ending of a member that is there twice: nobody knows which belongs to which
    again: list[str] = field(default_factory=list)  # endings of the same audio in other formats
    audio: list[tuple[str, Member]] = field(default_factory=list)  # (ending, member)
    text: Member | None = None
    told: Member | None = None


def misread_why(sample: Sample, times: int) -> str:
    """Why members that belong together are not in one sample, or those of several are; empty where all is well."""
    has_text = sample.text is not None or sample.told is not None
    if times > 1 and not (sample.audio and has_text):
        return f"'{sample.key}' stands {times} times, each time with a part of the sample: {APART}"
    dotted = sorted(ending for ending in sample.endings if ending.rpartition(".")[2] in ("txt", "json"))
    if dotted and not has_text:
        return f"{DOTS}: '{sample.key}.{dotted[0]}' is read as '{dotted[0]}' of the sample '{sample.key}'"
    return ""


def read_samples(file: BinaryIO, place: str) -> Iterator[Sample | QuarantineEntry]:
    """Members that follow one another under one key."""
    sample: Sample | None = None
    for member in members(file):
        if not isinstance(member, Member):
            yield QuarantineEntry(member.name, place, f"the member was skipped: {member.reason}")
            continue
        folder, slash, name = member.name.rpartition("/")
        stem, _, ending = name.partition(".")
        if not stem or not ending:
            continue  # WebDataset passes over hidden files and names without a dot
        key = folder + slash + stem
        if sample is None or sample.key != key:
            if sample is not None:
                yield sample
            sample = Sample(key)
        _add(sample, ending, member)
    if sample is not None:
        yield sample


def _add(sample: Sample, ending: str, member: Member) -> None:
    if ending.lower() in sample.endings:
        sample.doubled = ending
    sample.endings.add(ending.lower())
    if ending.lower() == "txt":
        sample.text = member
    elif ending.lower() == "json":
        sample.told = member
    elif ending.lower().rpartition(".")[2] in AUDIO_ENDINGS:
        tracks = {known.lower().rpartition(".")[0] for known, _ in sample.audio}
        if ending.lower().rpartition(".")[0] in tracks:
            sample.again.append(ending)
        else:
            sample.audio.append((ending, member))
