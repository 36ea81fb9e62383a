"""Whole numbers, one a clip, as text that ``probe.json`` can hold: base64 of zlib of little-endian integers.

With them two files can be held against each other clip by clip, long after the embeddings are gone.
"""

from __future__ import annotations

import base64
import binascii
import zlib

import numpy as np

from whisper_aut.errors import ProbeError

_TYPE = np.dtype("<u4")


def pack(numbers: np.ndarray) -> str:
    """Text of ``numbers``, whole and from 0 to 2**32 - 1, of any shape."""
    return base64.b64encode(zlib.compress(numbers.astype(_TYPE).tobytes(), 9)).decode("ascii")


def unpack(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers again, int64 of ``shape``.

    Raises:
        ProbeError: the text is damaged, or holds another count of numbers.
    """
    wanted = int(np.prod(shape)) * _TYPE.itemsize
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(base64.b64decode(text, validate=True), wanted + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ProbeError(f"numbers of single clips are damaged: {error}", remedy="probe again") from None
    if len(content) != wanted or not stream.eof:
        raise ProbeError(
            f"there should be {wanted // _TYPE.itemsize} numbers of single clips, there are others",
            remedy="probe again",
        )
    return np.frombuffer(content, _TYPE).astype(np.int64).reshape(shape)
