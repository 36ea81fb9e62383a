"""Audio files of equal content in a build, found at little cost: no file is read for it alone, unless it may be one.

Where a build opens a file for its header anyway, the first bytes, which are in memory then, are summed with the file's
size. Files that agree in this are compared in more places, then byte for byte, up to a budget; what is over it is said.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

HEAD_BYTES = 1024
_BLOCK_BYTES = 4096  # of the middle and of the end
_MIN_BUDGET_BYTES = 64 * 2**20
_BUDGET_BYTES_A_FILE = 64 * 2**10  # a tenth of the time that looking at a file takes


@lru_cache(maxsize=16)  # clips of one recording follow one another
def head_print(path: str) -> int | None:
    """Return a number of 63 bits that files of equal content share; None where the file cannot be read.

    Five microseconds where the header is read anyway, a thirtieth of that: a build looks at millions of files.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            head, size = os.read(descriptor, HEAD_BYTES), os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return (zlib.crc32(head) << 31) ^ (size & 0x7FFF_FFFF_FFFF_FFFF)


def same_content(candidates: Iterable[Sequence[str]], num_files: int) -> dict[str, Any]:
    """Return which files are equal byte for byte.

    Args:
        candidates: paths that agree in :func:`head_print`, a group each.
        num_files: of the build, which the budget is in proportion to.

    Returns:
        groups: number of contents that several files have; files: of them, all; examples: names of a few; unread: files
        that agree in size and in three places, and were not compared further.
    """
    left = max(_MIN_BUDGET_BYTES, num_files * _BUDGET_BYTES_A_FILE)
    groups: list[list[str]] = []
    unread = 0
    for alike in candidates:
        for some in _split(alike, _middle_and_end):
            num_bytes = sum(map(_size, some))
            if num_bytes > left:
                unread += len(some)
                continue
            left -= num_bytes
            groups += _split(some, _whole)
    return {
        "groups": len(groups),
        "files": sum(map(len, groups)),
        "examples": [" = ".join(group[:3]) for group in groups[:3]],
        "unread": unread,
    }


def _split(paths: Sequence[str], read: Callable[[str], Any]) -> list[list[str]]:
    """Groups of two and more whose ``read`` is equal; files that are gone by now are in none."""
    found: dict[Any, list[str]] = defaultdict(list)
    for path in paths:
        try:
            found[read(path)].append(path)
        except OSError:
            continue
    return [group for group in found.values() if len(group) > 1]


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except OSError:
        return 0


def _middle_and_end(path: str) -> tuple[int, bytes, bytes]:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        size = os.fstat(file.fileno()).st_size
        middle = os.pread(file.fileno(), _BLOCK_BYTES, size // 2)
        return size, middle, os.pread(file.fileno(), _BLOCK_BYTES, max(0, size - _BLOCK_BYTES))


def _whole(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "blake2b").digest()
