"""Keyed permutations and shuffles: functions of a key alone, the same on every machine and with every NumPy."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

_NUM_ROUNDS = 8


def derive_key(*parts: str | int) -> int:
    """A 64-bit key from ``parts``; different parts give unrelated keys."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def mix(values: npt.NDArray[np.uint64], key: int) -> npt.NDArray[np.uint64]:
    """Hash of every value under ``key``: the output function of SplitMix64 (Steele et al., OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        z = (values + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)


def shuffled(count: int, key: int) -> npt.NDArray[np.int64]:
    """The numbers 0..count-1 in an order that ``key`` decides; for counts that fit in memory."""
    return np.argsort(mix(np.arange(count, dtype=np.uint64), key), kind="stable")


def permute(indices: npt.NDArray[np.int64], size: int, key: int) -> npt.NDArray[np.int64]:
    """Images of ``indices`` under the permutation of 0..size-1 that ``key`` decides, with no list of all indices.

    A Feistel network on the smallest even number of bits that holds ``size``, walked along its cycle until the image
    is below ``size`` (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002): a bijection whatever the
    round function, at most four walks an index on average.
    """
    assert size > 0 and (not len(indices) or (indices.min() >= 0 and indices.max() < size))
    half_bits = np.uint64(max(1, -(-(size - 1).bit_length() // 2)))
    round_keys = [derive_key(key, number) for number in range(_NUM_ROUNDS)]
    images = indices.astype(np.uint64)
    walking = np.ones(len(images), dtype=np.bool_)
    while walking.any():
        images[walking] = _feistel(images[walking], half_bits, round_keys)
        walking = images >= np.uint64(size)
    return images.astype(np.int64)


def _feistel(values: npt.NDArray[np.uint64], half_bits: np.uint64, round_keys: list[int]) -> npt.NDArray[np.uint64]:
    mask = (np.uint64(1) << half_bits) - np.uint64(1)
    left, right = values >> half_bits, values & mask
    for key in round_keys:
        left, right = right, left ^ (mix(right, key) & mask)
    return np.asarray((left << half_bits) | right, dtype=np.uint64)
