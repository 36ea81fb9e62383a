"""Files that appear whole or not at all, and files that are there under a name written otherwise.

macOS and some network shares decompose accents (NFD), most editors compose them (NFC): two writings of one name that
look the same and are different bytes. They are found; capitals, spaces and %XX are named, and nothing is guessed.
"""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import unquote

MAX_NAME_BYTES = 255  # of Linux, macOS and Windows
_MAX_LISTED = 200_000  # names of a folder that are looked through
_FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")


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


def existing_form(path: str) -> str:
    """Return ``path`` as the disk writes it, where that differs in the Unicode normal form of names; else ``path``.

    Links are not resolved: whoever contains paths checks what comes back.
    """
    if path.isascii() or os.path.lexists(path):
        return path
    for form in _FORMS:
        if os.path.lexists(other := unicodedata.normalize(form, path)):
            return other
    found: list[str] = []
    for name in path.split("/"):  # each folder in its own form; what is not there stays as it is written
        forms = [name, *(unicodedata.normalize(form, name) for form in _FORMS)]
        found.append(next((one for one in forms if os.path.lexists("/".join([*found, one]) or "/")), name))
    return "/".join(found)


def is_regular_file(path: str | Path) -> bool:
    """Whether a regular file is there: a pipe or a device would never end. A name that no file can have is none."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 (a Path costs more than the call)
    except (OSError, ValueError):
        return False


def missing_hint(path: str | Path) -> str:
    """Say why there may be nothing at ``path``, as the end of a sentence that says so; empty where nothing is known."""
    parent, name = os.path.split(os.fspath(path).rstrip("/"))
    while parent not in ("", "/") and not _is_folder(parent):
        parent, name = os.path.split(parent)
    longest = max((part for part in os.fspath(path).split("/")), key=lambda part: len(os.fsencode(part)))
    if len(os.fsencode(longest)) > MAX_NAME_BYTES:
        return f"; '{longest[:20]}…' has {len(os.fsencode(longest))} bytes, and names of files {MAX_NAME_BYTES} at most"
    if not name or not _is_folder(parent):
        return ""
    if "\\" in name and os.path.lexists(f"{parent}/{name}".replace("\\", "/")):
        return "; it is there with / where the name has \\"
    for other in _names(parent, os.stat(parent).st_mtime_ns):  # noqa: PTH116
        if cause := _difference(name, other):
            return f"; '{other}' is there, which differs in {cause}"
    return ""


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116
    except (OSError, ValueError):
        return False


@lru_cache(maxsize=4)
def _names(folder: str, _mtime_ns: int) -> tuple[str, ...]:
    try:
        with os.scandir(folder) as entries:
            return tuple(entry.name for entry, _ in zip(entries, range(_MAX_LISTED), strict=False))
    except OSError:
        return ()


def _difference(name: str, other: str) -> str:
    """What two names differ in, where that is not their letters; empty where it is, or where they are the same."""
    if name == other:
        return ""
    kinds = (
        ("the Unicode normal form", lambda text: unicodedata.normalize("NFC", text)),
        ("capitals", str.casefold),
        ("spaces", lambda text: " ".join(text.split())),
        ("%XX, which is not decoded", unquote),
    )
    for cause, alike in kinds:
        if alike(name) == alike(other):
            return cause
    for _, alike in kinds:
        name, other = alike(name), alike(other)
    return "capitals, spaces or %XX" if name == other else ""
