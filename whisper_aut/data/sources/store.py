"""Audio that a corpus has as bytes inside its tables, written to files beside the manifest, safely named."""

from __future__ import annotations

import hashlib
import io
import os
import re
from pathlib import Path
from typing import Any

import soundfile

from whisper_aut.data.audio import MAX_FILE_SEC, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_MAX_NAME = 80
_SUFFIXES = {"FLAC": ".flac", "OGG": ".ogg", "MP3": ".mp3", "MPEG": ".mp3", "AIFF": ".aiff", "CAF": ".caf"}


class UnreadableError(Exception):
    """Audio whose header is none, or beyond the limits; the reason is the only argument."""


class AudioStore:
    """Files under ``out/audio/SOURCE``; two letters of a hash spread them over folders.

    Args:
        out: the manifest's folder.
        source: name of the source.
    """

    def __init__(self, out: Path, source: str) -> None:
        self._out, self._source = out, source

    def put(self, clip_id: str, content: bytes) -> tuple[str, float]:
        """Write the bytes as they are; (path relative to the manifest, seconds).

        The same clip gets the same file: work that is done again after a kill writes what is there.

        Raises:
            UnreadableError: it is no audio.
            OSError: the file cannot be written.
        """
        suffix, length_sec = _examine(content)
        digest = hashlib.sha256(clip_id.encode("utf-8", "surrogatepass")).hexdigest()
        safe = _UNSAFE.sub("_", clip_id)[:_MAX_NAME].strip("_")
        # Names that had to be changed could meet, on some file systems also those that differ in capitals only.
        name = f"{safe}-{digest[:12]}{suffix}"
        relative = f"audio/{self._source}/{digest[:2]}/{name}"
        path = self._out / relative
        if not path.is_file() or path.stat().st_size != len(content):
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_name(f".{name}.{os.getpid()}.partial")
            try:
                # Not synced one by one: a kill loses nothing by that, and validate --check-audio reads every clip.
                aside.write_bytes(content)
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)
        return relative, length_sec


def header_sec(path: str) -> float:
    """Seconds that a file's header declares, without decoding.

    Raises:
        UnreadableError: it is no audio, or beyond the limits.
    """
    try:
        return _length_sec(soundfile.info(path))
    except (soundfile.LibsndfileError, TypeError, OSError) as error:
        raise UnreadableError(f"no readable audio: {getattr(error, 'error_string', error)}") from None


def _examine(content: bytes) -> tuple[str, float]:
    try:
        info = soundfile.info(io.BytesIO(content))
    except (soundfile.LibsndfileError, TypeError, OSError) as error:
        raise UnreadableError(f"no readable audio: {getattr(error, 'error_string', error)}") from None
    return _SUFFIXES.get(info.format, ".wav"), _length_sec(info)


def _length_sec(info: Any) -> float:
    if not MIN_SAMPLE_RATE <= info.samplerate <= MAX_SAMPLE_RATE:
        raise UnreadableError(f"a sample rate of {info.samplerate} Hz")
    if not 0 < info.frames <= MAX_FILE_SEC * info.samplerate:
        raise UnreadableError("the file holds no audio" if info.frames <= 0 else f"a header of {info.frames} frames")
    return round(float(info.frames) / float(info.samplerate), 6)
