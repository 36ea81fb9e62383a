"""The frozen ways to probe, each with a version: ``paper``, to compare with what was published; ``strict``, to believe.

``xares`` and ``xares-knn`` are those of X-ARES, ``few-shot`` asks what sixteen clips a class give. A protocol's numbers
mean nothing under another's rules. Change a rule and its version counts up, in the same commit. ``variant`` is for
looking into an encoder: another pooling or layer makes another protocol, and its name says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args
from typing import Protocol as TypingProtocol

import numpy as np

from whisper_aut.constants import Context
from whisper_aut.errors import ProbeError
from whisper_aut.probe import heads_xares as xares
from whisper_aut.probe.encoders.base import Pooling, Statistic
from whisper_aut.probe.few_shot import NUM_DRAWS, NUM_SHOTS, C, draw_shots, fit_predict_few
from whisper_aut.probe.heads import (
    BATCH_CLIPS,
    C_GRID,
    LR,
    NUM_EPOCHS,
    Features,
    RowsOf,
    fit_predict_linear,
    fit_predict_logistic,
)
from whisper_aut.probe.splits import NUM_INNER_FOLDS, inner_splits, outer_splits

ProtocolName = Literal["paper", "strict", "xares", "xares-knn", "few-shot"]
PROTOCOL_NAMES: tuple[ProtocolName, ...] = get_args(ProtocolName)
DEFAULT_PROTOCOLS: tuple[ProtocolName, ...] = ("paper", "strict")
Layer = int | Literal["last", "weighted"]
NUM_SEEDS = 3  # of a head that begins at random: the first gives the result, all of them its spread


class Fit(TypingProtocol):
    """Trains a head that begins at random, and predicts."""

    def __call__(
        self, train: Features, classes: np.ndarray, test: Features, /, *, num_classes: int, seed: int
    ) -> np.ndarray:
        """Class numbers of ``test``."""


@dataclass(frozen=True)
class TaskArrays:
    """A task as numbers, one entry a clip."""

    class_ids: np.ndarray  # int [N]
    folds: np.ndarray  # int [N]
    groups: np.ndarray  # int [N]
    num_classes: int


@dataclass(frozen=True)
class Predictions:
    """One class number a clip and run, each predicted while its fold was the test.

    ``averaged``: the runs are draws of training clips, and a clip counts by the share of runs that get it right; else
    they are seeds of one head, and the first counts. ``notes`` are additions to the rules.
    """

    class_ids: np.ndarray  # int [R, N]
    averaged: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Protocol:
    """A named, frozen way to probe."""

    name: str
    version: int
    contexts: tuple[Context, ...]  # those it is defined for
    pooling: Pooling
    layer: Layer
    rules: str  # of the head: pooling and layer are said by ``describe``
    # Features are float32 [N, D], or [N, K, D] of all layers where ``layer`` is weighted. The int is the seed.
    predict: Callable[[np.ndarray, TaskArrays, int], Predictions]
    learns_weights: bool = False  # whether the head can learn a weighted sum over layers

    def describe(self) -> str:
        """The protocol in one sentence."""
        where = {"all": "all encoder positions, padding included", "real": "the encoder positions of real audio only"}
        statistic = {"mean": "mean", "mean+std": "mean and standard deviation", "max": "maximum"}
        layer = "the final layer" if self.layer == "last" else f"layer {self.layer}"
        if self.layer == "weighted":
            layer = "a learned weighted sum of all layers"
        return f"{statistic[self.pooling.statistic]} over {where[self.pooling.positions]}, of {layer}; {self.rules}"


def variant(protocol: Protocol, *, statistic: Statistic | None = None, layer: Layer | None = None) -> Protocol:
    """The protocol with another pooling or layer, under a name that says so; itself where nothing differs.

    Raises:
        ProbeError: the protocol's head cannot learn weights of layers, or not of what is pooled so.
    """
    pooling = replace(protocol.pooling, statistic=statistic or protocol.pooling.statistic)
    chosen = protocol.layer if layer is None else layer
    if chosen == "weighted" and not (protocol.learns_weights and pooling.statistic == "mean"):
        able = ", ".join(name for name, one in PROTOCOLS.items() if one.learns_weights)
        raise ProbeError(
            f"the protocol '{protocol.name}' with pooling '{pooling.statistic}' cannot learn weights of layers",
            remedy=f"use pooling 'mean' and one of the protocols {able}",
        )
    parts: list[str] = [pooling.statistic] * (pooling != protocol.pooling)
    parts += [f"layer {chosen}"] * (chosen != protocol.layer)
    if not parts:
        return protocol
    return replace(protocol, name=f"{protocol.name} [{', '.join(parts)}]", pooling=pooling, layer=chosen)


def parse_layer(text: str) -> Layer:
    """``last``, ``weighted``, or a number from 0.

    Raises:
        ProbeError: none of these.
    """
    if text in {"last", "weighted"}:
        return "last" if text == "last" else "weighted"
    if text.isascii() and text.isdigit():
        return int(text)
    raise ProbeError(f"there is no layer '{text}'", remedy="give last, weighted, all, or a number from 0")


def _each_seed(
    fit: Fit, num_seeds: int, *, fold_by_fold: bool = False
) -> Callable[[np.ndarray, TaskArrays, int], Predictions]:
    """``fold_by_fold``: every fold's head begins elsewhere. One beginning for all folds makes their errors go together,
    which doubled the spread over seeds of ``xares`` (docs/experiments.md)."""

    def begin(seed: int, fold: int) -> int:
        # Of seed and fold, not of the encoder: all encoders' heads begin alike.
        return int(np.random.SeedSequence([seed, fold & 0xFFFF]).generate_state(1)[0]) if fold_by_fold else seed

    def predict(features: np.ndarray, arrays: TaskArrays, seed: int) -> Predictions:
        predicted = np.full((num_seeds, len(features)), -1, dtype=np.int64)
        for split in outer_splits(arrays.folds):
            train, test = (
                RowsOf(features, rows) if features.ndim == 3 else features[rows] for rows in (split.train, split.test)
            )
            for run in range(num_seeds):
                predicted[run, split.test] = fit(
                    train,
                    arrays.class_ids[split.train],
                    test,
                    num_classes=arrays.num_classes,
                    seed=begin(seed + run, split.fold),
                )
        return Predictions(predicted)

    return predict


def _predict_neighbours(features: np.ndarray, arrays: TaskArrays, seed: int) -> Predictions:
    predicted = np.full((1, len(features)), -1, dtype=np.int64)
    for split in outer_splits(arrays.folds):
        predicted[0, split.test] = xares.predict_neighbours(
            features[split.train],
            arrays.class_ids[split.train],
            features[split.test],
            num_classes=arrays.num_classes,
        )
    return Predictions(predicted)


def _predict_strict(features: np.ndarray, arrays: TaskArrays, seed: int) -> Predictions:
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
        return Predictions(predicted[None])
    folds = ", ".join(map(str, ungrouped))
    note = f"for test fold(s) {folds} the training clips hold too few recordings to group: inner folds by clip"
    return Predictions(predicted[None], notes=(note,))


def _predict_few_shot(features: np.ndarray, arrays: TaskArrays, seed: int) -> Predictions:
    predicted = np.full((NUM_DRAWS, len(features)), -1, dtype=np.int64)
    short = set()
    for split in outer_splits(arrays.folds):
        classes, groups = arrays.class_ids[split.train], arrays.groups[split.train]
        short |= set(np.flatnonzero(np.bincount(classes, minlength=arrays.num_classes) < NUM_SHOTS).tolist())
        for draw in range(NUM_DRAWS):
            # Of fold and draw, not of the encoder: all encoders learn from the same clips.
            shots = split.train[draw_shots(classes, groups, np.random.default_rng([seed, split.fold & 0xFFFF, draw]))]
            predicted[draw, split.test] = fit_predict_few(
                features[shots], arrays.class_ids[shots], features[split.test]
            )
    notes = (f"{len(short)} class(es) have fewer than {NUM_SHOTS} training clips in a fold: all are taken",)
    return Predictions(predicted, averaged=True, notes=notes if short else ())


_EVERY_FOLD = "every official fold is the test once"
_SEEDS = f"the first of {NUM_SEEDS} seeds counts, all give the spread"
_XARES_DIFFERS = (
    "X-ARES averages folds and, in k-fold tasks, keeps the epoch that is best on the test fold; here all clips count "
    "alike and the last epoch is taken"
)

PROTOCOLS: dict[ProtocolName, Protocol] = {
    "paper": Protocol(
        name="paper",
        version=1,
        contexts=("full",),
        pooling=Pooling("mean", "all"),
        layer="last",
        rules=f"not standardised; nn.Linear, {NUM_EPOCHS} epochs, Adam lr {LR:g}, batch {BATCH_CLIPS}; {_SEEDS}; the "
        f"paper tests on one fold (ESC-50: fold 5), here every fold is the test once with the others training, and all "
        f"are reported",
        predict=_each_seed(fit_predict_linear, NUM_SEEDS),
        learns_weights=True,
    ),
    "strict": Protocol(
        name="strict",
        version=2,
        contexts=("trimmed", "full"),
        pooling=Pooling("mean", "real"),
        layer="last",
        rules=f"standardised by the training folds; L2 logistic regression, C from {C_GRID[0]:g} to {C_GRID[-1]:g} in "
        f"{len(C_GRID)} steps chosen by cross entropy inside the training folds, in up to {NUM_INNER_FOLDS} inner "
        f"folds grouped by recording; {_EVERY_FOLD}",
        predict=_predict_strict,
    ),
    "xares": Protocol(
        name="xares",
        version=2,
        contexts=("full",),
        pooling=Pooling("mean", "all"),
        layer="last",
        rules=f"nn.LayerNorm and nn.Linear, {xares.NUM_EPOCHS} epochs, Adam lr {xares.LR:g} with a cosine to "
        f"{xares.LR * xares.FINAL_LR_SHARE:g} by epoch, batch {xares.BATCH_CLIPS}; {_SEEDS}, each of them drawn anew "
        f"for every fold; {_EVERY_FOLD}; "
        f"{_XARES_DIFFERS}",
        predict=_each_seed(xares.fit_predict_normed, NUM_SEEDS, fold_by_fold=True),
        learns_weights=True,
    ),
    "xares-knn": Protocol(
        name="xares-knn",
        version=2,
        contexts=("full",),
        pooling=Pooling("mean", "all"),
        layer="last",
        rules=f"the {xares.NUM_NEIGHBOURS} most similar training clips vote, weighted by a softmax at temperature "
        f"{xares.TEMPERATURE:g}; similarity is the product with training features whose every dimension is scaled to "
        f"length one over the training clips, as in X-ARES, not the cosine; nothing is fitted; {_EVERY_FOLD}",
        predict=_predict_neighbours,
    ),
    "few-shot": Protocol(
        name="few-shot",
        version=1,
        contexts=("trimmed", "full"),
        pooling=Pooling("mean", "real"),
        layer="last",
        rules=f"{NUM_SHOTS} training clips a class, from as many recordings as there are, drawn {NUM_DRAWS} times, the "
        f"same clips for all encoders; standardised by those clips; L2 logistic regression, C = {C:g}; a clip counts "
        f"by the share of draws that get it right; {_EVERY_FOLD}",
        predict=_predict_few_shot,
    ),
}
