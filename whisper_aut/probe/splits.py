"""Who trains and who is tested: official folds or parts outside, grouped folds inside, no recording on both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from whisper_aut.errors import ProbeError
from whisper_aut.probe.statistics import group_numbers
from whisper_aut.probe.tasks.labelled import PARTS, Fold, LabelledClip, Task, hash_clips

MIN_TRAIN_CLIPS = 2  # of each tested class in every training part: one to fit on, one to choose C on
NUM_INNER_FOLDS = 4

Indices = np.ndarray[tuple[int], np.dtype[np.intp]]


@dataclass(frozen=True)
class Split:
    """One test and what trains for it; indices into the task's clips."""

    fold: Fold
    train: Indices  # of the head that is tested
    test: Indices
    choose: tuple[Indices, Indices] | None = None  # (fit, held out) of an official validation part, to choose C by


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
        ProbeError: one class or one fold only; a group, or an audio file, in more than one fold or part; a class with
            too few clips to train on when one of its folds is the test; folds and parts mixed; a class that is never
            tested where the metric averages over classes.
    """
    manifest = task.clips[0].where.split(", clip", 1)[0].rsplit(":", 1)[0]
    if len(task.classes) < 2:
        raise ProbeError(
            f"the task {task.name} has one class, '{task.classes[0]}'", where=manifest, remedy="label two or more"
        )
    folds = {clip.fold for clip in task.clips}
    if len({isinstance(fold, str) for fold in folds}) > 1:
        raise ProbeError(
            f"the task {task.name} has folds and parts ({', '.join(sorted(map(str, folds)))})",
            where=f"{manifest}, field 'fold'",
            remedy=f"give every clip the number of a fold, or every clip one of {', '.join(PARTS)}",
        )
    if task.fixed and not {"train", "test"} <= folds:
        raise ProbeError(
            f"the task {task.name} has the parts {', '.join(sorted(map(str, folds)))} only",
            where=f"{manifest}, field 'fold'",
            remedy="a fixed split needs train and test; valid is optional",
        )
    if len(folds) < 2:
        raise ProbeError(
            f"all {len(task.clips)} clips of the task {task.name} are in fold {folds.pop()}: nothing is left to test "
            f"on",
            where=f"{manifest}, field 'fold'",
            remedy="give the clips two or more folds, with all clips of one recording in the same",
        )
    _refuse_leaks(task, "group", [clip.group for clip in task.clips])
    _refuse_leaks(task, "audio", [str(clip.audio) for clip in task.clips])
    _refuse_rare(task)


def _refuse_rare(task: Task) -> None:
    by_class: dict[str, list[LabelledClip]] = {label: [] for label in task.classes}
    for clip in task.clips:
        for label in clip.labels:
            by_class[label].append(clip)
    for label, of_class in by_class.items():
        tested = {clip.fold for clip in of_class} if not task.fixed else {"test"} & {clip.fold for clip in of_class}
        if task.metric == "mAP" and not tested:
            raise ProbeError(
                f"the class '{label}' of the task {task.name} has no test clip: it has no average precision",
                where=f"{of_class[0].where}, field 'label'",
                remedy="add test clips of the class, or remove the class",
            )
        if len(of_class) == 1 and not tested:
            raise ProbeError(
                f"the class '{label}' of the task {task.name} has one clip, {of_class[0].id}",
                where=f"{of_class[0].where}, field 'label'",
                remedy="add clips of the class, or remove it",
            )
        for fold in sorted(tested, key=str):
            num_train = sum(clip.fold != fold for clip in of_class)
            if num_train < MIN_TRAIN_CLIPS:
                raise ProbeError(
                    f"the class '{label}' of the task {task.name} has {num_train} clip(s) outside fold {fold}; "
                    f"testing it there needs {MIN_TRAIN_CLIPS} to train on",
                    where=f"{next(clip.where for clip in of_class if clip.fold == fold)}, field 'label'",
                    remedy="add clips of the class to other folds, or remove the class",
                )


def _refuse_leaks(task: Task, field: str, values: Sequence[str]) -> None:
    first: dict[str, dict[Fold, LabelledClip]] = {}  # by value and fold
    for clip, value in zip(task.clips, values, strict=True):
        first.setdefault(value, {}).setdefault(clip.fold, clip)
    allowed = {"valid", "test"} if task.valid_shares_groups and field == "group" else set()
    leaks = [value for value, by_fold in first.items() if len(by_fold) > 1 and not by_fold.keys() <= allowed]
    if leaks:
        one, other, *_ = first[leaks[0]].values()
        raise ProbeError(
            f"the task {task.name} leaks: {len(leaks)} of {len(first)} values of '{field}' stand in more than one "
            f"fold; '{leaks[0]}' is in fold {one.fold} (clip {one.id}) and in fold {other.fold} (clip {other.id})",
            where=f"{other.where}, field '{field}'",
            remedy="put all clips of one recording into one fold: a head that heard the recording in training is "
            "tested on its memory"
            + ("" if task.fixed else "; or probe with --refold, which deals such a task's folds anew by group"),
        )


def rarest_labels(clips: Sequence[LabelledClip]) -> list[str]:
    """Of each clip the label that fewest clips have: what folds of a multi-label task are stratified by."""
    counts = Counter(label for clip in clips for label in clip.labels)
    return [min(clip.labels, key=lambda label: (counts[label], label)) for clip in clips]


def refold(task: Task) -> Task:
    """The task with folds dealt anew, as many as before, by class and with every group in one; unchanged where no
    group stands in two folds. A pure function of the manifest. The task's notes say that the folds are not its own.
    """
    if task.fixed:
        return task  # the parts are the benchmark's own; check_task refuses where they leak
    folds_of_group: dict[str, set[Fold]] = {}
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
    labels = np.array(rarest_labels(task.clips))
    for fold, (_, test) in enumerate(folder.split(np.zeros((len(labels), 1)), labels, groups), start=1):
        folds[test] = fold
    clips = tuple(replace(clip, fold=int(fold)) for clip, fold in zip(task.clips, folds, strict=True))
    note = "folds dealt anew by group, because the manifest's folds share groups"
    return replace(task, clips=clips, clips_sha256=hash_clips(clips), notes=(*task.notes, note))


def outer_splits(folds: np.ndarray, groups: np.ndarray | None = None) -> tuple[Split, ...]:
    """Each distinct fold as the test once, in ascending order, all others train; or of a fixed split the one test.

    There ``train`` and ``valid`` train together (validation clips whose group is also tested do not: they only choose),
    and ``choose`` is train against valid where there is a valid part.

    Args:
        folds: of each clip: int [N], or str [N] of 'train', 'valid', 'test'.
        groups: int [N], of a fixed split.
    """
    if folds.dtype.kind != "U":
        return tuple(
            Split(int(fold), np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in np.unique(folds)
        )
    fit, valid, test = (np.flatnonzero(folds == part) for part in PARTS)
    heard = valid if groups is None else valid[~np.isin(groups[valid], groups[test])]
    return (Split("test", np.union1d(fit, heard), test, (fit, valid) if len(valid) else None),)


def rows_tested(folds: np.ndarray) -> Indices:
    """The clips that are tested at all: every one of folds, the test part of a fixed split."""
    return np.flatnonzero(folds == "test") if folds.dtype.kind == "U" else np.arange(len(folds))


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
