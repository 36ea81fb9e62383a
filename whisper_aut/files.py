"""Files that appear whole or not at all, and files that are there under a name written otherwise.

macOS and some network shares decompose accents (NFD), most editors compose them (NFC): two writings of one name that
look the same and are different bytes. They are found; capitals, spaces and %XX are named, and nothing is guessed.
"""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import unquote

MAX_NAME_BYTES = 255  # of Linux, macOS and Windows
_MAX_LISTED = 50_000  # names of a folder that are looked through: a few MB
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
    other = _alike(parent, os.stat(parent).st_mtime_ns).get(_folded(name))  # noqa: PTH116
    cause = _difference(name, other) if other is not None else ""
    return f"; '{other}' is there, which differs in {cause}" if cause else ""


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116
    except (OSError, ValueError):
        return False


@lru_cache(maxsize=8)  # whoever misses one file of a folder misses others of it
def _alike(folder: str, _mtime_ns: int) -> dict[str, str]:
    """The names in a folder by what they have in common with those that they are mistaken for."""
    try:
        with os.scandir(folder) as entries:
            return {_folded(entry.name): entry.name for entry in islice(entries, _MAX_LISTED)}
    except OSError:
        return {}


_KINDS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("the Unicode normal form", lambda name: unicodedata.normalize("NFC", name)),
    ("capitals", str.casefold),
    ("spaces", lambda name: " ".join(name.split())),
    ("%XX, which is not decoded", unquote),
)


def _folded(name: str) -> str:
    for _, alike in _KINDS:
        name = alike(name)
    return " ".join(name.casefold().split())  # of what %XX stood for, too


def _difference(name: str, other: str) -> str:
    """What two names that are alike differ in; empty where they are the same."""
    if name == other:
        return ""
    return next((cause for cause, alike in _KINDS if alike(name) == alike(other)), "capitals, spaces or %XX")
