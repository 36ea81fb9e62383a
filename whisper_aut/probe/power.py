"""What a test set of this size can show at all, and how large a difference is: power and effect sizes, paired."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

ALPHA = 0.05  # two-sided, before any correction for several tasks
POWER = 0.8


def design_effect(values: np.ndarray, groups: np.ndarray) -> float:
    """How many clips weigh as little as one independent clip, at least 1 (Kish 1965): the variance of the mean when
    whole groups are drawn, over that when single clips are.

    Args:
        values: [N] one paired difference a clip.
        groups: [N] group number of each clip.
    """
    rest = values.astype(np.float64) - float(np.mean(values))
    single = float(np.sum(rest**2))
    _, group_ids = np.unique(groups, return_inverse=True)
    sums = np.bincount(group_ids.reshape(-1), weights=rest)
    if single == 0 or len(sums) < 2:
        return 1.0
    return max(1.0, float(np.sum(sums**2)) / single * len(sums) / (len(sums) - 1))


def detectable_difference(num_clips: int, discordance: float, effect: float = 1.0) -> float:
    """The least difference, in points, that McNemar's test finds with 80% power at a two-sided level of 5%.

    Connor (Biometrics 43, 1987), solved for the difference: with a share ``discordance`` of clips that only one of the
    two encoders gets right, z_a sqrt(discordance) + z_b sqrt(discordance - difference^2) = difference sqrt(clips). A
    difference above the discordance needs a discordance as large: all of those clips then speak for one encoder.

    Args:
        num_clips: in the test set.
        discordance: observed, between 0 and 1.
        effect: the design effect; ``num_clips / effect`` independent clips are counted on.

    Returns:
        Points between 0 and 100; 100 where not even that would be found.
    """
    root = math.sqrt(num_clips / effect)
    z_level, z_power = NormalDist().inv_cdf(1 - ALPHA / 2), NormalDist().inv_cdf(POWER)

    def lacking(difference: float) -> float:
        share = max(discordance, difference)
        return z_level * math.sqrt(share) + z_power * math.sqrt(max(0.0, share - difference**2)) - difference * root

    low, high = 0.0, 1.0
    if lacking(high) > 0:
        return 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if lacking(middle) > 0 else (low, middle)
    return 100.0 * high


def detectable_mean_difference(differences: np.ndarray, effect: float = 1.0) -> float:
    """The same for a mean of paired differences [N] that are not just 1, 0 and -1 (normal approximation), in points."""
    if len(differences) < 2:
        return 100.0
    return detectable_by_error(100.0 * float(np.std(differences, ddof=1)) * math.sqrt(effect / len(differences)))


def detectable_by_error(standard_error: float) -> float:
    """The same for any difference whose standard error, in points, is known (normal approximation)."""
    return min(100.0, (NormalDist().inv_cdf(1 - ALPHA / 2) + NormalDist().inv_cdf(POWER)) * standard_error)


def cohens_g(num_gained: int, num_lost: int) -> float:
    """Cohen's g of a paired yes-or-no outcome (Cohen 1988, chapter 5): how far from a fair coin the clips fall that
    only one encoder gets right; -0.5 to 0.5, positive for a gain, 0 where there is no such clip."""
    total = num_gained + num_lost
    return num_gained / total - 0.5 if total else 0.0


def paired_d(differences: np.ndarray) -> float:
    """Cohen's d of paired differences [N]: their mean over their standard deviation; 0 where all are 0."""
    deviation = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    return float(np.mean(differences)) / deviation if deviation > 0 else 0.0
