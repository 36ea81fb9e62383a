"""A task as numbers, and what one scores on it without hearing anything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whisper_aut.probe.splits import rarest_labels, rows_tested
from whisper_aut.probe.statistics import group_numbers
from whisper_aut.probe.tasks.labelled import Task


@dataclass(frozen=True)
class TaskArrays:
    """A task as numbers, one entry a clip. Legend: N clips, C classes."""

    class_ids: np.ndarray  # int [N]; of a multi-label task each clip's rarest class, which stratifies inner folds
    folds: np.ndarray  # int [N]; of a fixed split str [N]: 'train', 'valid', 'test'
    groups: np.ndarray  # int [N]
    num_classes: int
    label_matrix: np.ndarray | None = None  # bool [N, C] of a multi-label task

    @property
    def targets(self) -> np.ndarray:
        """What heads learn: class numbers int [N], or where clips have several labels bool [N, C]."""
        return self.class_ids if self.label_matrix is None else self.label_matrix

    @property
    def fixed(self) -> bool:
        """Whether the split is fixed (train, valid, test) instead of folds that are each the test once."""
        return self.folds.dtype.kind == "U"


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
    """The metric in percent over the tested clips: of always the largest class, or of scores at random."""
    rows = rows_tested(arrays.folds)
    if arrays.label_matrix is not None:
        return 100.0 * float(arrays.label_matrix[rows].mean())
    return 100.0 * float(np.bincount(arrays.class_ids[rows]).max() / len(rows))
