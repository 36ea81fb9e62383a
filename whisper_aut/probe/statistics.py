"""What a difference is worth: accuracies, bootstrap intervals over recordings, exact and permutation tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95
_CHUNK_CELLS = 10_000_000  # resamples x groups held at once: 80 MB of int64


def accuracy(correct: np.ndarray) -> float:
    """Per cent of True in ``correct`` [N], or the mean of shares: all folds pooled, every clip counts once."""
    return 100.0 * float(np.mean(correct))


def accuracy_by(correct: np.ndarray, keys: np.ndarray) -> dict[str, float]:
    """Accuracy in percent of the clips of each distinct key (a fold, a class), keys ascending, as text."""
    return {str(key): accuracy(correct[keys == key]) for key in np.unique(keys)}


def bootstrap_interval(
    values: np.ndarray, groups: np.ndarray, *, seed: int, num_resamples: int = NUM_RESAMPLES
) -> tuple[float, float]:
    """95% percentile interval of 100 * mean(``values``); see :func:`bootstrap_intervals`."""
    (interval,) = bootstrap_intervals([values], groups, seed=seed, num_resamples=num_resamples)
    return interval


def bootstrap_intervals(
    several: Sequence[np.ndarray], groups: np.ndarray, *, seed: int, num_resamples: int = NUM_RESAMPLES
) -> list[tuple[float, float]]:
    """95% percentile intervals of 100 * mean of each array of values, groups of clips resampled together.

    Clips cut from one recording succeed and fail together, so that resampling single clips would promise too much:
    whole groups are drawn with replacement (cluster bootstrap; Davison and Hinkley 1997, section 3.8). The draws are
    the same for all arrays, and most of the work.

    Args:
        several: each [N] 1 or 0 for right or wrong; for a paired difference adapted - base: 1, 0 or -1.
        groups: [N] group number of each clip.
        seed: the same seed gives the same intervals.
        num_resamples: how often the groups are drawn.

    Returns:
        Lower and upper ends in percent. With one group they are equal and mean nothing.
    """
    _, group_ids = np.unique(groups, return_inverse=True)
    sizes = np.bincount(group_ids).astype(np.float64)
    sums = [np.bincount(group_ids, weights=values.astype(np.float64)) for values in several]
    num_groups = len(sizes)
    rng = np.random.default_rng(seed)
    means: list[list[np.ndarray]] = [[] for _ in several]
    chunk = max(1, _CHUNK_CELLS // num_groups)
    for start in range(0, num_resamples, chunk):
        draws = rng.multinomial(
            num_groups, np.full(num_groups, 1.0 / num_groups), size=min(chunk, num_resamples - start)
        ).astype(np.float64)
        num_drawn = draws @ sizes
        for own, of_groups in zip(means, sums, strict=True):
            own.append((draws @ of_groups) / num_drawn)
    return [percentile_interval(100.0 * np.concatenate(own)) for own in means]


def percentile_interval(resampled: np.ndarray) -> tuple[float, float]:
    """Lower and upper end of the middle 95% of a statistic's resamples [R]."""
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    return float(low), float(high)


def mcnemar_exact(num_gained: int, num_lost: int) -> float:
    """Two-sided p-value of the exact McNemar test (McNemar 1947): under no difference, each clip that only one of two
    encoders gets right is a fair coin; 1.0 where there is no such clip. Clips count as independent."""
    total = num_gained + num_lost
    if total == 0:
        return 1.0
    # Whole numbers, so that no p-value is rounded before the one division.
    tail = sum(math.comb(total, k) for k in range(min(num_gained, num_lost) + 1))
    p_value: float = 2 * tail / 2**total
    return min(1.0, p_value)


def sign_flip_test(
    differences: np.ndarray, groups: np.ndarray, *, seed: int, num_resamples: int = NUM_RESAMPLES
) -> float:
    """Two-sided p-value of a paired permutation test (Fisher 1935), groups of clips flipped together.

    Under no difference, base and adapted could change places in any recording. The observed assignment counts as one
    of the resamples, so that p is never 0 (Phipson and Smyth 2010); no difference at all gives 1.

    Args:
        differences: [N] adapted minus base, of each clip.
        groups: [N] group number of each clip.
        seed: the same seed gives the same p.
        num_resamples: how often signs are drawn.
    """
    _, group_ids = np.unique(groups, return_inverse=True)
    sums = np.bincount(group_ids.reshape(-1), weights=differences.astype(np.float64))
    observed = abs(float(sums.sum())) - 1e-9  # sums of the same numbers in another order may differ in the last digit
    rng = np.random.default_rng(seed)
    as_large, chunk = 0, max(1, _CHUNK_CELLS // len(sums))
    for start in range(0, num_resamples, chunk):
        signs = rng.integers(0, 2, (min(chunk, num_resamples - start), len(sums)), dtype=np.int8) * 2.0 - 1.0
        as_large += int(np.sum(np.abs(signs @ sums) >= observed))
    return (1 + as_large) / (1 + num_resamples)


def gained_and_lost(base: np.ndarray, adapted: np.ndarray) -> tuple[int, int]:
    """Clips that ``adapted`` gets right more often than ``base``, and the other way round; both [N], bool or shares."""
    difference = adapted.astype(np.float64) - base.astype(np.float64)
    return int(np.sum(difference > 0)), int(np.sum(difference < 0))


def group_numbers(names: Sequence[str]) -> np.ndarray:
    """Number the groups, int [N]; equal names get equal numbers."""
    return np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)[1].reshape(-1)
