"""Mean average precision of multi-label scores: value, bootstrap intervals over recordings, paired permutation test.

Legend: N clips, C classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score

from whisper_aut.probe.statistics import CONFIDENCE

NUM_RESAMPLES = 1_000  # each ranks every class again: a tenth of what a count of right answers affords
_CHUNK_CELLS = 4_000_000  # resamples x clips held at once
_SAME = 1e-9  # two mean average precisions that differ by less are equal but for rounding


@dataclass(frozen=True)
class RankedIntervals:
    """95% intervals in percent: of each encoder, and of adapted - base on the same draws."""

    base: tuple[float, float]
    adapted: tuple[float, float]
    delta: tuple[float, float]


def average_precisions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average precision of each class in percent, as scikit-learn has it.

    Args:
        scores: float [N, C], higher for more likely.
        labels: bool [N, C], each class with at least one True.
    """
    return 100.0 * np.asarray(average_precision_score(labels, scores, average=None)).reshape(-1)


def ranked_intervals(
    base: np.ndarray,
    adapted: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    seed: int,
    num_resamples: int = NUM_RESAMPLES,
) -> RankedIntervals:
    """Percentile intervals of mean average precision; groups of clips are drawn with replacement, as for accuracy.

    A class that a draw leaves without a clip is left out of that draw's mean, for both encoders.

    Args:
        base: scores of the base [N, C].
        adapted: scores of the adapted encoder [N, C].
        labels: bool [N, C].
        groups: int [N].
        seed: the same seed gives the same intervals.
        num_resamples: R.
    """
    _, group_ids = np.unique(groups, return_inverse=True)
    num_groups = int(group_ids.max()) + 1
    rng = np.random.default_rng(seed)
    of_base, of_adapted = _Ranking.of(base, labels), _Ranking.of(adapted, labels)
    found: list[np.ndarray] = []
    for count in _chunks(num_resamples, len(labels)):
        counts = rng.multinomial(num_groups, np.full(num_groups, 1.0 / num_groups), size=count)
        weights = counts[:, group_ids].astype(np.float32)
        found.append(np.stack([of_base.means(weights), of_adapted.means(weights)]))
    means = 100.0 * np.concatenate(found, axis=1)  # [2, R]
    tail = (1.0 - CONFIDENCE) / 2.0
    ends = [np.quantile(values, [tail, 1.0 - tail]) for values in (means[0], means[1], means[1] - means[0])]
    return RankedIntervals(*((float(low), float(high)) for low, high in ends))


def permutation_test(
    base: np.ndarray,
    adapted: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    seed: int,
    num_resamples: int = NUM_RESAMPLES,
) -> float:
    """Two-sided p-value of the difference in mean average precision, at least 1/(R+1).

    Under no difference, whose scores are whose does not matter: both encoders' scores of a whole recording change
    places with probability one half (Good, Permutation Tests, 2000, section 3.2).
    """
    num_clips = len(labels)
    _, group_ids = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    # One ranking of both encoders' scores: a permutation picks of each pair the one that plays a part.
    pool = _Ranking.of(np.concatenate([base, adapted]), np.concatenate([labels, labels]))

    def differences(swapped: np.ndarray) -> np.ndarray:
        swap = swapped[:, group_ids].astype(np.float32)
        as_base, as_adapted = np.hstack([1 - swap, swap]), np.hstack([swap, 1 - swap])
        return np.asarray(pool.means(as_adapted) - pool.means(as_base))

    observed = float(differences(np.zeros((1, int(group_ids.max()) + 1)))[0])
    num_as_far = 0
    for count in _chunks(num_resamples, 2 * num_clips):
        swapped = rng.integers(0, 2, size=(count, int(group_ids.max()) + 1))
        num_as_far += int(np.sum(np.abs(differences(swapped)) >= abs(observed) - _SAME))
    return (1 + num_as_far) / (1 + num_resamples)


@dataclass(frozen=True)
class _Ranking:
    """Clips of each class from the highest score down; equal scores are one threshold."""

    orders: tuple[np.ndarray, ...]  # of each class, int [N]
    positives: tuple[np.ndarray, ...]  # ranks of the clips that have the class
    ends: tuple[np.ndarray, ...]  # of each of those, the last rank with the same score

    @classmethod
    def of(cls, scores: np.ndarray, labels: np.ndarray) -> _Ranking:
        orders, positives, ends = [], [], []
        for column, has in zip(scores.T, labels.T, strict=True):
            order = np.argsort(-column, kind="stable")
            ranked = -column[order]
            at = np.flatnonzero(has[order])
            orders.append(order)
            positives.append(at)
            ends.append(np.searchsorted(ranked, ranked[at], side="right") - 1)
        return cls(tuple(orders), tuple(positives), tuple(ends))

    def means(self, weights: np.ndarray) -> np.ndarray:
        """Mean average precision [R] where clip n counts ``weights[r, n]`` times; float32 [R, N], whole numbers."""
        total = np.zeros(len(weights))
        num_classes = np.zeros(len(weights))
        for order, at, ends in zip(self.orders, self.positives, self.ends, strict=True):
            ranked = weights[:, order]
            # Whole numbers below 2**24 are exact in float32.
            above = np.cumsum(ranked, axis=1, out=ranked.copy())[:, ends].astype(np.float64)
            own = ranked[:, at].astype(np.float64)
            hits = np.cumsum(own, axis=1)
            hits_above = hits[:, np.searchsorted(at, ends, side="right") - 1]
            precision = np.divide(hits_above, above, out=np.zeros_like(above), where=above > 0)
            there = hits[:, -1] > 0
            total += np.divide((own * precision).sum(axis=1), hits[:, -1], out=np.zeros(len(weights)), where=there)
            num_classes += there
        return np.asarray(total / np.maximum(num_classes, 1))


def _chunks(total: int, num_clips: int) -> Iterator[int]:
    size = max(1, _CHUNK_CELLS // num_clips)
    for start in range(0, total, size):
        yield min(size, total - start)
