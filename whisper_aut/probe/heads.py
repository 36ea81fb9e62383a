"""The two linear heads: the paper's ``nn.Linear`` under Adam, and L2 logistic regression with C chosen inside.

Legend: N clips, D embedding width, C classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import nn

from whisper_aut.probe.splits import InnerSplits

NUM_EPOCHS = 50
LR = 1e-3
BATCH_CLIPS = 64

# Inverse strength of the L2 penalty, from "almost the prior" to "almost unpenalised" for standardised features.
C_GRID: tuple[float, ...] = tuple(float(c) for c in np.logspace(-4, 1, 11))
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
    train_features: np.ndarray,
    train_classes: np.ndarray,
    test_features: np.ndarray,
    inner: InnerSplits,
    refit: np.ndarray | None = None,
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
        refit: those of the N that the head with the chosen C is fitted on; all of them where None.

    Returns:
        Class numbers int [N_test], and the chosen C.
    """
    loss = np.zeros(len(C_GRID))
    for fit, held_out in inner.splits:
        models = _fits(train_features[fit], train_classes[fit], C_GRID)
        loss += [_loss(model, train_features[held_out], train_classes[held_out]) for model in models]
    chosen = C_GRID[int(np.argmin(loss))]  # the grid ascends, argmin takes the first of equals
    rows = slice(None) if refit is None else refit
    (model,) = _fits(train_features[rows], train_classes[rows], (chosen,))
    return np.asarray(model.predict(test_features.astype(np.float64))), chosen


def _fits(features: np.ndarray, classes: np.ndarray, grid: Sequence[float]) -> Iterator[Pipeline]:
    """A head for each C. Every fit starts from zero, so that none depends on the rest of the grid."""
    # float64: lbfgs stops early in float32 where the penalty is weak, and results then depend on the start.
    features = features.astype(np.float64)
    # One BLAS thread: the matrices are small, and on busy cores BLAS threads spend their time waiting for each other.
    with warnings.catch_warnings(), threadpool_limits(limits=1, user_api="blas"):
        warnings.simplefilter("error", ConvergenceWarning)  # a head that did not converge is no result
        for c in grid:
            head = LogisticRegression(C=c, solver="lbfgs", max_iter=MAX_ITERATIONS)
            yield make_pipeline(StandardScaler(), head).fit(features, classes)


def _loss(model: Pipeline, features: np.ndarray, classes: np.ndarray) -> float:
    """Cross entropy summed over the clips whose class the model knows; the others say nothing about C."""
    known = np.isin(classes, model.classes_)
    if not known.any():
        return 0.0
    probabilities = model.predict_proba(features[known].astype(np.float64))
    of_class = probabilities[np.arange(len(probabilities)), np.searchsorted(model.classes_, classes[known])]
    return float(-np.log(np.maximum(of_class, np.finfo(np.float64).tiny)).sum())
