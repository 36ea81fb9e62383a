"""Which classes an encoder takes for which: the pairs that changed most against the base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from whisper_aut.probe.results import ProtocolResult, TaskResult

MIN_CHANGE_CLIPS = 2  # one clip more or less says nothing
MAX_PAIRS = 6


class Confusion(NamedTuple):
    """Clips of ``truth`` that are taken for ``answer``."""

    truth: str
    answer: str
    base: int
    adapted: int


def changed_confusions(task: TaskResult, result: ProtocolResult, number: int) -> list[Confusion]:
    """The pairs of classes whose count changed most, the greatest change first; at most ``MAX_PAIRS``.

    Args:
        task: with the classes.
        result: under one protocol and context.
        number: place of the encoder that is held against the base.

    Raises:
        ProbeError: the answers are damaged.
    """
    base, adapted = result.scores[0], result.scores[number]
    if not (base.answers and adapted.answers and base.num_counted == 1):
        return []  # ranked labels have no confusion, and several draws of training clips have no single answer
    before, after = (
        _counts(task.truth_ids(), score.answer_ids(task.num_tested)[0], len(task.classes)) for score in (base, adapted)
    )
    change = np.abs(after - before)
    np.fill_diagonal(change, 0)
    order = np.argsort(-change, axis=None, kind="stable")[:MAX_PAIRS]
    return [
        Confusion(task.classes[row], task.classes[column], int(before[row, column]), int(after[row, column]))
        for row, column in zip(*np.unravel_index(order, change.shape), strict=True)
        if change[row, column] >= MIN_CHANGE_CLIPS
    ]


def told(confusions: Sequence[Confusion]) -> list[str]:
    """One phrase a pair: ``engine taken for drilling: 12 → 4 clips``."""
    return [f"{one.truth} taken for {one.answer}: {one.base} → {one.adapted} clips" for one in confusions]


def _counts(truth: np.ndarray, answers: np.ndarray, num_classes: int) -> np.ndarray:
    """Clips by class and answer, int [C, C]."""
    return np.bincount(truth * num_classes + answers, minlength=num_classes**2).reshape(num_classes, num_classes)
