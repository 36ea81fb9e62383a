"""Whether a folder of shards is what was packed: sums of whole files, and the member behind every row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from whisper_aut.data.locate import AudioBytes
from whisper_aut.data.manifest import Clip, Manifest, read_manifest
from whisper_aut.data.pack import MANIFEST, SUMS
from whisper_aut.data.pack_source import shard_key
from whisper_aut.data.tarfiles import BLOCK, TarError, parse_header
from whisper_aut.errors import ManifestError
from whisper_aut.files import file_sha256
from whisper_aut.progress import track

_SUM = re.compile(r"([0-9a-f]{64}) [ *]([^/\0]+)")


@dataclass(frozen=True)
class ShardReport:
    """What a check found: ``problems`` is empty when all is well; ``summary`` counts, for people."""

    problems: list[str]
    summary: dict[str, Any]


def check_shards(folder: Path, *, show_progress: bool = False) -> ShardReport:
    """Read every shard of ``folder`` once, and look up the member of every row of its manifest.

    Raises:
        ManifestError: there are no sums, or the manifest as a whole cannot be read.
    """
    sums = _sums(folder / SUMS)
    present = {path.name for path in folder.glob("*.tar")}
    problems = [f"{folder / name}: is not in {SUMS}" for name in sorted(present - set(sums))]
    for name, expected in track(sums.items(), "check sums", total=len(sums), unit="files", enabled=show_progress):
        problems += _sum_problem(folder / name, expected)
    manifest, wrong = read_manifest(folder / MANIFEST)
    problems += map(str, wrong)
    broken = {problem.where for problem in wrong}  # said already
    rows = range(len(manifest))
    for row in track(rows, "check members", total=len(rows), unit="clips", enabled=show_progress):
        if manifest.where(row) not in broken and (found := _member_problem(manifest, row)) is not None:
            problems.append(f"{manifest.where(row)}: audio: {found} (clip {manifest.clip(row).id})")
    summary = {"folder": str(folder), "shards": len(present), "clips": len(manifest), "problems": len(problems)}
    return ShardReport(problems, summary)


def _sums(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"the sums of the shards cannot be read: {error}",
            where=str(path),
            remedy="give a folder that `whisper-aut manifest pack` finished; the same command finishes one it began",
        ) from None
    found = [_SUM.fullmatch(line) for line in lines]
    for number, match in enumerate(found, start=1):
        if match is None:
            raise ManifestError("this is no line of sha256sum", where=f"{path}:{number}", remedy="restore the file")
    return {match[2]: match[1] for match in found if match}


def _sum_problem(path: Path, expected: str) -> Iterator[str]:
    try:
        found = file_sha256(path)
    except OSError as error:
        yield f"{path}: cannot be read: {error.strerror}"
        return
    if found != expected:
        yield f"{path}: its SHA-256 is {found[:16]}…, packed was {expected[:16]}…"


def _member_problem(manifest: Manifest, row: int) -> str | None:
    try:
        source = manifest.audio_source(row)
    except ManifestError as error:
        return error.what
    if not isinstance(source, AudioBytes) or source.size is None:
        return "is in no shard"
    try:
        with Path(source.place).open("rb") as file:
            return _differs(file, source, manifest.clip(row))
    except OSError as error:
        return f"{source.place} cannot be read: {error.strerror}"


def _differs(file: BinaryIO, source: AudioBytes, clip: Clip) -> str | None:
    file.seek(source.offset - BLOCK)
    try:
        header = parse_header(file.read(BLOCK))
    except TarError as error:
        return f"{source}: {error}"
    if header is None:
        return f"{source}: behind the last member"
    if header.size != source.size:
        return f"{source}: the member has {header.size} bytes"
    key, _, _ = header.name.decode(errors="replace").partition(".")
    return None if key == shard_key(clip.id) else f"{source}: the member is of '{key}'"
