"""The two linear heads: the paper's ``nn.Linear`` under Adam, and L2 logistic regression with C chosen inside.

A head learns targets: class numbers, int [N], and answers with class numbers; or, where a clip may have several labels,
bool [N, C], and answers with a logit for each class, float [N_test, C].
Legend: N clips, K layers, D embedding width, C classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

from whisper_aut.probe.logistic import LogisticFit, LogisticPath
from whisper_aut.probe.ranking import mean_average_precision
from whisper_aut.probe.splits import InnerSplits
from whisper_aut.probe.statistics import accuracy

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
    train_features: Features, train_targets: np.ndarray, test_features: Features, *, num_classes: int, seed: int
) -> np.ndarray:
    """The paper's head (arXiv 2604.10438): ``nn.Linear``, cross entropy, Adam 1e-3, batch 64, 50 epochs.

    Binary cross entropy where clips have several labels. No standardisation, no weight decay, no choice by any held-out
    score. On the CPU in float32, so that a result does not depend on the machine's accelerator; the caller's random
    state stays untouched.

    Args:
        train_features: float32 [N, D], or [N, K, D] for a learned weighted sum over layers before the head.
        train_targets: int [N], below ``num_classes``; or bool [N, C].
        test_features: float32 [N_test, D] or [N_test, K, D].
        num_classes: C.
        seed: of the initial weights and of the order of clips.

    Returns:
        Class numbers int [N_test], or logits float32 [N_test, C].
    """
    return fit_predict_adam(
        train_features,
        train_targets,
        test_features,
        layers=lambda width: [nn.Linear(width, num_classes)],
        lr_by_epoch=[LR] * NUM_EPOCHS,
        batch_clips=BATCH_CLIPS,
        seed=seed,
    )


def fit_predict_adam(
    train_features: Features,
    train_targets: np.ndarray,
    test_features: Features,
    *,
    layers: Callable[[int], Sequence[nn.Module]],
    lr_by_epoch: Sequence[float],
    batch_clips: int,
    seed: int,
    valid: tuple[Features, np.ndarray] | None = None,
) -> np.ndarray:
    """Train a small head with Adam on cross entropy, the clips in a new order each epoch, and predict after the last.

    Args:
        train_features: float32 [N, D] or [N, K, D].
        train_targets: int [N], or bool [N, C].
        test_features: as ``train_features``.
        layers: makes the head's layers for a given D; the last gives one score a class.
        lr_by_epoch: as many epochs as there are rates.
        batch_clips: clips a step.
        seed: of the initial weights and of the order of clips.
        valid: features and targets of a validation part. The head of the epoch with the best metric there predicts, of
            equals the first; without it the last epoch's.

    Returns:
        Class numbers int [N_test], or logits float32 [N_test, C].
    """
    several = train_targets.ndim == 2
    targets = torch.from_numpy(np.ascontiguousarray(train_targets, dtype=np.float32 if several else np.int64))
    loss_of = nn.functional.binary_cross_entropy_with_logits if several else nn.functional.cross_entropy
    order = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        over_layers = [WeightedLayers(train_features.shape[1])] if len(train_features.shape) == 3 else []
        head = nn.Sequential(*over_layers, *layers(train_features.shape[-1]))
    optimizer = torch.optim.Adam(head.parameters(), lr=LR)
    best, best_score = None, -np.inf
    for lr in lr_by_epoch:
        for group in optimizer.param_groups:
            group["lr"] = lr
        shuffled = torch.randperm(len(train_features), generator=order)
        for start in range(0, len(shuffled), batch_clips):
            batch = shuffled[start : start + batch_clips]
            optimizer.zero_grad()
            loss_of(head(_tensor(train_features, batch.numpy())), targets[batch]).backward()
            optimizer.step()
        if valid is not None and (score := _score(_logits(head, valid[0]), valid[1])) > best_score:
            best, best_score = copy.deepcopy(head.state_dict()), score
    if best is not None:
        head.load_state_dict(best)
    logits = _logits(head, test_features)
    return logits if several else np.asarray(logits.argmax(axis=1))


def _logits(head: nn.Module, features: Features) -> np.ndarray:
    """float32 [N, C]."""
    found = []
    with torch.no_grad():
        for start in range(0, len(features), TEST_CLIPS):
            rows = np.arange(start, min(start + TEST_CLIPS, len(features)))
            found.append(head(_tensor(features, rows)).numpy())
    return np.concatenate(found)


def _score(logits: np.ndarray, targets: np.ndarray) -> float:
    """The task's metric: accuracy, or mean average precision over the classes that are there."""
    if targets.ndim == 1:
        return accuracy(logits.argmax(axis=1) == targets)
    return mean_average_precision(logits, targets)


def _tensor(features: Features, rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(features[rows].astype(np.float32, copy=False))


def fit_predict_logistic(
    train_features: np.ndarray,
    train_targets: np.ndarray,
    test_features: np.ndarray,
    inner: InnerSplits,
    refit: np.ndarray | None = None,
    *,
    device: str = "cpu",
) -> tuple[np.ndarray, float]:
    """L2 logistic regression on standardised features, C chosen by the inner splits.

    Multinomial, or where clips have several labels one regression a class, with one C for all of them. The C with the
    least cross entropy over the held-out clips wins, of equals the smallest. Not the C with the most correct clips: a
    count is flat and ragged over C, and on few recordings it picked, for one fold of one encoder, a C a thousand times
    off, which cost that encoder eight points (docs/experiments.md). Every fit, the inner ones too, standardises by its
    own training clips only.

    Args:
        train_features: float32 [N, D].
        train_targets: int [N], or bool [N, C].
        test_features: float32 [N_test, D].
        inner: splits of the N training clips.
        refit: those of the N that the head with the chosen C is fitted on; all of them where None.
        device: where the products are computed.

    Returns:
        Class numbers int [N_test] or logits float64 [N_test, C]; and the chosen C.
    """
    loss = np.zeros(len(C_GRID))
    for fit, held_out in inner.splits:
        heads = _fits(train_features[fit], train_targets[fit], C_GRID, device)
        loss += [head.loss(train_features[held_out], train_targets[held_out]) for head in heads]
    chosen = C_GRID[int(np.argmin(loss))]  # the grid ascends, argmin takes the first of equals
    rows = slice(None) if refit is None else refit
    (head,) = _fits(train_features[rows], train_targets[rows], (chosen,), device)
    return head.answers(test_features), chosen


@dataclass(frozen=True)
class _Head:
    scaler: StandardScaler
    class_ids: np.ndarray | None  # int [C], those that training had, ascending; None where clips have several labels
    fit: LogisticFit

    def answers(self, features: np.ndarray) -> np.ndarray:
        scaled = _scaled(self.scaler, features)
        if self.class_ids is None:
            return self.fit.logits(scaled)
        return np.asarray(self.class_ids[self.fit.log_probabilities(scaled).argmax(axis=1)])

    def loss(self, features: np.ndarray, targets: np.ndarray) -> float:
        """Cross entropy summed over clips (and classes). A clip whose one class the head does not know says nothing
        about C and is left out."""
        if self.class_ids is None:
            logits = self.fit.logits(_scaled(self.scaler, features))
            return float((np.logaddexp(0.0, logits) - targets * logits).sum())
        known = np.isin(targets, self.class_ids)
        columns = np.searchsorted(self.class_ids, targets[known])
        log_probabilities = self.fit.log_probabilities(_scaled(self.scaler, features[known]))
        return float(-log_probabilities[np.arange(len(columns)), columns].sum())


def _fits(features: np.ndarray, targets: np.ndarray, grid: Sequence[float], device: str) -> Iterator[_Head]:
    scaler = StandardScaler().fit(features.astype(np.float64))
    class_ids, numbers = (None, targets) if targets.ndim == 2 else np.unique(targets, return_inverse=True)
    path = LogisticPath(_scaled(scaler, features), numbers, device=device)
    return (_Head(scaler, class_ids, fit) for fit in path.fits(grid))


def _scaled(scaler: StandardScaler, features: np.ndarray) -> np.ndarray:
    return np.asarray(scaler.transform(features.astype(np.float64)))
