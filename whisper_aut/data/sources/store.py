"""Audio that a corpus has as bytes inside its tables, written to files beside the manifest, safely named."""

from __future__ import annotations

import hashlib
import io
import os
import re
from functools import lru_cache
from pathlib import Path

from whisper_aut.data.audio import examine_audio
from whisper_aut.data.containers.read import AudioInfo
from whisper_aut.data.containers.suffix import suffix_of
from whisper_aut.errors import AudioError

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_MAX_NAME = 80


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

    def put(self, clip_id: str, content: bytes) -> tuple[str, AudioInfo]:
        """Write the bytes as they are; (path relative to the manifest, what is in them).

        The same clip gets the same file: work that is done again after a kill writes what is there.

        Raises:
            UnreadableError: it is no audio.
            OSError: the file cannot be written.
        """
        try:
            info = examine_audio(io.BytesIO(content), clip_id)
        except AudioError as error:
            raise UnreadableError(error.what) from None
        digest = hashlib.sha256(clip_id.encode("utf-8", "surrogatepass")).hexdigest()
        safe = _UNSAFE.sub("_", clip_id)[:_MAX_NAME].strip("_")
        # Names that had to be changed could meet, on some file systems also those that differ in capitals only.
        name = f"{safe}-{digest[:12]}{suffix_of(content)}"
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
        return relative, info


@lru_cache(maxsize=4096)  # segments of one recording follow one another
def header_of(path: str) -> AudioInfo:
    """What a file holds, without decoding where its container states it.

    Raises:
        UnreadableError: it is no audio, not whole, or beyond the limits.
    """
    try:
        return examine_audio(Path(path), path)
    except AudioError as error:
        raise UnreadableError(error.what) from None
