"""The frozen ways to probe, each with a version: ``paper``, to compare with what was published; ``strict``, to believe.

A protocol's numbers mean nothing under another's rules. Change a rule and its version counts up, in the same commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from whisper_aut.constants import Context
from whisper_aut.probe.embed import Embeddings
from whisper_aut.probe.heads import (
    BATCH_CLIPS,
    C_GRID,
    LR,
    NUM_EPOCHS,
    fit_predict_linear,
    fit_predict_logistic,
)
from whisper_aut.probe.multilabel import scores_linear, scores_logistic
from whisper_aut.probe.splits import NUM_INNER_FOLDS, InnerSplits, Split, inner_splits, outer_splits

ProtocolName = Literal["paper", "strict"]
PROTOCOL_NAMES: tuple[ProtocolName, ...] = get_args(ProtocolName)


@dataclass(frozen=True)
class TaskArrays:
    """A task as numbers, one entry a clip."""

    class_ids: np.ndarray  # int [N]; of a multi-label task each clip's rarest class, which stratifies inner folds
    folds: np.ndarray  # int [N]; of a fixed split str [N]: 'train', 'valid', 'test'
    groups: np.ndarray  # int [N]
    num_classes: int
    label_matrix: np.ndarray | None = None  # bool [N, C] of a multi-label task


@dataclass(frozen=True)
class Predictions:
    """One class number a clip, each predicted while its fold was the test; ``notes`` are additions to the rules."""

    class_ids: np.ndarray  # int [N]; -1 for clips that are never tested, and all through a multi-label task
    notes: tuple[str, ...] = ()
    scores: np.ndarray | None = None  # float [N, C] of a multi-label task; NaN for clips that are never tested


@dataclass(frozen=True)
class Protocol:
    """A named, frozen way to probe."""

    name: ProtocolName
    version: int
    contexts: tuple[Context, ...]  # those it is defined for
    rules: str  # on folds
    fixed_rules: str  # on a fixed split
    multi_label_rules: str  # what is added where clips have several labels
    predict: Callable[[Embeddings, TaskArrays, int], Predictions]  # the int is the seed

    def rules_for(self, arrays: TaskArrays) -> str:
        """The protocol in one sentence, as it is for this kind of task."""
        rules = self.fixed_rules if arrays.folds.dtype.kind == "U" else self.rules
        return rules if arrays.label_matrix is None else f"{rules}; {self.multi_label_rules}"


def _predict_paper(embeddings: Embeddings, arrays: TaskArrays, seed: int) -> Predictions:
    features = embeddings.all_positions
    found = _Found.empty(arrays)
    for split in outer_splits(arrays.folds, arrays.groups):
        train, test = features[split.train], features[split.test]
        if arrays.label_matrix is not None:
            found.scores[split.test] = scores_linear(train, arrays.label_matrix[split.train], test, seed=seed)
        else:
            found.class_ids[split.test] = fit_predict_linear(
                train, arrays.class_ids[split.train], test, num_classes=arrays.num_classes, seed=seed
            )
    return found.predictions(arrays, _notes_on_fixed(arrays))


def _predict_strict(embeddings: Embeddings, arrays: TaskArrays, seed: int) -> Predictions:
    features = embeddings.real_positions
    found = _Found.empty(arrays)
    ungrouped = []
    for split in outer_splits(arrays.folds, arrays.groups):
        rows, inner, refit = _to_choose_on(split, arrays, seed)
        if not inner.grouped:
            ungrouped.append(split.fold)
        train, test = features[rows], features[split.test]
        if arrays.label_matrix is not None:
            found.scores[split.test], _ = scores_logistic(train, arrays.label_matrix[rows], test, inner, refit)
        else:
            found.class_ids[split.test], _ = fit_predict_logistic(train, arrays.class_ids[rows], test, inner, refit)
    notes = list(_notes_on_fixed(arrays))
    if ungrouped:
        folds = ", ".join(map(str, ungrouped))
        notes.append(
            f"for test fold(s) {folds} the training clips hold too few recordings to group: inner folds by clip"
        )
    return found.predictions(arrays, tuple(notes))


def _to_choose_on(split: Split, arrays: TaskArrays, seed: int) -> tuple[np.ndarray, InnerSplits, np.ndarray]:
    """Rows to fit and choose on, how to choose (indices into them), which of them the tested head is fitted on."""
    if split.choose is None:
        rows = split.train
        return rows, inner_splits(arrays.class_ids[rows], arrays.groups[rows], seed), np.arange(len(rows))
    fit, held_out = split.choose
    rows = np.concatenate([fit, held_out])
    numbers = np.arange(len(rows))
    inner = InnerSplits(((numbers[: len(fit)], numbers[len(fit) :]),), grouped=True)
    return rows, inner, np.flatnonzero(np.isin(rows, split.train))


def _notes_on_fixed(arrays: TaskArrays) -> tuple[str, ...]:
    """What the parts of this fixed split make different from the rules."""
    if arrays.folds.dtype.kind != "U":
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


@dataclass(frozen=True)
class _Found:
    """Answers, filled test by test."""

    class_ids: np.ndarray
    scores: np.ndarray

    @classmethod
    def empty(cls, arrays: TaskArrays) -> _Found:
        num_scored = 0 if arrays.label_matrix is None else len(arrays.folds)
        return cls(np.full(len(arrays.folds), -1, dtype=np.int64), np.full((num_scored, arrays.num_classes), np.nan))

    def predictions(self, arrays: TaskArrays, notes: tuple[str, ...]) -> Predictions:
        return Predictions(self.class_ids, notes, None if arrays.label_matrix is None else self.scores)


_PAPER = (
    f"mean over all encoder positions of the final layer, padding to 30 s included; not standardised; nn.Linear, "
    f"{NUM_EPOCHS} epochs, Adam lr {LR:g}, batch {BATCH_CLIPS}"
)
_STRICT = "mean over the encoder positions of real audio only"
_GRID = f"C from {C_GRID[0]:g} to {C_GRID[-1]:g} in {len(C_GRID)} steps chosen by cross entropy"

# Fixed splits and several labels came after these versions and change no number that a version has given.
PROTOCOLS: dict[ProtocolName, Protocol] = {
    "paper": Protocol(
        name="paper",
        version=1,
        contexts=("full",),
        rules=f"{_PAPER}; the paper tests on one fold (ESC-50: fold 5), here every fold is the test once with the "
        f"others training, and all are reported",
        fixed_rules=f"{_PAPER}; official train and validation parts train together, as the paper's 80/20 split has no "
        f"validation part, and the official test part is tested",
        multi_label_rules="binary cross entropy for each class",
        predict=_predict_paper,
    ),
    "strict": Protocol(
        name="strict",
        version=2,
        contexts=("trimmed", "full"),
        rules=f"{_STRICT}; standardised by the training folds; L2 logistic regression, {_GRID} inside the "
        f"training folds, in up to {NUM_INNER_FOLDS} inner folds grouped by recording; every official fold is the "
        f"test once",
        fixed_rules=f"{_STRICT}; standardised by the clips it is fitted on; L2 logistic regression, {_GRID} on the "
        f"official validation part (without one: in up to {NUM_INNER_FOLDS} inner folds of the training part grouped "
        f"by recording), then fitted on train and validation together; the official test part is tested once",
        multi_label_rules="one logistic regression a class, one C for all",
        predict=_predict_strict,
    ),
}
