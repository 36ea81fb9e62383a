"""Paths of a corpus stay under its folder: no '..', no absolute path elsewhere, no link that leads out."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from whisper_aut.errors import SourceError


class OutsideError(Exception):
    """A path that leaves its root, or is none; the reason is the only argument."""


def contained(root: str, path: str) -> str:
    """The real path of ``path``, which is relative to ``root`` or absolute, and lies under it.

    Args:
        root: a real path: no link in it.
        path: from a list that somebody else wrote.

    Raises:
        OutsideError: it does not lie there.
    """
    if not path or "\0" in path:
        raise OutsideError("the path is empty" if not path else "the path holds a NUL character")
    if path.startswith("\\") or (len(path) > 1 and path[1] == ":") or "://" in path:
        raise OutsideError(f"'{path}' is no path under the corpus' folder")
    if ".." in path.split("/"):
        raise OutsideError(f"'{path}' climbs with '..'")
    # Clips share folders, so a folder's links are looked up once; pathlib takes five times as long here.
    parent, _, name = os.path.join(root, path).rstrip("/").rpartition("/")  # noqa: PTH118
    real = f"{_real_folder(parent)}/{name}"
    if name == "." or os.path.islink(real):  # noqa: PTH114
        real = os.path.realpath(real)
    if real != root and not real.startswith(root.rstrip("/") + "/"):
        how = "is an absolute path" if path.startswith("/") else "leads by a link"
        raise OutsideError(f"'{path}' {how} outside {root}")
    return real


@lru_cache(maxsize=1 << 16)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder).rstrip("/")


def is_file(path: str) -> bool:
    """Whether a regular file is there: a pipe or a device would never end."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116
    except (OSError, ValueError):
        return False


def find_files(root: Path, pattern: str, *, folders: bool = False) -> list[Path]:
    """Real paths of the files (or folders) under ``root`` that a glob means, sorted by name.

    Raises:
        SourceError: there is none, or one lies outside.
    """
    if pattern.startswith("/") or ".." in pattern.split("/"):
        raise SourceError(f"'{pattern}' leaves the corpus' folder", remedy="write a path under it")
    matching = root.glob(pattern) if pattern.strip("./") else [root]  # "." is the corpus' folder itself
    found = sorted(path for path in matching if (path.is_dir() if folders else path.is_file()))
    if not found:
        raise SourceError(
            f"there is no {'folder' if folders else 'file'} '{pattern}' in {root}",
            remedy="get the corpus, or correct --data-root; data_manifests/README.md says how sources are laid out",
        )
    return [Path(real) for real in _real(root, found)]


def _real(root: Path, found: list[Path]) -> Iterator[str]:
    for path in found:
        try:
            yield contained(str(root), str(path.relative_to(root)))
        except OutsideError as error:
            raise SourceError(str(error), where=str(path), remedy="copy the file to where the link stands") from None
