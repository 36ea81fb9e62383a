"""The folder that an export goes to: nothing that somebody else made, or that is being read, is replaced."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from whisper_aut.errors import CheckpointError
from whisper_aut.export.about import PROVENANCE
from whisper_aut.export.source import holds_model
from whisper_aut.export.sums import files_of, read_sums
from whisper_aut.files import file_sha256

# Larger files are weights, which nobody edits in place; cards and configurations are.
_EDITED_BYTES = 1 << 20


def checked_place(out_dir: Path, read: Iterable[Path]) -> Path:
    """Where the export is to be made: ``out_dir`` with links followed.

    Args:
        out_dir: as it was asked for.
        read: files and folders that the export is made from; some may be names of other kinds.

    Raises:
        CheckpointError: something is there that an export did not write or that was changed since, the folder is or
            holds one of ``read``, it is inside a model or among checkpoints, or no folder can be made there.
    """
    place = out_dir.expanduser().resolve()
    for source in read:
        if source.exists():
            _refuse_overlap(place, source.resolve(), out_dir)
    if place.exists():
        _refuse_foreign(place, out_dir)
    elif not existing(place).is_dir():
        raise CheckpointError(
            f"no folder can be made there: {existing(place)} is a file", where=str(out_dir), remedy="give another --out"
        )
    return place


def put_in_place(aside: Path, place: Path) -> None:
    """Rename ``aside`` to ``place``; what was there is removed afterwards."""
    old = place.with_name(f".{place.name}.{os.getpid()}.old")
    if place.exists():
        place.rename(old)
    aside.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def clear_leftovers(place: Path) -> None:
    """Remove what exports into this folder left aside when they were killed; those that still run keep theirs."""
    name = re.compile(rf"^\.{re.escape(place.name)}\.(\d+)(\.old)?$")
    for path in place.parent.iterdir() if place.parent.is_dir() else ():
        match = name.match(path.name)
        if match and not _lives(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def existing(path: Path) -> Path:
    """The path itself or the nearest of its parents that is there."""
    while not path.exists():
        path = path.parent
    return path


def _refuse_overlap(place: Path, source: Path, out_dir: Path) -> None:
    if place == source or place in source.parents:
        raise CheckpointError(
            "the export would replace what it is made from",
            where=str(out_dir),
            remedy="give another --out; the old folder can be removed afterwards",
        )
    # A run may hold exports, but not among its checkpoints; a model's folder holds what its sums name.
    closed = [source] if holds_model(source) else [source / "checkpoints"]
    if any(folder in place.parents or folder == place for folder in closed):
        raise CheckpointError(
            "the export would lie inside what it is made from", where=str(out_dir), remedy="give another --out"
        )


def _refuse_foreign(place: Path, out_dir: Path) -> None:
    if place.is_dir() and not any(place.iterdir()):
        return
    if not place.is_dir() or not (place / PROVENANCE).is_file():
        raise CheckpointError(
            "the output folder holds something that is not an export",
            where=str(out_dir),
            remedy="give an empty or new folder",
        )
    sums = read_sums(place)
    others = [name for name in files_of(place) if name not in sums]
    if others:
        raise CheckpointError(
            f"beside an earlier export the output folder holds {len(others)} files that it did not write, the first is "
            f"'{others[0]}'",
            where=str(out_dir),
            remedy="move them away (they would be lost), or give another --out",
        )
    for name, sha256 in sums.items():
        path = place / name
        if path.is_file() and path.stat().st_size < _EDITED_BYTES and file_sha256(path) != sha256:
            raise CheckpointError(
                f"'{name}' in the output folder was changed since it was exported",
                where=str(out_dir),
                remedy="move it away (the change would be lost), or give another --out",
            )


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return process != os.getpid()
