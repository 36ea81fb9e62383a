"""Mean average precision of multi-label scores: value, bootstrap over recordings, paired permutation test.

Legend: N clips, C classes, R resamples, J thresholds: the distinct scores of a class that some clip with the class has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.metrics import average_precision_score

NUM_RESAMPLES = 1_000  # each ranks every class again: a tenth of what a count of right answers affords
_CHUNK_CELLS = 1_000_000  # resamples x clips held at once: 4 MB of float32, so that they stay in a processor's cache
_SAME = 1e-9  # two mean average precisions that differ by less are equal but for rounding


def average_precisions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average precision of each class in percent, as scikit-learn has it.

    Args:
        scores: float [N, C], higher for more likely.
        labels: bool [N, C], each class with at least one True.
    """
    return 100.0 * np.asarray(average_precision_score(labels, scores, average=None)).reshape(-1)


def mean_average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """The mean in percent over the classes that some clip has; arguments as above, where classes may be absent."""
    there = labels.any(axis=0)
    return float(average_precisions(scores[:, there], labels[:, there]).mean())


def bootstrap_means(
    scores: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int, num_resamples: int = NUM_RESAMPLES
) -> np.ndarray:
    """Mean average precision [R] in percent of resamples; groups of clips are drawn with replacement, as for accuracy.

    The draws depend on groups and seed alone, so that those of two encoders are paired. A class that a draw leaves
    without a clip is left out of that draw's mean.

    Args:
        scores: float [N, C].
        labels: bool [N, C].
        groups: int [N].
        seed: the same seed gives the same draws.
        num_resamples: R.
    """
    _, group_ids = np.unique(groups, return_inverse=True)
    num_groups = int(group_ids.max()) + 1
    rng = np.random.default_rng(seed)
    ranking = _Ranking.of(scores, labels)
    means = []
    for count in _chunks(num_resamples, len(labels)):
        drawn = rng.multinomial(num_groups, np.full(num_groups, 1.0 / num_groups), size=count)  # [R, groups]
        means.append(ranking.means(_by_clip(drawn, group_ids)))
    return 100.0 * np.concatenate(means)


def permutation_test(
    base: np.ndarray,
    other: np.ndarray,
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
    _, group_ids = np.unique(groups, return_inverse=True)
    num_groups = int(group_ids.max()) + 1
    rng = np.random.default_rng(seed)
    # One ranking of both encoders' scores: a permutation picks of each pair the one that plays a part.
    pool = _Ranking.of(np.concatenate([base, other]), np.concatenate([labels, labels]))

    def differences(swapped: np.ndarray) -> np.ndarray:
        swap = _by_clip(swapped, group_ids)
        as_base, as_other = pool.means_of_halves(np.concatenate([1 - swap, swap]))
        return np.asarray(as_other - as_base)

    observed = abs(float(differences(np.zeros((1, num_groups)))[0]))
    num_as_far = 0
    for count in _chunks(num_resamples, 2 * len(labels)):
        swapped = rng.integers(0, 2, size=(count, num_groups), dtype=np.int8)
        num_as_far += int(np.sum(np.abs(differences(swapped)) >= observed - _SAME))
    return (1 + num_as_far) / (1 + num_resamples)


@dataclass(frozen=True)
class _Ranking:
    """For every class its clips from the highest score down, cut after each threshold; the matrices add up the weights
    of the clips between two thresholds. Clips below a class's last threshold do not matter to it."""

    all_clips: csr_matrix  # float32 [sum of J, N]
    with_class: csr_matrix  # the same of the clips that have the class
    ends: np.ndarray  # int [C + 1]: the rows of class c are those from ends[c] to ends[c + 1]

    @classmethod
    def of(cls, scores: np.ndarray, labels: np.ndarray) -> _Ranking:
        clips, cuts, positives, positive_cuts, ends = [], [0], [], [0], [0]
        for column, has in zip(scores.T, labels.T, strict=True):
            order = np.argsort(-column, kind="stable")
            ranked, hits = column[order], np.flatnonzero(has[order])
            # Equal scores are one threshold: behind the last clip that has it.
            behind = np.searchsorted(-ranked, np.unique(-ranked[hits]), side="right")
            clips.append(order[: behind[-1]] if len(behind) else order[:0])
            positives.append(order[hits])
            cuts.extend(cuts[-1] + behind)
            positive_cuts.extend(positive_cuts[-1] + np.searchsorted(hits, behind))
            ends.append(ends[-1] + len(behind))
        shape = (ends[-1], len(labels))

        def summing(columns: list[np.ndarray], row_ends: list[int]) -> csr_matrix:
            joined = np.concatenate(columns)
            return csr_matrix((np.ones(len(joined), np.float32), joined, np.array(row_ends)), shape=shape)

        return cls(summing(clips, cuts), summing(positives, positive_cuts), np.array(ends))

    def means(self, weights: np.ndarray) -> np.ndarray:
        """Mean average precision [R] where clip n counts ``weights[n, r]`` times; float32 [N, R], whole numbers."""
        return self._means(self.all_clips @ weights, self.with_class @ weights)

    def means_of_halves(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the clips with weight 1, and of those with weight 0; float32 [N, R]."""
        matrices = (self.all_clips, self.with_class)
        ones = [matrix @ weights for matrix in matrices]
        zeros = [
            np.diff(matrix.indptr).astype(np.float32)[:, None] - sums
            for matrix, sums in zip(matrices, ones, strict=True)
        ]
        return self._means(*ones), self._means(*zeros)

    def _means(self, between: np.ndarray, hits: np.ndarray) -> np.ndarray:
        """From sums of weights between thresholds, [sum of J, R]. Whole numbers below 2**24 are exact in float32."""
        total = np.zeros(between.shape[1])
        num_classes = np.zeros(between.shape[1])
        for start, end in zip(self.ends, self.ends[1:], strict=False):
            if start == end:
                continue
            own = hits[start:end].astype(np.float64)
            hits_above = np.cumsum(own, axis=0)
            above = np.cumsum(between[start:end], axis=0, dtype=np.float64)
            own *= hits_above
            own /= np.maximum(above, 1.0)  # nothing above: nothing of its own
            total += own.sum(axis=0) / np.maximum(hits_above[-1], 1.0)
            num_classes += hits_above[-1] > 0
        return np.asarray(total / np.maximum(num_classes, 1))


def _by_clip(of_groups: np.ndarray, group_ids: np.ndarray) -> np.ndarray:
    """Numbers of groups [R, groups] as weights of their clips, float32 [N, R]."""
    return np.asarray(np.ascontiguousarray(of_groups.T, dtype=np.float32)[group_ids])


def _chunks(total: int, num_clips: int) -> Iterator[int]:
    size = max(1, _CHUNK_CELLS // num_clips)
    for start in range(0, total, size):
        yield min(size, total - start)
