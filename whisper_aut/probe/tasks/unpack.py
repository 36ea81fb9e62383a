"""Unpack an archive from the network: regular files only, none outside the folder, and all of them or none.

Nothing is extracted by the archive libraries themselves: their filters have been bypassed more than once. Each regular
member is read as a stream and written to a path that was checked here.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from whisper_aut.errors import ProbeError
from whisper_aut.progress import Progress

_COPY_BYTES = 1 << 20
# NotImplementedError: an unknown compression; RuntimeError: an encrypted member.
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)
_ZIP_LINK = 0o12  # the file type of a symbolic link, in the upper bits of the Unix mode


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive (by its content) into ``folder``, which is made where it is missing.

    The files are written aside and moved in when all are there.

    Raises:
        ProbeError: not an archive, damaged, a member that is a link or a device, or that would leave the folder or
            replace what is there; too little room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder) as aside:
        try:
            _write_members(archive, Path(aside))
        except _DAMAGED as error:
            raise ProbeError(
                f"the archive cannot be unpacked: {error}", where=str(archive), remedy="make room, or fetch it again"
            ) from None
        made = sorted(Path(aside).iterdir())
        for path in made:
            if (folder / path.name).exists():
                raise ProbeError(
                    f"the archive holds '{path.name}', which is there already",
                    where=str(folder / path.name),
                    remedy="move it away, then fetch again",
                )
        for path in made:
            path.rename(folder / path.name)


def join_volumes(archive: Path) -> Path:
    """Join a split zip archive, whose other volumes lie beside it, into one file; Info-ZIP's ``zip`` does that.

    Version 3.0 of it spoils members that are longer than a volume; reading the result checks every member's CRC.

    Raises:
        ProbeError: there is no ``zip``, or it fails.
    """
    joined = archive.with_name(f"{archive.stem}.joined.zip")
    program = shutil.which("zip")
    by_hand = f"zip -s 0 {archive} --out {joined}"
    if program is None:
        raise ProbeError(
            f"{archive.name} is a zip archive in volumes, and the program 'zip', which joins them, is not installed",
            where=str(archive),
            remedy="install Info-ZIP's zip, then run the same command again: what is fetched is kept",
        )
    joined.unlink(missing_ok=True)
    done = subprocess.run(
        [program, "-q", "-s", "0", str(archive), "--out", str(joined)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0 or not joined.is_file():
        said = (done.stdout + done.stderr).strip() or f"exit code {done.returncode}"
        raise ProbeError(f"the volumes cannot be joined: {said}", where=by_hand, remedy="make room, then run it again")
    return joined


def _write_members(archive: Path, folder: Path) -> None:
    with _members(archive) as (members, total, num_bytes):
        free = shutil.disk_usage(folder).free
        if num_bytes > free:
            raise ProbeError(
                f"unpacking takes {num_bytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
                where=str(folder),
                remedy="make room, or give another --data-root",
            )
        progress = Progress(f"unpack {archive.name}", total, unit="files" if total else "members")
        for name, open_member in members:
            target = _contained(name, folder, archive)
            if _is_litter(target.relative_to(folder)):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with open_member() as source, target.open("xb") as file:
                shutil.copyfileobj(source, file, _COPY_BYTES)
            progress.advance()


_Members = Iterator[tuple[str, Callable[[], IO[bytes]]]]


@contextmanager
def _members(archive: Path) -> Iterator[tuple[_Members, int, int]]:
    """(regular members as name and how to open it, their number, their bytes or the archive's own)."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            infos = [info for info in opened.infolist() if not info.is_dir()]
            for info in infos:
                if info.external_attr >> 28 == _ZIP_LINK:
                    raise _unsafe(info.filename, "a link", archive)
            members = ((info.filename, partial(opened.open, info)) for info in infos)
            yield members, len(infos), sum(info.file_size for info in infos)
    else:
        with tarfile.open(archive, mode="r|*") as opened_tar:  # one pass: going back in a gzip stream starts anew
            yield _tar_members(opened_tar, archive), 0, archive.stat().st_size


def _tar_members(opened: tarfile.TarFile, archive: Path) -> _Members:
    for member in opened:
        if member.isdir():
            continue
        if not member.isreg():
            raise _unsafe(member.name, "a link or a device", archive)
        source = opened.extractfile(member)
        assert source is not None, "a regular member has content"
        yield member.name, partial(_itself, source)


def _is_litter(path: Path) -> bool:
    """What a Mac puts beside the files; two archives of a benchmark would both bring it."""
    return path.parts[0] == "__MACOSX" or path.name == ".DS_Store" or path.name.startswith("._")


def _itself(source: IO[bytes]) -> IO[bytes]:
    return source


def _contained(name: str, folder: Path, archive: Path) -> Path:
    """Where a member is written; always under the folder."""
    inside = PurePosixPath(name)
    parts = [part for part in inside.parts if part != "."]
    if inside.is_absolute() or ".." in parts or "\\" in name or "\0" in name or not parts:
        raise _unsafe(name, "a path that leaves the folder", archive)
    return folder.joinpath(*parts)


def _unsafe(name: str, what: str, archive: Path) -> ProbeError:
    return ProbeError(
        f"the archive holds {what}: '{name}'; nothing of it was kept",
        where=str(archive),
        remedy="do not use this file; get the benchmark from its owner",
    )
