"""Where a clip's audio lies: a file, what a URL gives, or a member of a tar shard; each is read in one go.

A manifest writes it as a path (relative to the manifest's folder, or absolute), as a URL that fsspec knows, or as
``SHARD.tar#OFFSET:SIZE`` with SHARD any of these: SIZE bytes from OFFSET on are the data of one member. Nothing is
extracted; one clip is one ranged read, and the member's header is read with it, so that another shard under the same
name is noticed.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whisper_aut.data.tarfiles import BLOCK, TarError, parse_header
from whisper_aut.errors import AudioError, EnvironmentProblem, ManifestError, first_line
from whisper_aut.files import existing_form, real_path

MAX_AUDIO_BYTES = 128 * 2**20  # of one member or URL, held in memory whole: hours of anything compressed
MAX_OPEN_SHARDS = 128  # files a process keeps open; the usual limit of a process is 1024

_URL = r"^[A-Za-z][A-Za-z0-9+.-]*://"
_CHAINED = r"^[A-Za-z][A-Za-z0-9+.-]*(://.*::|::.*://)"  # as fsspec has them: simplecache::https://…
_MEMBER = r"\.tar#(0|[1-9][0-9]{0,17}):([1-9][0-9]{0,17})$"
_CLIMBS = r"^(\.\.|[^/].*/\.\.)(/|$)"
_CHECKED_ROWS = 2**20  # at a time, so that 20 million rows need little memory
_RETRY_AFTER_SEC = (0.5, 2.0)
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError, ValueError, TypeError)


@dataclass(frozen=True, slots=True)
class AudioBytes:
    """Audio that is no file of its own.

    Attributes:
        place: absolute path of a shard, or a URL.
        offset: of the member's data, in bytes.
        size: of the member's data, in bytes; None for all that the URL gives.
    """

    place: str
    offset: int = 0
    size: int | None = None

    def __str__(self) -> str:
        return self.place if self.size is None else f"{self.place}#{self.offset}:{self.size}"

    @property
    def is_url(self) -> bool:
        """Whether fsspec reads it."""
        return is_url(self.place)

    def read(self, where: str) -> io.BytesIO:
        """The bytes of a whole audio file, in one read.

        Args:
            where: named in errors.

        Raises:
            AudioError: it is missing, shorter, not what the manifest meant, or over the limit.
            EnvironmentProblem: the URL's kind needs a package that is not installed.
        """
        if self.size is None:
            data = _read_url(self.place, 0, MAX_AUDIO_BYTES + 1, where)
            if len(data) > MAX_AUDIO_BYTES:
                raise AudioError(f"it holds {_over_limit(len(data))}", where=where, remedy="cut the file")
            return io.BytesIO(data)
        start, end = self.offset - BLOCK, self.offset + self.size
        data = _read_url(self.place, start, end, where) if self.is_url else _read_file(self.place, start, end, where)
        if len(data) > end - start:
            raise AudioError(
                f"{len(data)} bytes came where {end - start} were asked for: the server does not know ranges",
                where=where,
                remedy="copy the shards to a disk, or to a server that answers range requests",
            )
        _check_member(data, self.size, where)
        if len(data) < BLOCK + self.size:  # where a server was asked; of a file this was known before
            raise AudioError(
                f"the shard ends {BLOCK + self.size - len(data)} bytes too early", where=where, remedy="copy it again"
            )
        return io.BytesIO(data[BLOCK:])  # which keeps bytes as they are; a view it would copy in pieces


AudioSource = Path | AudioBytes


def is_url(place: str) -> bool:
    """Whether ``place`` has the form of a URL, ``KIND://…``."""
    return re.match(_URL, place) is not None


def locate(audio: str, folder: Path) -> AudioSource:
    """Where ``audio`` of a manifest in ``folder`` lies.

    Args:
        audio: as :func:`malformed_audio` passes it.
        folder: resolved.

    Raises:
        ManifestError: a relative path that a link leads out of the folder, or a form that no manifest may hold.
    """
    if "\0" in audio:
        raise ManifestError("the path holds a NUL character", remedy="correct the path")
    place, member = audio, re.search(_MEMBER, audio)
    if member is not None:
        place = audio[: member.start()] + ".tar"
    elif ".tar#" in audio:
        raise ManifestError(f"audio '{audio}' is not SHARD.tar#OFFSET:SIZE", remedy="write offset and size in bytes")
    offset, size = (int(member[1]), int(member[2])) if member else (0, None)
    if size is not None and (size > MAX_AUDIO_BYTES or offset < BLOCK or offset % BLOCK):
        raise ManifestError(f"audio '{audio}' is no member of a shard", remedy="index the shard anew")
    if is_url(place):
        scheme, _, path = place.partition("://")
        if scheme.lower() not in ("file", "local"):
            return AudioBytes(place, offset, size)
        place = path
    path_of_audio = Path(place)
    if not place.isascii():
        path_of_audio = Path(existing_form(os.fspath(folder / place)))
    if not Path(place).is_absolute():
        path_of_audio = real_path(folder / path_of_audio)
        if not path_of_audio.is_relative_to(folder):
            raise ManifestError(
                f"audio '{audio}' leads out of {folder}", remedy="write absolute paths for audio that lies elsewhere"
            )
    return path_of_audio if size is None else AudioBytes(str(path_of_audio), offset, size)


def malformed_audio(audio: pa.ChunkedArray) -> Iterator[tuple[int, str]]:
    """(row, message) for every value that is of no form that :func:`locate` takes; ``{value}`` in it is the value."""
    for start in range(0, len(audio), _CHECKED_ROWS):
        part = audio.slice(start, _CHECKED_ROWS).combine_chunks()
        for rows, message in _malformed(part):
            for row in rows:
                yield start + int(row), message


def _malformed(audio: pa.Array) -> Iterator[tuple[npt.NDArray[np.int64], str]]:
    yield _rows(pc.match_substring(audio, "\0")), "holds a NUL character"
    climbs = _rows(pc.match_substring_regex(audio, _CLIMBS))
    yield climbs, "'{value}' climbs with '..'; write an absolute path for audio elsewhere"
    members = _rows(pc.match_substring(audio, ".tar#"))
    if len(members):
        yield from _malformed_members(audio.take(pa.array(members)), members)
    chained = _rows(pc.match_substring_regex(audio, _CHAINED))
    yield chained, "'{value}' chains several URLs with '::'; copy the file and name that"
    urls = _rows(pc.match_substring_regex(audio, _URL))
    if len(urls):
        yield from _malformed_urls(audio.take(pa.array(urls)), urls)


def _malformed_members(audio: pa.Array, rows: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64], str]]:
    well_formed = pc.and_(pc.match_substring_regex(audio, _MEMBER), pc.equal(pc.count_substring(audio, ".tar#"), 1))
    yield rows[_rows(pc.invert(well_formed))], "'{value}' is not SHARD.tar#OFFSET:SIZE with numbers of bytes"
    audio, rows = audio.filter(well_formed), rows[_rows(well_formed)]
    found = pc.extract_regex(audio, r"#(?P<offset>[0-9]+):(?P<size>[0-9]+)$")
    offset, size = (pc.cast(pc.struct_field(found, name), pa.int64()).to_numpy() for name in ("offset", "size"))
    misplaced = rows[(offset % BLOCK != 0) | (offset < BLOCK)]
    yield misplaced, "'{value}' points at no member: data in a tar shard begin at a multiple of 512 bytes, from 512 on"
    yield rows[size > MAX_AUDIO_BYTES], "'{value}' asks for more than " + f"{MAX_AUDIO_BYTES // 2**20} MiB"


def _malformed_urls(audio: pa.Array, rows: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64], str]]:
    import fsspec  # needed where there are URLs

    schemes = pc.utf8_lower(pc.struct_field(pc.extract_regex(audio, r"^(?P<scheme>[^:]+)://"), "scheme"))
    unknown = pc.invert(pc.is_in(schemes, value_set=pa.array(fsspec.available_protocols(), schemes.type)))
    yield rows[_rows(unknown)], "'{value}': fsspec knows no such kind of URL"
    yield rows[_rows(pc.match_substring_regex(audio, r"://$"))], "'{value}' names nothing"
    relative = pc.match_substring_regex(audio, r"^(?i:file|local)://[^/]")
    yield rows[_rows(relative)], "'{value}' is not absolute; write file:///PATH"


def _rows(mask: pa.Array) -> npt.NDArray[np.int64]:
    return np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False))


def _check_member(data: bytes, size: int, where: str) -> None:
    """The block before a member's data is its header: the sum in it tells it from anything else."""
    if data[124:136] == b"%011o\0" % size and data[257:263] == b"ustar\0":
        return  # as `manifest pack` writes it; the sum takes longer than the read
    try:
        header = parse_header(bytes(data[:BLOCK]))
    except TarError:
        header = None
    if header is None or header.size != size:
        found = "no member begins there" if header is None else f"the member there has {header.size}"
        raise AudioError(
            f"the shard is not the one that the manifest was made for: {size} bytes are wanted, {found}",
            where=where,
            remedy="check the shards with `whisper-aut manifest verify-shards`, or index them anew",
        )


class _OpenShard:
    """A file descriptor that is closed with its last user, whatever the cache or other threads do meanwhile."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not keep us waiting
        self.identity = _identity(os.fstat(self.descriptor))
        if hasattr(os, "posix_fadvise"):  # clips are read at random: what lies beside one is not read ahead
            os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # it was never opened
            os.close(self.descriptor)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class _OpenShards:
    """The shards used last, each open once: reads name their place, so threads and forked processes share them."""

    def __init__(self) -> None:
        self._shards: OrderedDict[str, _OpenShard] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str) -> tuple[_OpenShard, int]:
        """The shard and its size in bytes; opened anew where another file has taken its name.

        Raises:
            OSError: it cannot be opened.
        """
        status = os.stat(path)  # noqa: PTH116 (a Path costs more than the call)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "it is no regular file")
        with self._lock:
            shard = self._shards.get(path)
            if shard is None or shard.identity != _identity(status):
                shard = self._shards[path] = _OpenShard(path)
            self._shards.move_to_end(path)
            if len(self._shards) > MAX_OPEN_SHARDS:
                self._shards.popitem(last=False)
        return shard, shard.identity[2]


_open_shards = _OpenShards()


def _forget() -> None:
    """In a forked process: a lock that another thread held at that moment would never be released."""
    global _open_shards
    _open_shards = _OpenShards()


os.register_at_fork(after_in_child=_forget)


def _read_file(path: str, start: int, end: int, where: str) -> bytes:
    try:
        shard, num_bytes = _open_shards.get(path)
        if end > num_bytes:
            raise AudioError(
                f"the clip ends at byte {end}, the shard at {num_bytes}",
                where=where,
                remedy="the shard is cut off or another one: check it with `whisper-aut manifest verify-shards`",
            )
        data = os.pread(shard.descriptor, end - start, start)
        while data and len(data) < end - start:  # network file systems may give less at a time
            more = os.pread(shard.descriptor, end - start - len(data), start + len(data))
            if not more:
                break
            data += more
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise AudioError(f"the shard cannot be read: {reason}", where=where, remedy="check the path") from None
    if len(data) < end - start:
        raise AudioError("the shard became shorter while it was read", where=where, remedy="copy it again")
    return data


def _read_url(url: str, start: int, end: int, where: str) -> bytes:
    """Bytes ``start`` to ``end`` of what ``url`` gives, or fewer where it ends before; a hitch is tried again."""
    import fsspec  # needed where there are URLs

    for wait_sec in (*_RETRY_AFTER_SEC, None):
        try:
            files, path = fsspec.core.url_to_fs(url)
            if url.lower().startswith(("http://", "https://")):
                return _read_http(files, path, start, end)
            return _whole(files.cat_file(path, start=start, end=end))
        except ImportError as error:
            raise EnvironmentProblem(
                f"{url.partition('://')[0]}:// cannot be read here: {first_line(error)}",
                where=where,
                remedy="install the package it names (pip install 'fsspec[http]', s3fs, gcsfs, ...), or copy the files",
            ) from None
        except Exception as error:  # every file system has errors of its own
            if wait_sec is None or isinstance(error, _FINAL):
                raise AudioError(
                    f"the URL cannot be read: {type(error).__name__}: {first_line(error)}",
                    where=where,
                    remedy="check the address, the network and the permissions",
                ) from None
            time.sleep(wait_sec)
    raise AssertionError("the last attempt returns or raises")


def _read_http(files: Any, url: str, start: int, end: int) -> bytes:
    """One ranged request. A server that does not know ranges would send a whole shard: a byte more than was asked for
    is read, and then no more."""
    # With a size, fsspec does not ask for one first; with no block size, it streams the answer to this one request.
    with files.open(url, "rb", block_size=0, size=end, headers={"Range": f"bytes={start}-{end - 1}"}) as stream:
        data = bytearray()
        while len(data) <= end - start and (part := stream.read(end - start + 1 - len(data))):
            data += part
    return bytes(data)


def _whole(data: Any) -> bytes:
    return data if isinstance(data, bytes) else bytes(data)


def _over_limit(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.0f} MiB or more; at most {MAX_AUDIO_BYTES // 2**20} MiB"
