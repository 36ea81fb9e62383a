"""Random draws that keep training and probing apart: one independent stream per clip, disjoint parameter stripes.

Every clip has its own generator, derived from (seed, partition, subject, index): a clip does not depend on the clips
before it, on how many there are, or on the process that makes it. A continuous parameter (tempo, pitch, rate, decay)
is drawn from ``STRIPES`` equal stripes of its range: training takes the even ones, probing the odd ones. Both cover
the whole range, and no value of one can occur in the other. What varies inside a clip (noise, the jitter of single
events, phases) comes straight from the clip's generator, and discrete choices (which place, which key) are shared.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np

T = TypeVar("T")

Partition = Literal["train", "probe"]

STRIPES = 16  # stripes of every continuous range: 8 for training, 8 for probing


class Draw:
    """The random choices of one clip.

    Args:
        seed: of the corpus.
        partition: whose stripes continuous parameters come from.
        subject: the domain or probing task; different subjects have unrelated streams.
        index: of the clip within the subject.
    """

    def __init__(self, seed: int, partition: Partition, subject: str, index: int) -> None:
        self.partition = partition
        key = [seed, zlib.crc32(f"{partition}/{subject}".encode()), index]
        self.rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))

    def uniform(self, low: float, high: float) -> float:
        """A value of [low, high) from this partition's stripes."""
        stripe = 2 * int(self.rng.integers(STRIPES // 2)) + (self.partition == "probe")
        return low + (high - low) * (stripe + float(self.rng.random())) / STRIPES

    def log_uniform(self, low: float, high: float) -> float:
        """As ``uniform``, on a logarithmic scale: for frequencies and rates. Both ends are above zero."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def choice(self, options: Sequence[T]) -> T:
        """One of ``options``, shared by both partitions."""
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        """True in ``probability`` of the cases."""
        return bool(self.rng.random() < probability)
