"""Paths of a corpus stay under its folder: no '..', no absolute path elsewhere, no link that leads out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from whisper_aut.errors import SourceError
from whisper_aut.files import existing_form, missing_hint


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
    if path.startswith("\\") or path[1:3] in (":\\", ":/") or "://" in path:
        raise OutsideError(f"'{path}' is no path under the corpus' folder")
    if ".." in path.split("/"):
        raise OutsideError(f"'{path}' climbs with '..'")
    # Clips share folders, so a folder's links are looked up once; pathlib takes five times as long here.
    parent, _, name = existing_form(os.path.join(root, path).rstrip("/")).rpartition("/")  # noqa: PTH118
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


def find_files(root: Path, pattern: str, *, folders: bool = False) -> list[Path]:
    """Real paths of the files (or folders) under ``root`` that a path or a glob means, sorted by name.

    Raises:
        SourceError: there is none, or one lies outside.
    """
    if pattern.startswith("/") or ".." in pattern.split("/"):
        raise SourceError(f"'{pattern}' leaves the corpus' folder", remedy="write a path under it")
    literal = Path(existing_form(os.fspath(root / pattern)))  # which may hold what else is a sign of a glob
    is_literal = os.path.exists(literal) or not pattern.strip("./")  # noqa: PTH110 (a name may be too long for a Path)
    try:
        matching = [literal] if is_literal else list(root.glob(pattern))
    except (ValueError, NotImplementedError, OSError) as error:
        raise SourceError(f"'{pattern}' is no path and no pattern: {error}", remedy="correct the YAML") from None
    found = sorted(path for path in matching if (path.is_dir() if folders else path.is_file()))
    if not found:
        raise SourceError(
            f"there is no {'folder' if folders else 'file'} '{pattern}' in {root}{missing_hint(literal)}",
            remedy="get the corpus, or correct --data-root; data_manifests/README.md says how sources are laid out",
        )
    return [Path(real) for real in _real(root, found)]


def _real(root: Path, found: list[Path]) -> Iterator[str]:
    for path in found:
        try:
            yield contained(str(root), str(path.relative_to(root)))
        except OutsideError as error:
            raise SourceError(str(error), where=str(path), remedy="copy the file to where the link stands") from None
