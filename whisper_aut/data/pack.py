"""Manifests to tar shards that WebDataset reads, and a manifest that points into them; killed anywhere, it goes on.

A folder of shards holds ``shard-000000.tar`` …, ``manifest.parquet``, ``SHA256SUMS`` (for ``sha256sum -c``),
``pack.json`` (what it was made of) and, where clips were unreadable, ``rejects.jsonl``. While it is being made,
``.packing`` holds one table for every finished shard, written after the shard: the first shard without one is where a
run goes on. Every byte is a function of the manifests, the settings and the versions of the encoders.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import soxr

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.data.encode import AudioFormat, Encoded
from whisper_aut.data.pack_source import PackSource, shard_key
from whisper_aut.data.pack_workers import Job, encoded_clips
from whisper_aut.data.quarantine import Quarantine, QuarantineEntry
from whisper_aut.data.tarfiles import BLOCK, END, packed
from whisper_aut.errors import EnvironmentProblem, ManifestError
from whisper_aut.files import file_sha256, whole_file, write_whole
from whisper_aut.progress import Progress

MANIFEST, SUMS, RECORD, REJECTS, _ASIDE = "manifest.parquet", "SHA256SUMS", "pack.json", "rejects.jsonl", ".packing"
_METADATA = b"whisper_aut.pack"
_VERSION = 2  # 2: audio whose header lies, and MP3 right behind a seek, as they are


@dataclass(frozen=True)
class PackSettings:
    """What decides the bytes.

    Attributes:
        audio_format: of the clips.
        shard_mb: size of a shard, in 10^6 bytes; a clip that is larger alone gets a shard of its own.
    """

    audio_format: AudioFormat = "flac"
    shard_mb: float = 256.0


@dataclass
class _Totals:
    """Of one shard, or of all."""

    next_row: int = 0
    num_clips: int = 0
    num_bytes: int = 0
    num_samples: int = 0
    num_scaled: int = 0
    num_rejects: int = 0
    sha256: str = ""
    rejects: list[QuarantineEntry] = field(default_factory=list)


def pack_manifests(
    paths: Sequence[Path],
    out: Path,
    settings: PackSettings,
    *,
    num_workers: int,
    max_reject_rate: float = 0.02,
    show_progress: bool = False,
) -> dict[str, Any]:
    """Put all clips of ``paths``, as 16 kHz mono, into shards in ``out``; the number of workers changes nothing.

    Returns:
        what is in the folder: shards, clips, hours, bytes, rejected clips, clips made softer.

    Raises:
        ManifestError: a manifest is wrong, domains are mixed, ids are doubled, too many clips are unreadable, or the
            folder holds something else.
        EnvironmentProblem: the disk is full, or a worker was killed.
    """
    source = PackSource(paths)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _claimed(out, _record(source, settings)):
            if not (out / SUMS).exists():
                totals = _pack(source, out, settings, num_workers, max_reject_rate, show_progress)
                _finish(source, out, totals)
            shutil.rmtree(out / _ASIDE, ignore_errors=True)
            return _summary(out)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise EnvironmentProblem(
            f"the shards cannot be written: {error.strerror or error}",
            where=str(error.filename or out),
            remedy=("free space" if full else "check the folder and its permissions")
            + "; finished shards stand, and the same command goes on after them",
        ) from None


def shard_name(number: int) -> str:
    """``shard-000000.tar``, ``shard-000001.tar``, …"""
    return f"shard-{number:06d}.tar"


def _record(source: PackSource, settings: PackSettings) -> dict[str, Any]:
    """All that decides the bytes."""
    return {
        "version": _VERSION,
        **asdict(settings),
        "manifests": [{"name": m.path.name, "clips": len(m), "fingerprint": m.fingerprint} for m in source.manifests],
        "encoder": soundfile.__libsndfile_version__,
        "resampler": soxr.__version__,
    }


@contextmanager
def _claimed(out: Path, record: dict[str, Any]) -> Iterator[None]:
    """``out`` as the folder of this packing alone.

    Raises:
        ManifestError: it is another's, or a process is at work in it.
    """
    descriptor = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ManifestError(
                "another process packs into this folder", where=str(out), remedy="wait for it"
            ) from None
        _check_record(out, record)
        for folder in (out, out / _ASIDE):
            for left_over in folder.glob(".*.partial"):  # of a process that was killed
                left_over.unlink()
        yield
    finally:
        os.close(descriptor)


def _check_record(out: Path, record: dict[str, Any]) -> None:
    path = out / RECORD
    if not path.exists():
        if any(out.glob("*.tar")) or (out / MANIFEST).exists():
            raise ManifestError("the folder holds other shards", where=str(out), remedy="give an empty folder")
        write_whole(path, json.dumps(record, indent=1) + "\n")
        return
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        found = None
    if found != record and not any(out.glob("*.tar")) and not (out / MANIFEST).exists():
        shutil.rmtree(out / _ASIDE, ignore_errors=True)
        write_whole(path, json.dumps(record, indent=1) + "\n")  # nothing was finished: begun anew
    elif found != record:
        differing = [key for key, value in record.items() if not isinstance(found, dict) or found.get(key) != value]
        raise ManifestError(
            f"the folder was begun with different {', '.join(differing) or 'settings'}",
            where=str(path),
            remedy="give the manifests and options of then, or an empty folder",
        )


def _pack(
    source: PackSource, out: Path, settings: PackSettings, num_workers: int, max_reject_rate: float, show_progress: bool
) -> list[_Totals]:
    """Write the shards that are missing."""
    (out / _ASIDE).mkdir(exist_ok=True)
    finished = list(_finished(out))
    (out / REJECTS).unlink(missing_ok=True)
    quarantine = Quarantine(out / REJECTS, max_reject_rate, option="--max-reject-rate")
    for totals in finished:
        quarantine.record(totals.rejects, totals.num_clips + len(totals.rejects))
    next_row = finished[-1].next_row if finished else 0
    progress = Progress("pack", len(source) - next_row, unit="clips", enabled=show_progress)
    clips = _Ahead(encoded_clips(source.jobs(next_row), settings.audio_format, num_workers))
    try:
        while clips.head is not None:
            totals, table = _write_shard(source, clips, out, len(finished), settings, quarantine, progress)
            _write_table(out / _ASIDE / _table_name(len(finished)), [table], table.schema, totals)
            finished.append(totals)
    finally:
        clips.close()
    quarantine.check()
    return finished


class _Ahead:
    """Encoded clips with a look at the next one: it decides whether a shard is full."""

    def __init__(self, clips: Iterator[tuple[Job, Encoded | str]]) -> None:
        self._clips = clips
        self.head = next(clips, None)

    def advance(self) -> None:
        self.head = next(self._clips, None)

    def close(self) -> None:
        """Let the workers go."""
        close = getattr(self._clips, "close", None)
        if close is not None:
            close()


def _write_shard(
    source: PackSource,
    clips: _Ahead,
    out: Path,
    number: int,
    settings: PackSettings,
    quarantine: Quarantine,
    progress: Progress,
) -> tuple[_Totals, pa.Table]:
    totals, rows, digest = _Totals(), list[dict[str, Any]](), hashlib.sha256()
    path = out / shard_name(number)
    with whole_file(path) as file:
        while clips.head is not None:
            job, encoded = clips.head
            if isinstance(encoded, str):
                totals.rejects.append(QuarantineEntry(job.clip_id, source.where(job.row), encoded))
                quarantine.record(totals.rejects[-1:], 1)
            else:
                row = source.packed_row(job.row, encoded)
                members = _members(row, encoded, settings.audio_format)
                if rows and totals.num_bytes + len(members) + len(END) > settings.shard_mb * 1e6:
                    break
                row["audio"] = f"{path.name}#{totals.num_bytes + BLOCK}:{len(encoded.data)}"
                rows.append(row)
                file.write(members)
                digest.update(members)
                quarantine.record([], 1)
                totals.num_clips += 1
                totals.num_bytes += len(members)
                totals.num_samples += encoded.num_samples
                totals.num_scaled += encoded.scaled
            totals.next_row = job.row + 1
            progress.advance()
            clips.advance()
        if not rows:
            raise ManifestError(
                f"none of {len(totals.rejects)} clips is readable; the first: {totals.rejects[0].reason}",
                where=totals.rejects[0].where,
                remedy="check that the audio lies where the manifest says",
            )
        file.write(END)
        digest.update(END)
    totals.num_bytes += len(END)
    totals.num_rejects, totals.sha256 = len(totals.rejects), digest.hexdigest()
    return totals, pa.Table.from_pylist(rows, schema=source.schema())


def _members(row: dict[str, Any], encoded: Encoded, audio_format: AudioFormat) -> bytes:
    """Audio first, so that its data begin one block behind the clip's first byte."""
    key = shard_key(row["id"])
    told = {name: value for name, value in row.items() if name != "audio"}
    return (
        packed(f"{key}.{audio_format}", encoded.data)
        + packed(f"{key}.txt", row["text"].encode())
        + packed(f"{key}.json", json.dumps(told, ensure_ascii=False, default=str).encode())
    )


def _table_name(number: int) -> str:
    return f"{shard_name(number)}.parquet"


def _write_table(path: Path, tables: Iterator[pa.Table] | list[pa.Table], schema: pa.Schema, totals: _Totals) -> None:
    told = schema.with_metadata({_METADATA: json.dumps(asdict(totals))})
    with whole_file(path) as file, pq.ParquetWriter(file, told) as writer:
        for table in tables:
            writer.write_table(table.replace_schema_metadata(told.metadata))


def _read_totals(path: Path) -> _Totals:
    told = json.loads(pq.read_schema(path).metadata[_METADATA])
    return _Totals(**told | {"rejects": [QuarantineEntry(**entry) for entry in told["rejects"]]})


def _finished(out: Path) -> Iterator[_Totals]:
    """Of every finished shard, up to the first that is not."""
    number = 0
    while (table := out / _ASIDE / _table_name(number)).exists():
        totals, shard = _read_totals(table), out / shard_name(number)
        if not shard.exists() or shard.stat().st_size != totals.num_bytes:
            return
        yield totals
        number += 1


def _finish(source: PackSource, out: Path, shards: list[_Totals]) -> None:
    """Manifest, rejects and, as the mark that all is done, the sums."""
    totals = _Totals(
        next_row=len(source),
        num_clips=sum(shard.num_clips for shard in shards),
        num_bytes=sum(shard.num_bytes for shard in shards),
        num_samples=sum(shard.num_samples for shard in shards),
        num_scaled=sum(shard.num_scaled for shard in shards),
        num_rejects=sum(shard.num_rejects for shard in shards),
    )
    tables = (pq.read_table(out / _ASIDE / _table_name(number)) for number in range(len(shards)))
    _write_table(out / MANIFEST, tables, source.schema(), totals)
    if totals.num_rejects:
        rejects = [entry for shard in shards for entry in shard.rejects]
        lines = [json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in rejects]
        write_whole(out / REJECTS, "".join(lines))
    sums = [(file_sha256(out / MANIFEST), MANIFEST)]
    sums += [(shard.sha256, shard_name(number)) for number, shard in enumerate(shards)]
    write_whole(out / SUMS, "".join(f"{digest}  {name}\n" for digest, name in sums))


def _summary(out: Path) -> dict[str, Any]:
    totals = _read_totals(out / MANIFEST)
    return {
        "manifest": str(out / MANIFEST),
        "shards": sum(1 for _ in out.glob("shard-*.tar")),
        "clips": totals.num_clips,
        "hours": totals.num_samples / SAMPLE_RATE / 3600,
        "bytes": totals.num_bytes,
        "rejected": totals.num_rejects,
        "made_softer": totals.num_scaled,
    }
