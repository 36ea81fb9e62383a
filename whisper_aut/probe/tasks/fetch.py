"""Fetch a benchmark's archives from its owner: resumed where a transfer broke off, verified before they are opened."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from whisper_aut import __version__
from whisper_aut.errors import ProbeError
from whisper_aut.files import write_whole
from whisper_aut.probe.tasks.benchmark import Archive, Benchmark
from whisper_aut.probe.tasks.unpack import join_volumes, unpack
from whisper_aut.progress import Progress

NUM_ATTEMPTS = 5  # in a row that bring nothing new
TIMEOUT_SEC = 60.0  # without a byte
_READ_BYTES = 1 << 20
_MEGABYTE = 1_000_000


def fetch(benchmark: Benchmark, data_root: Path, *, keep_archives: bool = False) -> Path:
    """Fetch, verify and unpack what is not there yet; the folder of the copy.

    The same command after an interruption goes on where it was. An archive that somebody put into the folder by hand is
    taken instead of a transfer.

    Args:
        benchmark: one of the registry.
        data_root: made where it is missing.
        keep_archives: leave the archives beside what came out of them.

    Raises:
        ProbeError: offline, refused, a wrong checksum, no room, an unsafe archive, or nothing that can be fetched.
    """
    found = benchmark.find(data_root)
    if found is not None:
        print(f"{benchmark.title} is there already: {found}", file=sys.stderr)
        return found
    home = data_root / benchmark.home_folder
    if not benchmark.archives:
        raise ProbeError(
            f"{benchmark.title} cannot be fetched by this command",
            where=benchmark.homepage,
            remedy=benchmark.how_to_get(data_root),
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
        for archive in benchmark.archives:
            _fetch_one(benchmark, archive, home, keep_archives=keep_archives)
    except OSError as error:
        raise ProbeError(
            f"the benchmark cannot be written: {error}",
            where=str(home),
            remedy="make room, or give another --data-root",
        ) from None
    found = benchmark.find(data_root)
    if found is None:
        raise ProbeError(
            f"what was unpacked does not hold {benchmark.marker}",
            where=str(home),
            remedy=f"if files were moved or deleted, delete {home}/.*.done too and fetch again; else the owner has "
            f"changed the layout, and this is the one that is read: {benchmark.layout}",
        )
    return found


def _fetch_one(benchmark: Benchmark, archive: Archive, home: Path, *, keep_archives: bool) -> None:
    done = home / f".{archive.file}.done"  # says that this archive was unpacked: a later one may have failed
    if done.is_file():
        return
    files = []
    for part in (*archive.volumes, archive):
        path = home / part.file
        if not path.is_file():
            _download(part, path, benchmark)
        _verify(part, path)
        files.append(path)
    packed = files[-1]
    if archive.volumes:
        packed = join_volumes(packed)
        files.append(packed)
    unpack(packed, home / archive.into if archive.into else home)
    write_whole(done, archive.checksum + "\n")
    for path in files if not keep_archives else files[len(archive.volumes) + 1 :]:
        path.unlink()


def _download(archive: Archive, path: Path, benchmark: Benchmark) -> None:
    """Into ``PATH.partial``, which takes its name when it is whole. Every attempt goes on where the last one ended."""
    if urlsplit(archive.url).scheme not in {"http", "https"}:
        raise ValueError(f"not an http address: {archive.url}")
    partial = path.with_name(f"{path.name}.partial")
    attempts_left = NUM_ATTEMPTS
    while True:
        before = partial.stat().st_size if partial.is_file() else 0
        try:
            whole = _transfer(archive, partial, before)
        except HTTPError as error:
            if error.code < 500 and error.code != 429:  # asking again would be answered the same
                raise _not_fetched(
                    archive, path, benchmark, f"the server answers {error.code} {error.reason}"
                ) from None
            whole, reason = False, f"the server answers {error.code} {error.reason}"
        except (URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            whole, reason = False, str(getattr(error, "reason", error)) or type(error).__name__
        else:
            reason = "the connection ends early"
        if whole:
            partial.replace(path)
            return
        after = partial.stat().st_size if partial.is_file() else 0
        attempts_left = NUM_ATTEMPTS if after > before else attempts_left - 1
        if attempts_left == 0:
            raise _not_fetched(archive, path, benchmark, reason)


def _transfer(archive: Archive, partial: Path, start: int) -> bool:
    """One request; whether the file is whole after it."""
    headers = {"User-Agent": f"whisper-aut/{__version__}"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = urlopen(Request(archive.url, headers=headers), timeout=TIMEOUT_SEC)
    except HTTPError as error:
        if start and error.code == 416:  # nothing is left to ask for: whole, or longer than the file ever was
            return True
        raise
    with response:
        content_range = str(response.headers.get("Content-Range", ""))
        resumed = response.status == 206 and content_range.startswith(f"bytes {start}-")
        if not resumed:
            start = 0  # the server sends everything
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        _refuse_no_room((total or archive.num_bytes or 0) - start, partial)
        progress = Progress(f"fetch {archive.file}", _megabytes(total or archive.num_bytes or 0), unit="MB")
        progress.done = _megabytes(start)
        size = start
        with partial.open("ab" if resumed else "wb") as file:
            for block in _blocks(response):
                file.write(block)
                progress.advance(_megabytes(size + len(block)) - _megabytes(size))
                size += len(block)
    return size == total if total is not None else True


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """What arrives; a broken connection just ends it, for what has come is worth keeping."""
    while True:
        try:
            block = response.read(_READ_BYTES)
        except http.client.IncompleteRead as error:
            yield error.partial
            return
        if not block:
            return
        yield block


def _megabytes(num_bytes: int) -> int:
    return -(-num_bytes // _MEGABYTE)


def _refuse_no_room(num_bytes: int, partial: Path) -> None:
    free = shutil.disk_usage(partial.parent).free
    if num_bytes > free:
        raise ProbeError(
            f"{partial.stem} takes {num_bytes / 1e9:.1f} GB more, {free / 1e9:.1f} GB are free",
            where=str(partial.parent),
            remedy="make room (unpacking takes as much again, or more), or give another --data-root",
        )


def _verify(archive: Archive, path: Path) -> None:
    """Refuse a file that is not the one that was pinned; it is set aside, never opened."""
    algorithm, _, expected = archive.checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found == expected:
        return
    aside = path.with_name(f"{path.name}.unverified")
    path.replace(aside)
    raise ProbeError(
        f"{archive.file} is not the file that was pinned: its {algorithm} is {found}, expected {expected}",
        where=str(aside),
        remedy="delete it and fetch again; if it is the same again, the owner has changed the file: look into it, and "
        "unpack it by hand if you trust it",
    )


def _not_fetched(archive: Archive, path: Path, benchmark: Benchmark, reason: str) -> ProbeError:
    extra = f"; {benchmark.by_hand}" if benchmark.by_hand else ""
    return ProbeError(
        f"{archive.file} of {benchmark.title} cannot be fetched: {reason}",
        where=archive.url,
        remedy=f"run the same command again when the network is there, and it goes on; or download that address "
        f"elsewhere, put the file at {path}, and run the same command: it is verified and unpacked{extra}",
    )
