"""``SHA256SUMS`` of an export: written last, in the form that ``sha256sum -c`` reads, and held against the files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from whisper_aut.errors import CheckpointError, GateFailed
from whisper_aut.files import file_sha256, write_whole

SUMS = "SHA256SUMS"
# What a hub and its client, or git, put beside the files of a repository.
_NOT_OURS = (".gitattributes", ".cache/huggingface/", ".git/")
_LINE = re.compile(r"^([0-9a-f]{64}) [ *](.+)$")


@dataclass(frozen=True)
class Verdict:
    """What differs between a folder and its sums, by path inside the folder.

    Attributes:
        num_files: files that the sums name.
        missing: named, but not there.
        changed: there with another SHA-256.
        extra: there, but not named.
    """

    num_files: int
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether the folder is exactly what its sums say."""
        return not (self.missing or self.changed or self.extra)

    def lines(self) -> list[str]:
        """One line a file that differs."""
        named = (("missing", self.missing), ("changed", self.changed), ("extra", self.extra))
        return [f"{what}: {name}" for what, names in named for name in names]


def files_of(folder: Path) -> list[str]:
    """Paths of all files inside a folder, ``/`` between parts, sorted.

    Left out are ``SHA256SUMS`` itself and what a model hub adds to a repository or a download.
    """
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return sorted(name for name in found if name != SUMS and not name.startswith(_NOT_OURS))


def write_sums(folder: Path) -> None:
    """Write ``SHA256SUMS`` over every file of a folder."""
    _write(folder, {name: file_sha256(folder / name) for name in files_of(folder)})


def record_sums(folder: Path, names: Iterable[str]) -> None:
    """Put the present sums of a few files, written anew on purpose, into ``SHA256SUMS``; the other lines stay.

    A folder without sums (of an older release) is left without.

    Raises:
        CheckpointError: ``SHA256SUMS`` is damaged.
    """
    if (folder / SUMS).is_file():
        _write(folder, read_sums(folder) | {name: file_sha256(folder / name) for name in names})


def read_sums(folder: Path) -> dict[str, str]:
    """SHA-256 in hex by path inside the folder.

    Raises:
        CheckpointError: ``SHA256SUMS`` is missing, unreadable, or names a path outside the folder.
    """
    path = folder / SUMS
    if not folder.is_dir():
        raise CheckpointError("there is no such folder", where=str(folder), remedy="give the folder of an export")
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise CheckpointError(
            "the folder has no SHA256SUMS, so nothing can be verified",
            where=str(folder),
            remedy="give a folder that `whisper-aut export` wrote; one of an older release: export again",
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"SHA256SUMS cannot be read: {error}", where=str(path)) from None
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.match(line)
        inside = match is not None and not PurePosixPath(match[2]).is_absolute() and ".." not in match[2].split("/")
        if match is None or not inside:
            raise CheckpointError(
                "this is not a line of `sha256sum`" if match is None else f"'{match[2]}' leaves the folder",
                where=f"{path}:{number}",
                remedy="copy the export again",
            )
        sums[match[2]] = match[1]
    return sums


def compare_sums(folder: Path) -> Verdict:
    """Hash every file and hold it against ``SHA256SUMS``.

    Raises:
        CheckpointError: as :func:`read_sums`, or a file cannot be read.
    """
    sums, there = read_sums(folder), set(files_of(folder))
    try:
        # Links count as what they point at: a model hub's cache is made of them.
        changed = [name for name in sorted(set(sums) & there) if file_sha256(folder / name) != sums[name]]
    except OSError as error:
        raise CheckpointError(f"a file cannot be read: {error}", where=str(folder)) from None
    return Verdict(len(sums), tuple(sorted(set(sums) - there)), tuple(changed), tuple(sorted(there - set(sums))))


def verify_sums(folder: Path) -> int:
    """Number of files, all of which are what ``SHA256SUMS`` says, and no other is there.

    Raises:
        CheckpointError: there are no sums, or they cannot be used.
        GateFailed: files are missing, changed or extra; each is named.
    """
    verdict = compare_sums(folder)
    if not verdict.sound:
        raise GateFailed(
            "the folder is not what was exported:\n" + "\n".join(f"  {line}" for line in verdict.lines()),
            where=str(folder),
            remedy="copy it again, or export again",
        )
    return verdict.num_files


def _write(folder: Path, sums: dict[str, str]) -> None:
    write_whole(folder / SUMS, "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))
