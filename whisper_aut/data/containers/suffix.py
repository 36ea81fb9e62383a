"""How the name of an audio file should end, by its first bytes: for audio that a corpus keeps without names."""

from __future__ import annotations

import io

from whisper_aut.data.containers.content import Content
from whisper_aut.data.containers.ffmpeg import kind_of
from whisper_aut.data.containers.mpeg import parse_frame
from whisper_aut.data.containers.tags import audio_start

_SUFFIXES = {
    b"RIFF": ".wav", b"RIFX": ".wav", b"RF64": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"FORM": ".aiff",
    b"caff": ".caf", b".snd": ".au", b"#!AM": ".amr", b"\x1aE\xdf\xa3": ".webm",
}  # fmt: skip


def suffix_of(data: bytes) -> str:
    """The ending that tells what an audio file is, for one that gets a name."""
    content = Content(io.BytesIO(data))
    start = audio_start(content)
    head = content.at(start, 8)
    if head[4:8] == b"ftyp":
        return ".m4a"
    if parse_frame(head[:4]) is not None:
        return ".mp3"
    return ".aac" if kind_of(content) == "AAC" else _SUFFIXES.get(head[:4], ".wav")
