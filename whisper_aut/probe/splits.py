"""Who trains and who is tested: official folds outside, grouped folds inside, and no recording on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from whisper_aut.errors import ProbeError
from whisper_aut.probe.statistics import group_numbers
from whisper_aut.probe.tasks.labelled import LabelledClip, Task, hash_clips

MIN_TRAIN_CLIPS = 2  # of each tested class in every training part: one to fit on, one to choose C on
NUM_INNER_FOLDS = 4

Indices = np.ndarray[tuple[int], np.dtype[np.intp]]


@dataclass(frozen=True)
class Split:
    """One official fold as the test; indices into the task's clips."""

    fold: int
    train: Indices
    test: Indices


@dataclass(frozen=True)
class InnerSplits:
    """Splits of a training part, to choose a setting by.

    ``grouped`` is False where grouping is impossible (one recording only, or a class would vanish): the splits are
    then by clip, and the report says so.
    """

    splits: tuple[tuple[Indices, Indices], ...]
    grouped: bool


def check_task(task: Task) -> None:
    """Refuse a task that cannot give an honest number.

    Raises:
        ProbeError: one class or one fold only; a group, or an audio file, in more than one fold; a class with too few
            clips to train on when one of its folds is the test.
    """
    manifest = str(task.clips[0].where).split(", clip", 1)[0].rsplit(":", 1)[0]
    if len(task.classes) < 2:
        raise ProbeError(
            f"the task {task.name} has one class, '{task.classes[0]}'", where=manifest, remedy="label two or more"
        )
    folds = sorted({clip.fold for clip in task.clips})
    if len(folds) < 2:
        raise ProbeError(
            f"all {len(task.clips)} clips of the task {task.name} are in fold {folds[0]}: nothing is left to test on",
            where=f"{manifest}, field 'fold'",
            remedy="give the clips two or more folds, with all clips of one recording in the same",
        )
    _refuse_leaks(task, "group", [clip.group for clip in task.clips])
    _refuse_leaks(task, "audio", [str(clip.audio) for clip in task.clips])
    for label in task.classes:
        of_class = [clip for clip in task.clips if clip.label == label]
        for fold in sorted({clip.fold for clip in of_class}):
            num_train = sum(clip.fold != fold for clip in of_class)
            if num_train < MIN_TRAIN_CLIPS:
                raise ProbeError(
                    f"the class '{label}' of the task {task.name} has {num_train} clip(s) outside fold {fold}; "
                    f"testing it there needs {MIN_TRAIN_CLIPS} to train on",
                    where=f"{next(clip.where for clip in of_class if clip.fold == fold)}, field 'label'",
                    remedy="add clips of the class to other folds, or remove the class",
                )


def _refuse_leaks(task: Task, field: str, values: Sequence[str]) -> None:
    first: dict[str, LabelledClip] = {}
    leaks: dict[str, tuple[LabelledClip, LabelledClip]] = {}
    for clip, value in zip(task.clips, values, strict=True):
        seen = first.setdefault(value, clip)
        if seen.fold != clip.fold:
            leaks.setdefault(value, (seen, clip))
    if leaks:
        value, (one, other) = next(iter(leaks.items()))
        raise ProbeError(
            f"the task {task.name} leaks: {len(leaks)} of {len(first)} values of '{field}' stand in more than one "
            f"fold; '{value}' is in fold {one.fold} (clip {one.id}) and in fold {other.fold} (clip {other.id})",
            where=f"{other.where}, field '{field}'",
            remedy="put all clips of one recording into one fold: a head that heard the recording in training is "
            "tested on its memory; or probe with --refold, which deals such a task's folds anew by group",
        )


def refold(task: Task) -> Task:
    """The task with folds dealt anew, as many as before, by class and with every group in one; unchanged where no
    group stands in two folds. A pure function of the manifest. The task's notes say that the folds are not its own.
    """
    folds_of_group: dict[str, set[int]] = {}
    for clip in task.clips:
        folds_of_group.setdefault(clip.group, set()).add(clip.fold)
    if all(len(folds) == 1 for folds in folds_of_group.values()):
        return task
    groups = group_numbers([clip.group for clip in task.clips])
    num_folds = min(len({clip.fold for clip in task.clips}), int(groups.max()) + 1)
    if num_folds < 2:
        raise ProbeError(
            f"the task {task.name} has one group; its folds cannot be dealt by group", remedy="name the recordings"
        )
    folds = np.zeros(len(task.clips), dtype=np.int64)
    folder = StratifiedGroupKFold(num_folds, shuffle=True, random_state=0)
    labels = np.array([clip.label for clip in task.clips])
    for fold, (_, test) in enumerate(folder.split(np.zeros((len(labels), 1)), labels, groups), start=1):
        folds[test] = fold
    clips = tuple(replace(clip, fold=int(fold)) for clip, fold in zip(task.clips, folds, strict=True))
    note = "folds dealt anew by group, because the manifest's folds share groups"
    return replace(task, clips=clips, clips_sha256=hash_clips(clips), notes=(*task.notes, note))


def outer_splits(folds: np.ndarray) -> tuple[Split, ...]:
    """Each distinct fold as the test once, in ascending order; all others train."""
    return tuple(
        Split(int(fold), np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in np.unique(folds)
    )


def inner_splits(class_ids: np.ndarray, groups: np.ndarray, seed: int) -> InnerSplits:
    """Cut a training part into at most ``NUM_INNER_FOLDS`` stratified folds, all clips of a group in the same.

    Args:
        class_ids: class number of each training clip, int [N].
        groups: group number of each training clip, int [N].
        seed: of the order in which equal candidates are dealt.
    """
    rows = np.zeros((len(class_ids), 1))
    num_groups = len(np.unique(groups))
    if num_groups >= 2:
        folder = StratifiedGroupKFold(min(NUM_INNER_FOLDS, num_groups), shuffle=True, random_state=seed)
        splits = tuple((train, test) for train, test in folder.split(rows, class_ids, groups) if len(test))
        if splits and all(len(np.unique(class_ids[train])) >= 2 for train, _ in splits):
            return InnerSplits(splits, grouped=True)
    _, counts = np.unique(class_ids, return_counts=True)
    by_clip = StratifiedKFold(max(2, min(NUM_INNER_FOLDS, int(counts.min()))), shuffle=True, random_state=seed)
    return InnerSplits(tuple(by_clip.split(rows, class_ids)), grouped=False)
