"""Recording ids that public corpora write into their names: Freesound's and YouTube's (AudioSet's).

Two clips of one id are pieces of one recording, which may or may not share audio: a suspicion, no proof. Names are read
narrowly, since a wrong id accuses the innocent: a bare number is Freesound's only where a corpus that names its files
so is named beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

_AUDIO_SUFFIX = re.compile(r"\.(?:wav|flac|ogg|oga|opus|mp3|m4a|aac|webm|aiff?)$", re.IGNORECASE)
_PREFIX = r"(?:^|[-_ ])"
_FREESOUND = (
    re.compile(_PREFIX + r"[1-9]-(\d{2,7})-[A-Z](?:-\d{1,2})?$"),  # ESC-50: fold-id-take-class; Kitchen20 alike
    re.compile(_PREFIX + r"(\d{2,7})-\d-\d{1,3}-\d{1,3}$"),  # UrbanSound8K: id-class-occurrence-slice
    re.compile(r"(?:^|[^a-z])(?:freesound|fsd50k|fs)[-_ ]?(\d{2,7})(?!\d)", re.IGNORECASE),
    re.compile(r"^(\d{2,7})__[^_]"),  # as Freesound names a download: id__user__title
)
_BARE_NUMBER = re.compile(r"^[1-9]\d{1,6}$")
_NAMES_BY_FREESOUND_ID = re.compile(r"fsd50k|freesound|fsdkaggle|fsdnoisy", re.IGNORECASE)
_YOUTUBE = (
    re.compile(r"^Y([\w-]{11})(?:[_.]\d+(?:\.\d+)?){0,2}$", re.ASCII),  # AudioSet, AudioCaps: Y, id, start
    re.compile(r"^([\w-]{11})_\d+(?:\.\d+)?(?:_\d+(?:\.\d+)?)?$", re.ASCII),  # id, start, end
    re.compile(
        r"(?:^|[^a-z])(?:youtube|yt|audioset|audiocaps|musiccaps)[-_]([\w-]{11})(?![\w-])", re.IGNORECASE | re.ASCII
    ),
    re.compile(r"\[([\w-]{11})\]$", re.ASCII),  # as yt-dlp names a download: title [id]
)
# YouTube's ids are random: without a digit and with no capital after the first letter it is a word, as in
# `environment_001`.
_RANDOM = re.compile(r"\d|(?<=.)[A-Z]")


def recording_ids(*names: str, corpus: str = "") -> frozenset[str]:
    """``freesound:30344``, ``youtube:dQw4w9WgXcQ`` for every id in the names of one clip.

    Args:
        names: its id and its audio file; folders count as context for bare numbers.
        corpus: its source, or a benchmark's name.
    """
    context = " ".join([*names, corpus])
    return frozenset(found for name in names for found in _ids_in(name, context))


def _ids_in(name: str, context: str) -> Iterable[str]:
    stem = _AUDIO_SUFFIX.sub("", PurePosixPath(name).name)
    for pattern in _FREESOUND:
        if (match := pattern.search(stem)) is not None:
            yield f"freesound:{int(match[1])}"
    if _BARE_NUMBER.match(stem) and _NAMES_BY_FREESOUND_ID.search(context):
        yield f"freesound:{stem}"
    for pattern in _YOUTUBE:
        if (match := pattern.search(stem)) is not None and _RANDOM.search(match[1]):
            yield f"youtube:{match[1]}"
