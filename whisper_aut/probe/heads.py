"""The two linear heads: the paper's ``nn.Linear`` under Adam, and L2 logistic regression with C chosen inside.

Legend: N clips, D embedding width, C classes.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import nn

from whisper_aut.probe.splits import InnerSplits

NUM_EPOCHS = 50
LR = 1e-3
BATCH_CLIPS = 64

# Inverse strength of the L2 penalty, from "almost the prior" to "almost unpenalised" for standardised features.
C_GRID: tuple[float, ...] = tuple(float(c) for c in np.logspace(-4, 1, 6))
MAX_ITERATIONS = 1000


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

    Every fit, the inner ones too, standardises by its own training clips only. Of equally good C the smallest wins.

    Args:
        train_features: float32 [N, D].
        train_classes: int [N].
        test_features: float32 [N_test, D].
        inner: splits of the N training clips.

    Returns:
        Class numbers int [N_test], and the chosen C.
    """
    num_correct = np.zeros(len(C_GRID), dtype=np.int64)
    for fit, held_out in inner.splits:
        predictions = _predict_by_c(train_features[fit], train_classes[fit], train_features[held_out], C_GRID)
        num_correct += np.array([int(np.sum(p == train_classes[held_out])) for p in predictions])
    chosen = C_GRID[int(np.argmax(num_correct))]  # the grid ascends, argmax takes the first of equals
    (prediction,) = _predict_by_c(train_features, train_classes, test_features, (chosen,))
    return prediction, chosen


def _predict_by_c(
    train_features: np.ndarray, train_classes: np.ndarray, test_features: np.ndarray, grid: tuple[float, ...]
) -> list[np.ndarray]:
    """Predictions for each C. Every fit starts from zero, so that none depends on the rest of the grid."""
    # float64: lbfgs stops early in float32 where the penalty is weak, and results then depend on the start.
    scaler = StandardScaler().fit(train_features.astype(np.float64))
    train, test = (
        scaler.transform(train_features.astype(np.float64)),
        scaler.transform(test_features.astype(np.float64)),
    )
    model = LogisticRegression(solver="lbfgs", max_iter=MAX_ITERATIONS)
    predictions = []
    # One BLAS thread: the matrices are small, and on busy cores BLAS threads spend their time waiting for each other.
    with warnings.catch_warnings(), threadpool_limits(limits=1, user_api="blas"):
        warnings.simplefilter("error", ConvergenceWarning)  # a head that did not converge is no result
        for c in grid:
            model.set_params(C=c)
            predictions.append(np.asarray(model.fit(train, train_classes).predict(test)))
    return predictions
