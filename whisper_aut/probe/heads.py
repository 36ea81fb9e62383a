"""The two linear heads: the paper's ``nn.Linear`` under Adam, and L2 logistic regression with C chosen inside.

Legend: N clips, K layers, D embedding width, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

from whisper_aut.probe.logistic import LogisticFit, LogisticPath, one_thread
from whisper_aut.probe.splits import InnerSplits

NUM_EPOCHS = 50
LR = 1e-3
BATCH_CLIPS = 64
TEST_CLIPS = 1024  # predicted at once; says nothing about the result

# Inverse strength of the L2 penalty, from "almost the prior" to "almost unpenalised" for standardised features.
C_GRID: tuple[float, ...] = tuple(float(c) for c in np.logspace(-4, 1, 11))


@dataclass(frozen=True)
class RowsOf:
    """Some rows of an array that may lie on the disk, read when they are asked for: all layers of a large task do not
    fit into memory."""

    features: np.ndarray
    rows: np.ndarray  # int

    @property
    def shape(self) -> tuple[int, ...]:
        """As an array's."""
        return (len(self.rows), *self.features.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, wanted: np.ndarray) -> np.ndarray:
        return np.asarray(self.features[self.rows[wanted]])


Features = np.ndarray | RowsOf


class WeightedLayers(nn.Module):
    """[N, K, D] to [N, D]: a learned softmax-weighted sum over layers (SUPERB, arXiv 2105.01051), first all alike.

    Pooled by the mean before the sum or after is the same, so that the head learns on pooled vectors.
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_layers))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The weighted sum."""
        return torch.einsum("nkd,k->nd", features, self.logits.softmax(dim=0))


def fit_predict_linear(
    train_features: Features, train_classes: np.ndarray, test_features: Features, *, num_classes: int, seed: int
) -> np.ndarray:
    """The paper's head (arXiv 2604.10438): ``nn.Linear``, cross entropy, Adam 1e-3, batch 64, 50 epochs.

    No standardisation, no weight decay, no choice by any held-out score. On the CPU in float32, so that a result does
    not depend on the machine's accelerator; the caller's random state stays untouched.

    Args:
        train_features: float32 [N, D], or [N, K, D] for a learned weighted sum over layers before the head.
        train_classes: int [N], below ``num_classes``.
        test_features: float32 [N_test, D] or [N_test, K, D].
        num_classes: C.
        seed: of the initial weights and of the order of clips.

    Returns:
        Class numbers, int [N_test].
    """
    return fit_predict_adam(
        train_features,
        train_classes,
        test_features,
        layers=lambda width: [nn.Linear(width, num_classes)],
        lr_by_epoch=[LR] * NUM_EPOCHS,
        batch_clips=BATCH_CLIPS,
        seed=seed,
    )


def fit_predict_adam(
    train_features: Features,
    train_classes: np.ndarray,
    test_features: Features,
    *,
    layers: Callable[[int], Sequence[nn.Module]],
    lr_by_epoch: Sequence[float],
    batch_clips: int,
    seed: int,
) -> np.ndarray:
    """Train a small head with Adam on cross entropy, the clips in a new order each epoch, and predict after the last.

    Args:
        train_features: float32 [N, D] or [N, K, D].
        train_classes: int [N].
        test_features: as ``train_features``.
        layers: makes the head's layers for a given D; the last gives one score a class.
        lr_by_epoch: as many epochs as there are rates.
        batch_clips: clips a step.
        seed: of the initial weights and of the order of clips.

    Returns:
        Class numbers, int [N_test].
    """
    targets = torch.from_numpy(np.ascontiguousarray(train_classes, dtype=np.int64))
    order = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        over_layers = [WeightedLayers(train_features.shape[1])] if len(train_features.shape) == 3 else []
        head = nn.Sequential(*over_layers, *layers(train_features.shape[-1]))
    optimizer = torch.optim.Adam(head.parameters(), lr=LR)
    with one_thread():  # products of tens of rows: a second thread only waits
        for lr in lr_by_epoch:
            for group in optimizer.param_groups:
                group["lr"] = lr
            shuffled = torch.randperm(len(train_features), generator=order)
            for start in range(0, len(shuffled), batch_clips):
                batch = shuffled[start : start + batch_clips]
                optimizer.zero_grad()
                nn.functional.cross_entropy(head(_tensor(train_features, batch.numpy())), targets[batch]).backward()
                optimizer.step()
    predicted = np.empty(len(test_features), dtype=np.int64)
    with torch.no_grad():
        for start in range(0, len(predicted), TEST_CLIPS):
            rows = np.arange(start, min(start + TEST_CLIPS, len(predicted)))
            predicted[rows] = head(_tensor(test_features, rows)).argmax(dim=1).numpy()
    return predicted


def _tensor(features: Features, rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(features[rows].astype(np.float32, copy=False))


def fit_predict_logistic(
    train_features: np.ndarray, train_classes: np.ndarray, test_features: np.ndarray, inner: InnerSplits
) -> tuple[np.ndarray, float]:
    """L2 multinomial logistic regression on standardised features, C chosen by the inner splits.

    The C with the least cross entropy over the held-out clips wins, of equals the smallest. Not the C with the most
    correct clips: a count is flat and ragged over C, and on few recordings it picked, for one fold of one encoder, a
    C a thousand times off, which cost that encoder eight points (docs/experiments.md). Every fit, the inner ones too,
    standardises by its own training clips only.

    Args:
        train_features: float32 [N, D].
        train_classes: int [N].
        test_features: float32 [N_test, D].
        inner: splits of the N training clips.

    Returns:
        Class numbers int [N_test], and the chosen C.
    """
    loss = np.zeros(len(C_GRID))
    for fit, held_out in inner.splits:
        heads = _fits(train_features[fit], train_classes[fit], C_GRID)
        loss += [head.loss(train_features[held_out], train_classes[held_out]) for head in heads]
    chosen = C_GRID[int(np.argmin(loss))]  # the grid ascends, argmin takes the first of equals
    (head,) = _fits(train_features, train_classes, (chosen,))
    return head.predict(test_features), chosen


@dataclass(frozen=True)
class _Head:
    scaler: StandardScaler
    class_ids: np.ndarray  # int [C], those that training had, ascending
    fit: LogisticFit

    def predict(self, features: np.ndarray) -> np.ndarray:
        return np.asarray(self.class_ids[self._log_probabilities(features).argmax(axis=1)])

    def loss(self, features: np.ndarray, classes: np.ndarray) -> float:
        """Cross entropy summed over the clips whose class the head knows; the others say nothing about C."""
        known = np.isin(classes, self.class_ids)
        columns = np.searchsorted(self.class_ids, classes[known])
        return float(-self._log_probabilities(features[known])[np.arange(len(columns)), columns].sum())

    def _log_probabilities(self, features: np.ndarray) -> np.ndarray:
        return self.fit.log_probabilities(_scaled(self.scaler, features))


def _fits(features: np.ndarray, classes: np.ndarray, grid: Sequence[float]) -> Iterator[_Head]:
    scaler = StandardScaler().fit(features.astype(np.float64))
    class_ids, numbers = np.unique(classes, return_inverse=True)
    path = LogisticPath(_scaled(scaler, features), numbers)
    return (_Head(scaler, class_ids, fit) for fit in path.fits(grid))


def _scaled(scaler: StandardScaler, features: np.ndarray) -> np.ndarray:
    return np.asarray(scaler.transform(features.astype(np.float64)))
