"""Where a command may write: over none of its inputs, and with the true reason where the system does not let it."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from whisper_aut.errors import ManifestError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_output(out: Path, inputs: Sequence[Path]) -> None:
    """Refuse to write ``out`` over a file that is read, under whatever name or link.

    Raises:
        ManifestError: ``out`` is one of ``inputs``.
    """
    for path in inputs:
        if is_same(out, path):
            raise ManifestError(
                f"the output would replace {path}, which is read for it",
                where=str(out),
                remedy="give another --out; the input stays as it is",
            )


def check_distinct(inputs: Sequence[Path]) -> None:
    """Refuse a file that is given twice, under whatever name or link: its clips would be double.

    Raises:
        ManifestError: two of ``inputs`` are one file.
    """
    for number, path in enumerate(inputs):
        for earlier in inputs[:number]:
            if is_same(path, earlier):
                same = "" if path == earlier else f", as {earlier}"
                raise ManifestError("the file is given twice" + same, where=str(path), remedy="give it once")


def is_same(path: Path, other: Path) -> bool:
    """Whether both names are of one file; False where there is none yet."""
    try:
        return path.samefile(other)
    except (OSError, ValueError):
        return False


@contextmanager
def writing(path: Path, what: str) -> Iterator[None]:
    """Around whatever writes ``what`` to ``path``.

    Raises:
        ManifestError: the system does not let it; the remedy is of the reason.
    """
    try:
        yield
    except OSError as error:
        raise ManifestError(
            f"{what} cannot be written: {error.strerror or error}", where=str(path), remedy=write_remedy(error, path)
        ) from None


def write_remedy(error: OSError, path: Path) -> str:
    """What to do about ``path`` that could not be written."""
    if error.errno in _FULL:
        return "make room"
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file is where a folder is wanted: give another --out"
    if isinstance(error, IsADirectoryError):
        return "this is a folder: give the name of a file in it"
    return "check the folder and its permissions, or give another --out"
