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
from whisper_aut.probe.splits import NUM_INNER_FOLDS, inner_splits, outer_splits

ProtocolName = Literal["paper", "strict"]
PROTOCOL_NAMES: tuple[ProtocolName, ...] = get_args(ProtocolName)


@dataclass(frozen=True)
class TaskArrays:
    """A task as numbers, one entry a clip."""

    class_ids: np.ndarray  # int [N]
    folds: np.ndarray  # int [N]
    groups: np.ndarray  # int [N]
    num_classes: int


@dataclass(frozen=True)
class Predictions:
    """One class number a clip, each predicted while its fold was the test; ``notes`` are additions to the rules."""

    class_ids: np.ndarray  # int [N]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Protocol:
    """A named, frozen way to probe."""

    name: ProtocolName
    version: int
    contexts: tuple[Context, ...]  # those it is defined for
    rules: str
    predict: Callable[[Embeddings, TaskArrays, int], Predictions]  # the int is the seed


def _predict_paper(embeddings: Embeddings, arrays: TaskArrays, seed: int) -> Predictions:
    features = embeddings.all_positions
    predicted = np.full(len(features), -1, dtype=np.int64)
    for split in outer_splits(arrays.folds):
        predicted[split.test] = fit_predict_linear(
            features[split.train],
            arrays.class_ids[split.train],
            features[split.test],
            num_classes=arrays.num_classes,
            seed=seed,
        )
    return Predictions(predicted)


def _predict_strict(embeddings: Embeddings, arrays: TaskArrays, seed: int) -> Predictions:
    features = embeddings.real_positions
    predicted = np.full(len(features), -1, dtype=np.int64)
    ungrouped = []
    for split in outer_splits(arrays.folds):
        train_classes = arrays.class_ids[split.train]
        inner = inner_splits(train_classes, arrays.groups[split.train], seed)
        if not inner.grouped:
            ungrouped.append(split.fold)
        predicted[split.test], _ = fit_predict_logistic(
            features[split.train], train_classes, features[split.test], inner
        )
    if not ungrouped:
        return Predictions(predicted)
    folds = ", ".join(map(str, ungrouped))
    note = f"for test fold(s) {folds} the training clips hold too few recordings to group: inner folds by clip"
    return Predictions(predicted, (note,))


PROTOCOLS: dict[ProtocolName, Protocol] = {
    "paper": Protocol(
        name="paper",
        version=1,
        contexts=("full",),
        rules=f"mean over all encoder positions of the final layer, padding to 30 s included; not standardised; "
        f"nn.Linear, {NUM_EPOCHS} epochs, Adam lr {LR:g}, batch {BATCH_CLIPS}; the paper tests on one fold (ESC-50: "
        f"fold 5), here every fold is the test once with the others training, and all are reported",
        predict=_predict_paper,
    ),
    "strict": Protocol(
        name="strict",
        version=2,
        contexts=("trimmed", "full"),
        rules=f"mean over the encoder positions of real audio only; standardised by the training folds; L2 logistic "
        f"regression, C from {C_GRID[0]:g} to {C_GRID[-1]:g} in {len(C_GRID)} steps chosen by cross entropy inside the "
        f"training folds, in up to {NUM_INNER_FOLDS} inner folds grouped by recording; every official fold is the "
        f"test once",
        predict=_predict_strict,
    ),
}
