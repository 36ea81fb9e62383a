"""The bytes of an audio file at random places, and stretches of them as files for libsndfile."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whisper_aut.errors import AudioError
from whisper_aut.files import missing_hint

_FIRST_BYTES = 4096  # read at first: a header
_WINDOW = 64 * 2**10  # read at once from then on, where small pieces are asked for


class Content:
    """A file, or bytes in memory; closed at the end of its ``with`` block.

    Attributes:
        path: of the file; None for bytes in memory.
        memory: the bytes in memory; None for a file.
        size: in bytes.
        stamp: what tells this file from another of the same name: path, size, time of change; None in memory.
    """

    def __init__(self, source: Path | io.BytesIO, where: str = "") -> None:
        self.path: Path | None = None
        self.memory: io.BytesIO | None = None
        self.stamp: tuple[str, int, int] | None = None
        self._window, self._window_start = b"", 0
        self._ahead = _FIRST_BYTES
        self._descriptor, self._where = -1, where
        if isinstance(source, Path):
            self.path = source
            status = self._open(source, where)
            self.size = status.st_size
            self.stamp = (os.fspath(source), status.st_size, status.st_mtime_ns)
        else:
            self.memory = source
            self.size = source.getbuffer().nbytes

    def __enter__(self) -> Content:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def at(self, start: int, num_bytes: int) -> bytes:
        """``num_bytes`` from ``start`` on, fewer at the end, none outside.

        Raises:
            AudioError: the file cannot be read.
        """
        if not 0 <= start < self.size:
            return b""
        if self.memory is not None:
            return bytes(self.memory.getbuffer()[start : start + num_bytes])
        if num_bytes >= _WINDOW:
            return self._read(start, num_bytes)
        inside = start - self._window_start
        if inside < 0 or inside + num_bytes > len(self._window):
            if self._window_start + len(self._window) >= self.size and inside >= 0 and self._window:
                return self._window[inside : inside + num_bytes]  # the end of the file
            wanted = max(self._ahead, num_bytes)
            self._window, self._window_start = self._read(start, wanted), start
            self._ahead = _WINDOW
            inside = 0
        return self._window[inside : inside + num_bytes]

    def _read(self, start: int, num_bytes: int) -> bytes:
        try:
            return os.pread(self._descriptor, num_bytes, start)
        except OSError as error:
            what = f"the audio file cannot be read: {error.strerror}"
            raise AudioError(what, where=self._where or str(self.path), remedy="check the disk") from None

    def _open(self, path: Path, where: str) -> os.stat_result:
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not make us wait
            status = os.fstat(self._descriptor)
        except (OSError, ValueError) as error:
            reason = f"{error.strerror}{missing_hint(path)}" if isinstance(error, OSError) else str(error)
            what = f"the audio file cannot be opened: {reason}"
            raise AudioError(what, where=where or str(path), remedy="check the path") from None
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device would never end
            remedy = "give the path of an audio file"
            raise AudioError("this is not a regular file", where=where or str(path), remedy=remedy)
        return status


class Stretch(io.RawIOBase):
    """Bytes ``start`` to ``end`` of a content as a file to read, some of them replaced.

    Args:
        content: stays open as long as the file is used.
        start: first byte.
        end: behind the last byte.
        patches: (place in the content, bytes that stand there instead).
    """

    def __init__(self, content: Content, start: int, end: int, patches: Sequence[tuple[int, bytes]] = ()) -> None:
        self._content, self._start, self._end, self._patches = content, start, end, patches
        self._place = start

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._place - self._start

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go there; never outside."""
        base = {io.SEEK_SET: self._start, io.SEEK_CUR: self._place, io.SEEK_END: self._end}[whence]
        self._place = min(max(base + offset, self._start), self._end)
        return self.tell()

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` and say with how many bytes."""
        wanted = min(len(buffer), self._end - self._place)
        data = bytearray(self._content.at(self._place, wanted)) if wanted > 0 else bytearray()
        for place, patch in self._patches:
            inside = place - self._place
            if -len(patch) < inside < len(data):
                first, last = max(inside, 0), min(inside + len(patch), len(data))
                data[first:last] = patch[first - inside : last - inside]
        buffer[: len(data)] = bytes(data)
        self._place += len(data)
        return len(data)
