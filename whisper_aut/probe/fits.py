"""The heads of a protocol on one task: a list that processes can share, and the predictions that come of it.

Legend: N clips, K layers, D embedding width, C classes, R runs (seeds of a head, or draws of training clips).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from whisper_aut.probe.arrays import TaskArrays
from whisper_aut.probe.splits import Indices
from whisper_aut.probe.workers import Workers


@dataclass(frozen=True)
class Predictions:
    """One answer a clip and run, each given while its fold was the test.

    ``answers`` are class numbers, int [R, N], -1 for clips that are never tested; of a multi-label task scores, float
    [R, N, C], NaN for such clips. ``averaged``: the runs are draws of training clips, and a clip counts by the share of
    runs that get it right; else they are seeds of one head, and the first counts. ``notes`` are additions to the rules.
    """

    answers: np.ndarray
    averaged: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fit:
    """A head that is fitted by itself, and the tested clips that it answers.

    Attributes:
        run: whose answers they are, from 0.
        rows: int, the tested clips, in the order of the answers.
        answer: answers from features and a device, where large products are computed; of a function of this module,
            so that other processes can import it.
        work_sec: on one core, roughly.
        large_width: from this width of features on its products are large.
    """

    run: int
    rows: Indices
    answer: Callable[[np.ndarray, str], np.ndarray]
    work_sec: float = 0.0
    large_width: float = math.inf


@dataclass(frozen=True)
class ProtocolFits:
    """All heads of a protocol on one task. They are the same for every encoder; only the features differ."""

    arrays: TaskArrays
    fits: tuple[Fit, ...]
    num_runs: int
    averaged: bool = False
    notes: tuple[str, ...] = ()

    @property
    def work_sec(self) -> float:
        """Seconds for one encoder on one core, roughly."""
        return sum(fit.work_sec for fit in self.fits)

    def collect(self, answers: Sequence[np.ndarray]) -> Predictions:
        """Return the predictions that the answers of all heads make, given in the order of ``fits``."""
        labels = self.arrays.label_matrix
        if labels is None:
            together = np.full((self.num_runs, len(self.arrays.folds)), -1, dtype=np.int64)
        else:
            together = np.full((self.num_runs, *labels.shape), np.nan, dtype=np.float32)
        for fit, found in zip(self.fits, answers, strict=True):
            together[fit.run, fit.rows] = found
        return Predictions(together, self.averaged, self.notes)


ListFits = Callable[[TaskArrays, int], ProtocolFits]  # of a task and a seed


def predict_all(
    asked: Sequence[tuple[ProtocolFits, np.ndarray]],
    workers: Workers,
    *,
    device: str = "cpu",
    fitted: Callable[[], object] = lambda: None,
) -> Iterator[Predictions]:
    """Yield the predictions of heads on features, in order.

    Large heads come first, one after another, in this process with all its threads, or on ``device``; the workers
    share the others. A result depends on neither, but for the rounding of large heads' sums.

    Args:
        asked: heads and what they learn from: float32 [N, D], or [N, K, D] of all layers for a learned weighted sum;
            best mapped from a file.
        workers: who fit the small heads.
        device: of large heads: 'cpu' or 'cuda'.
        fitted: called after each head.
    """
    large: dict[tuple[int, int], np.ndarray] = {}
    small = []
    for place, (heads, features) in enumerate(asked):
        for number, fit in enumerate(heads.fits):
            if features.shape[-1] >= fit.large_width:
                large[place, number] = fit.answer(features, device)
                fitted()
            else:
                small.append(partial(fit.answer, features, "cpu"))
    answers = workers.map(small)
    for place, (heads, _) in enumerate(asked):
        found = []
        for number in range(len(heads.fits)):
            if (place, number) in large:
                found.append(large.pop((place, number)))
            else:
                found.append(next(answers))
                fitted()
        yield heads.collect(found)
