"""Tables of large manifests, kept between runs: a manifest of twenty million rows is checked once, not at every start.

They lie in ``$WHISPER_AUT_CACHE``, else in ``$XDG_CACHE_HOME/whisper-aut``, else in ``~/.cache/whisper-aut``, and may
be deleted at any time. A table belongs to a file of one size and time of change; another file is read anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from whisper_aut.data.clip_table import FORMAT_VERSION, ClipTable, open_table
from whisper_aut.errors import ManifestError

Origin = dict[str, Any]


def cache_folder() -> Path:
    """Where tables are kept."""
    own = os.environ.get("WHISPER_AUT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else (Path(base) if base else Path.home() / ".cache") / "whisper-aut"


def cached_table(path: Path, make: Callable[[Path, Origin], ClipTable]) -> ClipTable:
    """The table of the manifest at ``path``; made by ``make(folder, origin)`` where none is kept.

    One process of a machine, or of several that share the cache, makes it, and the others wait for it.

    Raises:
        ManifestError: the cache cannot be written, or the file changes while it is read; whatever ``make`` raises.
    """
    origin = _origin(path)
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]
    tables = cache_folder() / "manifests"
    final = tables / f"{name}.v{FORMAT_VERSION}.{origin['size']}.{origin['mtime_ns']}"
    if (found := _opened(final, origin)) is not None:
        return found
    try:
        tables.mkdir(parents=True, exist_ok=True)
        with (tables / f"{name}.lock").open("a") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            if (found := _opened(final, origin)) is not None:
                return found
            return _make(path, origin, final, make)
    except OSError as error:
        raise _unwritable(tables, error) from None


@contextmanager
def working_folder() -> Iterator[Path]:
    """A folder in the cache that is removed in the end.

    Raises:
        ManifestError: the cache cannot be written.
    """
    tables = cache_folder() / "manifests"
    try:
        tables.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=tables, prefix="working.") as name:
            yield Path(name)
    except OSError as error:
        raise _unwritable(tables, error) from None


def is_remembered(what: str, digest: str) -> bool:
    """Whether a check that takes long has passed before, of things whose fingerprints ``digest`` stands for."""
    return (cache_folder() / "checked" / f"{what}.{digest}").exists()


def remember(what: str, digest: str) -> None:
    """Say so for the next time; where the cache cannot be written, it is checked again."""
    checked = cache_folder() / "checked"
    with suppress(OSError):
        checked.mkdir(parents=True, exist_ok=True)
        (checked / f"{what}.{digest}").touch()


def _unwritable(tables: Path, error: OSError) -> ManifestError:
    return ManifestError(
        f"the columns of a large manifest cannot be kept: {error}",
        where=str(tables),
        remedy="free some space (about twice the manifest's size), or set WHISPER_AUT_CACHE to another folder",
    )


def _make(path: Path, origin: Origin, final: Path, make: Callable[[Path, Origin], ClipTable]) -> ClipTable:
    prefix = final.name.partition(".")[0]
    # Of this manifest as it was before, or begun by a process that died: nobody else is here, the lock is ours. A run
    # that has mapped an old one keeps what it has mapped.
    for stale in final.parent.glob(f"{prefix}.*"):
        if stale.is_dir():
            shutil.rmtree(stale, ignore_errors=True)
    aside = final.with_name(f"{prefix}.new.{os.getpid()}")
    aside.mkdir()
    print(f"reading {path} ({origin['size'] / 1e9:.1f} GB) and keeping its columns in {final}", file=sys.stderr)
    try:
        table = make(aside, origin)  # mapped; its files keep their place under another name
        if _origin(path) != origin:
            raise ManifestError("the manifest changed while it was read", where=str(path), remedy="begin again")
        aside.rename(final)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return table


def _origin(path: Path) -> Origin:
    status = path.stat()
    return {"path": str(path.resolve()), "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _opened(folder: Path, origin: Origin) -> ClipTable | None:
    try:
        return open_table(folder, origin)
    except (OSError, ValueError, KeyError):
        return None
