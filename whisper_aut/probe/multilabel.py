"""The two linear heads where a clip has several labels: a yes-or-no answer for each class, scores instead of a choice.

Legend: N clips, D embedding width, C classes.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import nn

from whisper_aut.errors import ProbeError
from whisper_aut.probe.heads import BATCH_CLIPS, C_GRID, LR, MAX_ITERATIONS, NUM_EPOCHS
from whisper_aut.probe.splits import InnerSplits

GRADIENT_TOLERANCE = 1e-4  # of the mean loss, its largest entry: scikit-learn's default


def scores_linear(
    train_features: np.ndarray, train_labels: np.ndarray, test_features: np.ndarray, *, seed: int
) -> np.ndarray:
    """The paper's head with binary cross entropy: ``nn.Linear``, Adam 1e-3, batch 64, 50 epochs, features as they are.

    Args:
        train_features: float32 [N, D].
        train_labels: bool [N, C].
        test_features: float32 [N_test, D].
        seed: of the initial weights and of the order of clips.

    Returns:
        Logits, float32 [N_test, C].
    """
    features = torch.from_numpy(np.ascontiguousarray(train_features, dtype=np.float32))
    targets = torch.from_numpy(np.ascontiguousarray(train_labels, dtype=np.float32))
    order = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(features.shape[1], targets.shape[1])
    optimizer = torch.optim.Adam(head.parameters(), lr=LR)
    for _ in range(NUM_EPOCHS):
        shuffled = torch.randperm(len(features), generator=order)
        for start in range(0, len(shuffled), BATCH_CLIPS):
            batch = shuffled[start : start + BATCH_CLIPS]
            optimizer.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(head(features[batch]), targets[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        logits = head(torch.from_numpy(np.ascontiguousarray(test_features, dtype=np.float32)))
    return np.asarray(logits.numpy())


def scores_logistic(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    inner: InnerSplits,
    refit: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """L2 logistic regressions on standardised features, one a class, with one C for all of them.

    The C with the least binary cross entropy over the held-out clips and classes wins, of equals the smallest. Every
    fit standardises by its own training clips only.

    Args:
        train_features: float32 [N, D].
        train_labels: bool [N, C].
        test_features: float32 [N_test, D].
        inner: splits of the N training clips.
        refit: those of the N that the heads with the chosen C are fitted on; all of them where None.

    Returns:
        Logits float64 [N_test, C], and the chosen C.
    """
    loss = np.zeros(len(C_GRID))
    for fit, held_out in inner.splits:
        for index, c in enumerate(C_GRID):
            logits = _fit_predict(train_features[fit], train_labels[fit], train_features[held_out], c)
            loss[index] += _cross_entropy(logits, train_labels[held_out]).sum()
    chosen = C_GRID[int(np.argmin(loss))]
    rows = slice(None) if refit is None else refit
    return _fit_predict(train_features[rows], train_labels[rows], test_features, chosen), chosen


def _fit_predict(features: np.ndarray, labels: np.ndarray, others: np.ndarray, c: float) -> np.ndarray:
    """Logits [N_others, C]. The classes are independent problems; solved together their products fill the machine."""
    scaler = StandardScaler()
    inputs = scaler.fit_transform(features.astype(np.float64))  # float64: see heads._fits
    targets = labels.astype(np.float64)
    num_clips, width = inputs.shape
    num_classes = targets.shape[1]

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(width + 1, num_classes)  # the last row is the bias, which no penalty touches
        logits = inputs @ weights[:-1] + weights[-1]
        residual = (expit(logits) - targets) / num_clips
        penalised = weights[:-1] / (c * num_clips)
        gradient = np.vstack([inputs.T @ residual + penalised, residual.sum(axis=0)])
        loss = _cross_entropy(logits, targets).sum() / num_clips + 0.5 * float((penalised * weights[:-1]).sum())
        return float(loss), gradient.ravel()

    with threadpool_limits(limits=1, user_api="blas"):
        found = minimize(
            loss_and_gradient,
            np.zeros((width + 1) * num_classes),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": MAX_ITERATIONS,
                "maxfun": 2 * MAX_ITERATIONS,
                "gtol": GRADIENT_TOLERANCE,
                "ftol": 1e-14,
            },
        )
    if not found.success:
        raise ProbeError(
            f"the logistic heads with C {c:g} did not converge: {found.message}",
            remedy="the embeddings may hold damaged values; probe without this task",
        )
    weights = found.x.reshape(width + 1, num_classes)
    return np.asarray(scaler.transform(others.astype(np.float64)) @ weights[:-1] + weights[-1])


def _cross_entropy(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Of each clip and class, without overflow."""
    return np.asarray(np.logaddexp(0.0, logits) - targets * logits)
