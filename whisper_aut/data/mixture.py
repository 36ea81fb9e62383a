"""The order in which domains take turns: a fixed pattern, repeated, whose every prefix is as mixed as it can be."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from whisper_aut.constants import DOMAINS, Domain
from whisper_aut.errors import RecipeError

MAX_PATTERN_LENGTH = 1000


class Pattern:
    """Which domain each position of the endless stream of clips belongs to, in O(1) and with no state.

    One period of ``length`` positions holds exactly ``counts[domain]`` of each domain; over any prefix a domain is
    less than one clip away from its exact share.

    Args:
        weights: share of each domain; multiples of a common 1/n with n <= 1000 that sum to one.

    Raises:
        RecipeError: the weights are not.
    """

    def __init__(self, weights: Mapping[Domain, float]) -> None:
        self.domains: tuple[Domain, ...] = tuple(domain for domain in DOMAINS if domain in weights)
        self.counts: dict[Domain, int] = _whole_counts({domain: weights[domain] for domain in self.domains})
        self.length = sum(self.counts.values())
        self._turn = _interleave([self.counts[domain] for domain in self.domains])
        self._draw = np.empty(self.length, dtype=np.int64)
        for index in range(len(self.domains)):
            turns = self._turn == index
            self._draw[turns] = np.arange(turns.sum())

    def at(self, position: int) -> tuple[Domain, int]:
        """Domain at ``position`` and how many draws of that domain came before it."""
        period, place = divmod(position, self.length)
        domain = self.domains[self._turn[place]]
        return domain, period * self.counts[domain] + int(self._draw[place])

    def between(self, start: int, stop: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """``at`` for all positions from ``start`` to ``stop``: indices into ``domains``, and draws."""
        period, place = np.divmod(np.arange(start, stop, dtype=np.int64), self.length)
        turn = self._turn[place]
        counts = np.array([self.counts[domain] for domain in self.domains], dtype=np.int64)
        return turn, period * counts[turn] + self._draw[place]


def _whole_counts(weights: Mapping[Domain, float]) -> dict[Domain, int]:
    """The smallest whole numbers in the ratio of ``weights``."""
    for length in range(1, MAX_PATTERN_LENGTH + 1):
        counts = {domain: round(weight * length) for domain, weight in weights.items()}
        exact = all(abs(counts[domain] - weight * length) <= 1e-6 * length for domain, weight in weights.items())
        if exact and sum(counts.values()) == length and min(counts.values()) > 0:
            return counts
    shares = ", ".join(f"{domain} {weight:g}" for domain, weight in weights.items())
    raise RecipeError(
        f"the weights {shares} are not multiples of a common 1/n with n <= {MAX_PATTERN_LENGTH} that sum to 1",
        where="data.mixture",
        remedy="round them to three decimals",
    )


def _interleave(counts: list[int]) -> npt.NDArray[np.int64]:
    """One period [sum(counts)] of indices into ``counts``.

    Pfair scheduling (Baruah et al., "Proportionate progress", 1996) of one machine: the k-th turn of a domain with
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
