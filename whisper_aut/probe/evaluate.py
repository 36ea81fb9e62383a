"""What two encoders' answers to the same clips are worth, by the task's metric, and whether their difference is one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whisper_aut.probe.protocols import Predictions, TaskArrays
from whisper_aut.probe.ranking import average_precisions, permutation_test, ranked_intervals
from whisper_aut.probe.results import Comparison, Score
from whisper_aut.probe.splits import outer_splits, rarest_labels, rows_tested
from whisper_aut.probe.statistics import (
    accuracy,
    accuracy_by,
    bootstrap_interval,
    gained_and_lost,
    group_numbers,
    mcnemar_exact,
)
from whisper_aut.probe.tasks.labelled import Task


def task_arrays(task: Task) -> TaskArrays:
    """The task as numbers."""
    classes = np.array(task.classes)
    matrix = None
    if task.metric == "mAP":
        matrix = np.zeros((len(task.clips), len(classes)), dtype=bool)
        for row, clip in enumerate(task.clips):
            matrix[row, np.searchsorted(classes, clip.labels)] = True
    return TaskArrays(
        class_ids=np.searchsorted(classes, np.array(rarest_labels(task.clips))),
        folds=np.array([clip.fold for clip in task.clips]),
        groups=group_numbers([clip.group for clip in task.clips]),
        num_classes=len(classes),
        label_matrix=matrix,
    )


def chance(arrays: TaskArrays) -> float:
    """The metric in percent without hearing anything: always the largest class, or scores at random."""
    rows = rows_tested(arrays.folds)
    if arrays.label_matrix is not None:
        return 100.0 * float(arrays.label_matrix[rows].mean())
    return 100.0 * float(np.bincount(arrays.class_ids[rows]).max() / len(rows))


def evaluate(
    arrays: TaskArrays, classes: Sequence[str], base: Predictions, adapted: Predictions, seed: int
) -> tuple[Score, Score, Comparison]:
    """Scores of base and adapted over the tested clips, and their paired comparison."""
    if arrays.label_matrix is None:
        return _by_accuracy(arrays, classes, base, adapted, seed)
    return _by_ranking(arrays, arrays.label_matrix, classes, base, adapted, seed)


def _by_accuracy(
    arrays: TaskArrays, classes: Sequence[str], base: Predictions, adapted: Predictions, seed: int
) -> tuple[Score, Score, Comparison]:
    rows = rows_tested(arrays.folds)
    folds, groups = arrays.folds[rows], arrays.groups[rows]
    labels = np.array(classes)[arrays.class_ids[rows]]
    base_correct, adapted_correct = (found.class_ids[rows] == arrays.class_ids[rows] for found in (base, adapted))
    num_gained, num_lost = gained_and_lost(base_correct, adapted_correct)
    difference = adapted_correct.astype(np.int64) - base_correct.astype(np.int64)

    def score(correct: np.ndarray) -> Score:
        return Score(
            accuracy=accuracy(correct),
            interval=bootstrap_interval(correct, groups, seed=seed),
            per_fold=list(accuracy_by(correct, folds).values()),
            per_class=accuracy_by(correct, labels),
        )

    comparison = Comparison(
        # From whole counts: equal encoders differ by exactly 0.
        delta=100.0 * (num_gained - num_lost) / len(rows),
        interval=bootstrap_interval(difference, groups, seed=seed),
        p_value=mcnemar_exact(num_gained, num_lost),
        num_gained=num_gained,
        num_lost=num_lost,
    )
    return score(base_correct), score(adapted_correct), comparison


def _by_ranking(
    arrays: TaskArrays,
    label_matrix: np.ndarray,
    classes: Sequence[str],
    base: Predictions,
    adapted: Predictions,
    seed: int,
) -> tuple[Score, Score, Comparison]:
    assert base.scores is not None and adapted.scores is not None, "a multi-label task is answered with scores"
    rows = rows_tested(arrays.folds)
    labels, groups = label_matrix[rows], arrays.groups[rows]
    of_base, of_adapted = base.scores[rows], adapted.scores[rows]
    intervals = ranked_intervals(of_base, of_adapted, labels, groups, seed=seed)

    def score(scores: np.ndarray, interval: tuple[float, float]) -> Score:
        per_class = average_precisions(scores[rows], labels)
        per_fold = []
        for split in outer_splits(arrays.folds, arrays.groups):
            there = label_matrix[split.test].any(axis=0)
            per_fold.append(
                float(average_precisions(scores[split.test][:, there], label_matrix[split.test][:, there]).mean())
            )
        return Score(
            accuracy=float(per_class.mean()),
            interval=interval,
            per_fold=per_fold,
            per_class={name: float(value) for name, value in zip(classes, per_class, strict=True)},
        )

    base_score, adapted_score = score(base.scores, intervals.base), score(adapted.scores, intervals.adapted)
    comparison = Comparison(
        delta=adapted_score.accuracy - base_score.accuracy,
        interval=intervals.delta,
        p_value=permutation_test(of_base, of_adapted, labels, groups, seed=seed),
        test="paired permutation",
        num_gained=None,
        num_lost=None,
    )
    return base_score, adapted_score, comparison
