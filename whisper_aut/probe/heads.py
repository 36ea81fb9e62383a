"""The two linear heads: the paper's ``nn.Linear`` under Adam, and L2 logistic regression with C chosen inside.

Legend: N clips, D embedding width, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

# Inverse strength of the L2 penalty, from "almost the prior" to "almost unpenalised" for standardised features.
C_GRID: tuple[float, ...] = tuple(float(c) for c in np.logspace(-4, 1, 11))


def fit_predict_linear(
    train_features: np.ndarray, train_classes: np.ndarray, test_features: np.ndarray, *, num_classes: int, seed: int
) -> np.ndarray:
    """The paper's head (arXiv 2604.10438): ``nn.Linear``, cross entropy, Adam 1e-3, batch 64, 50 epochs.

    No standardisation, no weight decay, no choice by any held-out score. On the CPU in float32, so that a result does
    not depend on the machine's accelerator; the caller's random state stays untouched.

    Args:
        train_features: float32 [N, D].
        train_classes: int [N], below ``num_classes``.
        test_features: float32 [N_test, D].
        num_classes: C.
        seed: of the initial weights and of the order of clips.

    Returns:
        Class numbers, int [N_test].
    """
    features = torch.from_numpy(np.ascontiguousarray(train_features, dtype=np.float32))
    targets = torch.from_numpy(np.ascontiguousarray(train_classes, dtype=np.int64))
    order = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(features.shape[1], num_classes)
    optimizer = torch.optim.Adam(head.parameters(), lr=LR)
    with one_thread():  # products of 64 rows: a second thread only waits
        for _ in range(NUM_EPOCHS):
            shuffled = torch.randperm(len(features), generator=order)
            for start in range(0, len(shuffled), BATCH_CLIPS):
                batch = shuffled[start : start + BATCH_CLIPS]
                optimizer.zero_grad()
                nn.functional.cross_entropy(head(features[batch]), targets[batch]).backward()
                optimizer.step()
    with torch.no_grad():
        scores = head(torch.from_numpy(np.ascontiguousarray(test_features, dtype=np.float32)))
    return np.asarray(scores.argmax(dim=1).numpy())


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
