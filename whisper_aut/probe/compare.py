"""One task under one protocol: every encoder's score, and what its difference from the base is worth.

Legend: N clips, R runs (seeds of a head, or draws of training clips), C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whisper_aut.constants import Context
from whisper_aut.errors import ProbeError
from whisper_aut.probe.arrays import TaskArrays, chance, task_arrays
from whisper_aut.probe.fits import Predictions
from whisper_aut.probe.packed import pack
from whisper_aut.probe.power import (
    cohens_g,
    design_effect,
    detectable_by_error,
    detectable_difference,
    detectable_mean_difference,
    paired_d,
)
from whisper_aut.probe.protocols import Protocol
from whisper_aut.probe.ranking import average_precisions, bootstrap_means, mean_average_precision, permutation_test
from whisper_aut.probe.results import Comparison, ProbeReport, ProtocolResult, Score, TaskResult
from whisper_aut.probe.splits import outer_splits, rows_tested
from whisper_aut.probe.statistics import (
    accuracy,
    accuracy_by,
    bootstrap_interval,
    bootstrap_intervals,
    gained_and_lost,
    mcnemar_exact,
    percentile_interval,
    sign_flip_test,
)
from whisper_aut.probe.tasks.labelled import Task, hash_audio

Judged = tuple[list[Score], list[Comparison]]  # of every encoder, and of every one but the base


def compare(
    task: Task,
    protocol: Protocol,
    context: Context,
    predictions: Sequence[Predictions],
    notes: Sequence[str],
    seed: int,
) -> ProtocolResult:
    """Hold each encoder's answers under one protocol against the first's.

    Args:
        task: with its labels and its folds or parts.
        protocol: how.
        context: of the features.
        predictions: of each encoder; the base first.
        notes: additions to the rules, e.g. what was cut.
        seed: of the resampling.
    """
    arrays = task_arrays(task)
    assert len({found.notes for found in predictions}) == 1, "the splits do not depend on the encoder"
    judge = _by_accuracy if arrays.label_matrix is None else _by_ranking
    scores, comparisons = judge(predictions, arrays, task.classes, seed)
    rules = protocol.describe(fixed=arrays.fixed, several_labels=arrays.label_matrix is not None)
    return ProtocolResult(
        protocol=protocol.name,
        version=protocol.version,
        context=context,
        pooling=str(protocol.pooling),
        layer=str(protocol.layer),
        rules="; ".join([rules, *task.notes, *predictions[0].notes, *notes]),
        scores=scores,
        comparisons=comparisons,
    )


def task_result(task: Task, results: list[ProtocolResult]) -> TaskResult:
    """Put a task's results by protocol together with what the task is made of."""
    arrays = task_arrays(task)
    tested = rows_tested(arrays.folds)
    return TaskResult(
        name=task.name,
        folder=str(task.folder),
        clips_sha256=task.clips_sha256,
        audio_sha256=hash_audio(task.clips),
        metric=task.metric,
        split="fixed" if task.fixed else "folds",
        num_clips=len(task.clips),
        num_tested=len(tested),
        num_folds=len(outer_splits(arrays.folds, arrays.groups)),
        num_groups=len(np.unique(arrays.groups[tested])),
        classes=task.classes,
        licenses=sorted({clip.license for clip in task.clips}),
        truth=pack(arrays.class_ids[tested]) if arrays.label_matrix is None else "",
        groups=pack(arrays.groups[tested]) if arrays.label_matrix is None else "",
        chance=chance(arrays),
        results=results,
    )


@dataclass(frozen=True)
class _Outcome:
    """Of one encoder over the tested clips: its answers in the runs that count (int [R, N]), which clips it gets right
    (float [N], a share where runs are averaged), and each run's accuracy."""

    answers: np.ndarray
    correct: np.ndarray
    per_run: list[float]


def _by_accuracy(predictions: Sequence[Predictions], arrays: TaskArrays, classes: Sequence[str], seed: int) -> Judged:
    rows = rows_tested(arrays.folds)
    folds, groups, labels = arrays.folds[rows], arrays.groups[rows], np.array(classes)[arrays.class_ids[rows]]
    outcomes = []
    for found in predictions:
        answers = found.answers[:, rows]
        hits = answers == arrays.class_ids[rows]  # [R, N]
        counted = answers if found.averaged else answers[:1]
        outcomes.append(
            _Outcome(
                counted, correct_shares(counted, arrays.class_ids[rows]), _per_run([accuracy(run) for run in hits])
            )
        )
    base, *others = outcomes
    differences = [one.correct - base.correct for one in others]
    intervals = bootstrap_intervals([*(outcome.correct for outcome in outcomes), *differences], groups, seed=seed)
    scores = [
        Score(
            value=accuracy(outcome.correct),
            interval=interval,
            per_fold=list(accuracy_by(outcome.correct, folds).values()),
            per_class=accuracy_by(outcome.correct, labels),
            per_run=outcome.per_run,
            num_counted=len(outcome.answers),
            answers=pack(outcome.answers),
        )
        for outcome, interval in zip(outcomes, intervals[: len(outcomes)], strict=True)
    ]
    averaged = predictions[0].averaged
    comparisons = [
        compare_pair(base.correct, one.correct, groups, averaged=averaged, seed=seed, interval=interval)
        for one, interval in zip(others, intervals[len(outcomes) :], strict=True)
    ]
    return scores, comparisons


def check_answers(probe: ProbeReport, path: Path) -> None:
    """Hold every score that has its clips' answers against them: a file that was edited or damaged is not believed.

    Raises:
        ProbeError: answers, recordings or classes are not those of the tested clips, or make another score.
    """
    for task in probe.tasks:
        for result in task.results:
            for encoder, score in zip(probe.encoders, result.scores, strict=True):
                if not score.answers:
                    continue
                try:
                    truth, answers = task.truth_ids(), score.answer_ids(task.num_tested)
                    task.group_ids()
                    fits = max(truth.max(), answers.max()) < len(task.classes)
                    found = accuracy(correct_shares(answers, truth))
                except ProbeError:
                    fits, found = False, math.nan
                if not fits or abs(found - score.value) > 1e-6:
                    raise ProbeError(
                        f"{task.name}, {result.protocol}/{result.context}, {encoder.name}: the score is "
                        f"{score.value:.2f}, its clips' answers " + (f"make {found:.2f}" if fits else "are damaged"),
                        where=str(path),
                        remedy="the file was edited or damaged: probe again, or copy it again",
                    )


def correct_shares(answers: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of the runs that get each clip right, float64 [N]; answers int [R, N], truth int [N]."""
    shares: np.ndarray = (answers == truth).mean(axis=0, dtype=np.float64)
    return shares


def compare_pair(
    base: np.ndarray,
    other: np.ndarray,
    groups: np.ndarray,
    *,
    averaged: bool,
    seed: int,
    interval: tuple[float, float] | None = None,
) -> Comparison:
    """Two encoders on the same clips.

    Args:
        base: share of runs that get each clip right, float [N]; 0 or 1 for a single run.
        other: the same of the encoder that is held against it.
        groups: int [N], recordings.
        averaged: whether the shares are means over draws: then signs are flipped by recording, else McNemar's test.
        seed: of the resampling.
        interval: of the difference, where it was drawn together with others'.
    """
    differences = other - base
    num_gained, num_lost = gained_and_lost(base, other)
    num_clips, effect = len(differences), design_effect(differences, groups)
    interval = interval or bootstrap_interval(differences, groups, seed=seed)
    if averaged:
        return Comparison(
            delta=100.0 * float(np.mean(differences)),
            interval=interval,
            test="sign-flip",
            p_value=sign_flip_test(differences, groups, seed=seed),
            num_gained=num_gained,
            num_lost=num_lost,
            effect_size=paired_d(differences),
            detectable=detectable_mean_difference(differences, effect),
        )
    return Comparison(
        # From whole counts: equal encoders differ by exactly 0.
        delta=100.0 * (num_gained - num_lost) / num_clips,
        interval=interval,
        p_value=mcnemar_exact(num_gained, num_lost),
        num_gained=num_gained,
        num_lost=num_lost,
        effect_size=cohens_g(num_gained, num_lost),
        detectable=detectable_difference(num_clips, (num_gained + num_lost) / num_clips, effect),
    )


def _by_ranking(predictions: Sequence[Predictions], arrays: TaskArrays, classes: Sequence[str], seed: int) -> Judged:
    assert arrays.label_matrix is not None and not any(found.averaged for found in predictions)
    rows = rows_tested(arrays.folds)
    labels, groups = arrays.label_matrix[rows], arrays.groups[rows]
    tested = [found.answers[0, rows] for found in predictions]  # [N, C] of each encoder
    resampled = [bootstrap_means(one, labels, groups, seed=seed) for one in tested]  # on the same draws
    tests = [split.test for split in outer_splits(arrays.folds, arrays.groups)]
    scores = []
    for found, one, means in zip(predictions, tested, resampled, strict=True):
        per_class = average_precisions(one, labels)
        scores.append(
            Score(
                value=float(per_class.mean()),
                interval=percentile_interval(means),
                per_fold=[mean_average_precision(found.answers[0, test], arrays.label_matrix[test]) for test in tests],
                per_class={name: float(value) for name, value in zip(classes, per_class, strict=True)},
                per_run=_per_run([mean_average_precision(run[rows], labels) for run in found.answers]),
            )
        )
    comparisons = [
        Comparison(
            delta=score.value - scores[0].value,
            interval=percentile_interval(means - resampled[0]),
            test="permutation",
            p_value=permutation_test(tested[0], one, labels, groups, seed=seed),
            num_gained=None,
            num_lost=None,
            effect_size=None,
            detectable=detectable_by_error(float(np.std(means - resampled[0], ddof=1))),
        )
        for score, one, means in zip(scores[1:], tested[1:], resampled[1:], strict=True)
    ]
    return scores, comparisons


def _per_run(values: list[float]) -> list[float]:
    return values if len(values) > 1 else []
