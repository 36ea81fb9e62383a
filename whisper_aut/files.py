"""Files that appear whole or not at all: a reader, or a later run, never sees half of one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the name ``path`` when the block ends without an error; else nothing is left.

    Raises:
        OSError: the folder cannot be made, or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """``text`` as UTF-8; see :func:`whole_file`."""
    with whole_file(path) as file:
        file.write(text.encode())


def real_path(path: Path) -> Path:
    """``path`` absolute and without links; where links lead in a circle, up to there.

    ``Path.resolve`` raises RuntimeError there in some versions of Python; what opens the file says it as any other.
    """
    return Path(os.path.realpath(path))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
