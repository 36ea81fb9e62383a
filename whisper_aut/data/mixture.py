"""The order in which domains, or the sources of one, take turns: a fixed pattern, repeated, as mixed as it can be."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from whisper_aut.errors import RecipeError

MAX_PATTERN_LENGTH = 1000
Key = TypeVar("Key", bound=Hashable)


class Pattern(Generic[Key]):
    """Whose turn each position of an endless stream of clips is, in O(1) and with no state.

    One period of ``length`` positions holds exactly ``counts[key]`` turns of each key; over any prefix a key is less
    than one turn away from its exact share.

    Args:
        weights: share of each key; multiples of a common 1/n with n <= 1000 that sum to one.
        where: they are from, for the message.

    Raises:
        RecipeError: the weights are not.
    """

    def __init__(self, weights: Mapping[Key, float], where: str = "data.mixture") -> None:
        self.keys: tuple[Key, ...] = tuple(weights)
        self.counts: dict[Key, int] = _whole_counts(weights, where)
        self.length = sum(self.counts.values())
        self._turn = _interleave([self.counts[key] for key in self.keys])
        self._draw = np.empty(self.length, dtype=np.int64)
        for index in range(len(self.keys)):
            turns = self._turn == index
            self._draw[turns] = np.arange(turns.sum())
        self._per_period = np.array([self.counts[key] for key in self.keys], dtype=np.int64)

    def at(self, position: int) -> tuple[Key, int]:
        """Whose turn ``position`` is, and how many turns of that key came before it."""
        turns, draws = self.of(np.array([position], dtype=np.int64))
        return self.keys[turns[0]], int(draws[0])

    def of(self, positions: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """``at`` for many positions: indices into ``keys``, and turns before."""
        period, place = np.divmod(positions, self.length)
        turn = self._turn[place]
        return turn, period * self._per_period[turn] + self._draw[place]

    def between(self, start: int, stop: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """``of`` all positions from ``start`` to ``stop``."""
        return self.of(np.arange(start, stop, dtype=np.int64))

    def turns_before(self, position: int) -> list[int]:
        """How many turns each key has before ``position``."""
        periods, rest = divmod(position, self.length)
        begun = np.bincount(self._turn[:rest], minlength=len(self.keys))
        return [int(count) for count in periods * self._per_period + begun]


def _whole_counts(weights: Mapping[Key, float], where: str) -> dict[Key, int]:
    """The smallest whole numbers in the ratio of ``weights``."""
    for length in range(1, MAX_PATTERN_LENGTH + 1):
        counts = {key: round(weight * length) for key, weight in weights.items()}
        exact = all(abs(counts[key] - weight * length) <= 1e-6 * length for key, weight in weights.items())
        if exact and sum(counts.values()) == length and min(counts.values()) > 0:
            return counts
    shares = ", ".join(f"{key} {weight:g}" for key, weight in weights.items())
    raise RecipeError(
        f"the weights {shares} are not multiples of a common 1/n with n <= {MAX_PATTERN_LENGTH} that sum to 1",
        where=where,
        remedy="round them to three decimals",
    )


def _interleave(counts: list[int]) -> npt.NDArray[np.int64]:
    """One period [sum(counts)] of indices into ``counts``.

    Pfair scheduling (Baruah et al., "Proportionate progress", 1996) of one machine: the k-th turn of a key with
    c of P turns lies in the slots from floor(k P / c) up to ceil((k + 1) P / c); the earliest end goes first. Then
    the number of turns up to any slot n differs from n c / P by less than one.
    """
    length = sum(counts)
    taken = [0] * len(counts)
    turns = np.empty(length, dtype=np.int64)
    for slot in range(length):
        ready = [i for i, count in enumerate(counts) if taken[i] < count and taken[i] * length // count <= slot]
        chosen = min(ready, key=lambda i: -(-(taken[i] + 1) * length // counts[i]))
        taken[chosen] += 1
        turns[slot] = chosen
    return turns
