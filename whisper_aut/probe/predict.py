"""How each protocol answers the clips of a task, test by test; no head has heard a recording that it is tested on.

Legend: N clips, K layers, D embedding width, C classes, R runs (seeds of a head, or draws of training clips).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from whisper_aut.probe.arrays import TaskArrays
from whisper_aut.probe.few_shot import NUM_DRAWS, NUM_SHOTS, draw_shots, fit_predict_few
from whisper_aut.probe.heads import Features, RowsOf, fit_predict_linear, fit_predict_logistic
from whisper_aut.probe.heads_xares import fit_predict_normed, predict_neighbours
from whisper_aut.probe.splits import Indices, InnerSplits, Split, inner_splits, outer_splits

NUM_SEEDS = 3  # of a head that begins at random: the first gives the result, all of them its spread


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


class Predict(Protocol):
    """A protocol's way to its answers.

    Features are float32 [N, D], or [N, K, D] of all layers for a learned weighted sum. ``device`` is where large
    products are computed; a result depends on it no more than on the order of a sum. Small heads, thousands of steps
    of microseconds, stay on the CPU.
    """

    def __call__(self, features: np.ndarray, arrays: TaskArrays, seed: int, device: str = "cpu") -> Predictions:
        """Every tested clip's answers."""
        ...


def predict_paper(features: np.ndarray, arrays: TaskArrays, seed: int, device: str = "cpu") -> Predictions:
    """``nn.Linear``; everything that is not tested trains."""
    answers = _unanswered(arrays, NUM_SEEDS)
    for split in outer_splits(arrays.folds, arrays.groups):
        known, asked = _rows(features, split.train), _rows(features, split.test)
        for run in range(NUM_SEEDS):
            answers[run, split.test] = fit_predict_linear(
                known, arrays.targets[split.train], asked, num_classes=arrays.num_classes, seed=seed + run
            )
    return Predictions(answers, notes=_notes_on_parts(arrays))


def predict_xares(features: np.ndarray, arrays: TaskArrays, seed: int, device: str = "cpu") -> Predictions:
    """``nn.LayerNorm`` and ``nn.Linear``; an official validation part chooses the epoch and does not train.

    Every fold's head begins elsewhere. One beginning for all folds makes their errors go together, which doubled the
    spread over seeds (docs/experiments.md).
    """
    answers = _unanswered(arrays, NUM_SEEDS)
    for split in outer_splits(arrays.folds, arrays.groups):
        train, held_out = split.choose or (split.train, None)
        valid = None if held_out is None else (_rows(features, held_out), arrays.targets[held_out])
        known, asked = _rows(features, train), _rows(features, split.test)
        for run in range(NUM_SEEDS):
            answers[run, split.test] = fit_predict_normed(
                known,
                arrays.targets[train],
                asked,
                num_classes=arrays.num_classes,
                seed=beginning(seed + run, split.fold),
                valid=valid,
            )
    return Predictions(answers, notes=_notes_on_parts(arrays))


def predict_by_neighbours(features: np.ndarray, arrays: TaskArrays, seed: int, device: str = "cpu") -> Predictions:
    """Training clips vote; an official validation part does not."""
    answers = _unanswered(arrays, 1)
    for split in outer_splits(arrays.folds, arrays.groups):
        train, _ = split.choose or (split.train, None)
        answers[0, split.test] = predict_neighbours(
            features[train], arrays.targets[train], features[split.test], num_classes=arrays.num_classes
        )
    return Predictions(answers, notes=_notes_on_parts(arrays))


def predict_strict(features: np.ndarray, arrays: TaskArrays, seed: int, device: str = "cpu") -> Predictions:
    """Logistic regression, C chosen inside the training folds or on the official validation part."""
    answers = _unanswered(arrays, 1)
    ungrouped = []
    for split in outer_splits(arrays.folds, arrays.groups):
        rows, inner, refit = _to_choose_on(split, arrays, seed)
        if not inner.grouped:
            ungrouped.append(split.fold)
        answers[0, split.test], _ = fit_predict_logistic(
            features[rows], arrays.targets[rows], features[split.test], inner, refit, device=device
        )
    notes = _notes_on_parts(arrays)
    if ungrouped:
        folds = ", ".join(map(str, ungrouped))
        notes += (f"for test fold(s) {folds} the training clips hold too few recordings to group: inner folds by clip",)
    return Predictions(answers, notes=notes)


def predict_few_shot(features: np.ndarray, arrays: TaskArrays, seed: int, device: str = "cpu") -> Predictions:
    """A handful of training clips a class, drawn several times; of tasks whose clips have one class each."""
    assert arrays.label_matrix is None, "a clip with several labels is no shot of one class"
    answers = _unanswered(arrays, NUM_DRAWS)
    short = set()
    for split in outer_splits(arrays.folds, arrays.groups):
        classes, groups = arrays.class_ids[split.train], arrays.groups[split.train]
        short |= set(np.flatnonzero(np.bincount(classes, minlength=arrays.num_classes) < NUM_SHOTS).tolist())
        for draw in range(NUM_DRAWS):
            # Of test and draw, not of the encoder: all encoders learn from the same clips.
            shots = split.train[draw_shots(classes, groups, np.random.default_rng([seed, _number(split.fold), draw]))]
            answers[draw, split.test] = fit_predict_few(features[shots], arrays.class_ids[shots], features[split.test])
    notes = _notes_on_parts(arrays)
    if short:
        notes += (f"{len(short)} class(es) have fewer than {NUM_SHOTS} training clips in a fold: all are taken",)
    return Predictions(answers, averaged=True, notes=notes)


def _number(fold: int | str) -> int:
    return 0 if isinstance(fold, str) else fold & 0xFFFF


def beginning(seed: int, fold: int | str) -> int:
    """Of seed and fold, not of the encoder: all encoders' heads begin alike."""
    return int(np.random.SeedSequence([seed, _number(fold)]).generate_state(1)[0])


def _unanswered(arrays: TaskArrays, num_runs: int) -> np.ndarray:
    if arrays.label_matrix is None:
        return np.full((num_runs, len(arrays.folds)), -1, dtype=np.int64)
    return np.full((num_runs, *arrays.label_matrix.shape), np.nan, dtype=np.float32)


def _rows(features: np.ndarray, rows: Indices) -> Features:
    return RowsOf(features, rows) if features.ndim == 3 else features[rows]


def _to_choose_on(split: Split, arrays: TaskArrays, seed: int) -> tuple[Indices, InnerSplits, Indices]:
    """Rows to fit and choose on, how to choose (indices into them), which of them the tested head is fitted on."""
    if split.choose is None:
        rows = split.train
        return rows, inner_splits(arrays.class_ids[rows], arrays.groups[rows], seed), np.arange(len(rows))
    fit, held_out = split.choose
    rows = np.concatenate([fit, held_out])
    numbers = np.arange(len(rows))
    inner = InnerSplits(((numbers[: len(fit)], numbers[len(fit) :]),), grouped=True)
    return rows, inner, np.flatnonzero(np.isin(rows, split.train))


def _notes_on_parts(arrays: TaskArrays) -> tuple[str, ...]:
    """What the parts of this fixed split make different from the rules."""
    if not arrays.fixed:
        return ()
    (split,) = outer_splits(arrays.folds, arrays.groups)
    if split.choose is None:
        return ("the task has no validation part",)
    num_apart = sum(map(len, split.choose)) - len(split.train)
    if not num_apart:
        return ()
    return (
        f"{num_apart} validation clips share their recording, instrument or speaker with the test: never fitted on",
    )
