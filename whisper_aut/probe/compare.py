"""One task under one protocol: every encoder's score, and what its difference from the base is worth.

Legend: N clips, R runs (seeds of a head, or draws of training clips).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whisper_aut.constants import Context
from whisper_aut.probe.power import (
    cohens_g,
    design_effect,
    detectable_difference,
    detectable_mean_difference,
    paired_d,
)
from whisper_aut.probe.protocols import Predictions, Protocol, TaskArrays
from whisper_aut.probe.results import Comparison, ProtocolResult, Score
from whisper_aut.probe.statistics import (
    accuracy,
    accuracy_by,
    bootstrap_interval,
    gained_and_lost,
    group_numbers,
    mcnemar_exact,
    sign_flip_test,
)
from whisper_aut.probe.tasks.labelled import Task


@dataclass(frozen=True)
class _Outcome:
    """Of one encoder: which clips it gets right (float [N], a share where runs are averaged), and each run's score."""

    correct: np.ndarray
    averaged: bool
    per_run: list[float]


def task_arrays(task: Task) -> TaskArrays:
    """The task as numbers."""
    return TaskArrays(
        class_ids=np.searchsorted(np.array(task.classes), [clip.label for clip in task.clips]),
        folds=np.array([clip.fold for clip in task.clips]),
        groups=group_numbers([clip.group for clip in task.clips]),
        num_classes=len(task.classes),
    )


def compare(
    task: Task, protocol: Protocol, context: Context, features: Sequence[np.ndarray], notes: Sequence[str], seed: int
) -> ProtocolResult:
    """Probe all encoders under one protocol and hold each against the first.

    Args:
        task: with its labels and folds.
        protocol: how.
        context: of the features.
        features: of each encoder, as the protocol's ``predict`` takes them; the base first.
        notes: additions to the rules, e.g. what was cut.
        seed: of heads and resampling.
    """
    arrays = task_arrays(task)
    predictions = [protocol.predict(one, arrays, seed) for one in features]
    assert len({found.notes for found in predictions}) == 1, "the splits do not depend on the encoder"
    base, *others = (_outcome(found, arrays) for found in predictions)
    return ProtocolResult(
        protocol=protocol.name,
        version=protocol.version,
        context=context,
        pooling=str(protocol.pooling),
        layer=str(protocol.layer),
        rules="; ".join([protocol.describe(), *task.notes, *predictions[0].notes, *notes]),
        scores=[_score(one, task, arrays, seed) for one in (base, *others)],
        comparisons=[_comparison(base, one, arrays, seed) for one in others],
    )


def _outcome(found: Predictions, arrays: TaskArrays) -> _Outcome:
    hits = found.class_ids == arrays.class_ids  # [R, N]
    return _Outcome(
        correct=(hits.mean(axis=0) if found.averaged else hits[0]).astype(np.float64),
        averaged=found.averaged,
        per_run=[accuracy(run) for run in hits] if len(hits) > 1 else [],
    )


def _score(outcome: _Outcome, task: Task, arrays: TaskArrays, seed: int) -> Score:
    return Score(
        accuracy=accuracy(outcome.correct),
        interval=bootstrap_interval(outcome.correct, arrays.groups, seed=seed),
        per_fold=list(accuracy_by(outcome.correct, arrays.folds).values()),
        per_class=accuracy_by(outcome.correct, np.array([clip.label for clip in task.clips])),
        per_run=outcome.per_run,
    )


def _comparison(base: _Outcome, other: _Outcome, arrays: TaskArrays, seed: int) -> Comparison:
    differences = other.correct - base.correct
    num_gained, num_lost = gained_and_lost(base.correct, other.correct)
    num_clips, effect = len(differences), design_effect(differences, arrays.groups)
    interval = bootstrap_interval(differences, arrays.groups, seed=seed)
    if base.averaged:
        return Comparison(
            delta=100.0 * float(np.mean(differences)),
            interval=interval,
            test="sign-flip",
            p_value=sign_flip_test(differences, arrays.groups, seed=seed),
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
