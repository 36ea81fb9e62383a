"""The two heads of X-ARES: LayerNorm with a linear layer, and neighbours that vote by similarity.

After github.com/jimbozhang/xares (trainer.py, task.py). One thing differs on purpose: X-ARES keeps the epoch that is
best on its validation split, which in its k-fold tasks is the test fold itself; there the last epoch counts here.
Targets and answers as in ``heads``. Legend: N clips, K layers, D embedding width, C classes.
"""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from whisper_aut.probe.heads import Features, fit_predict_adam

NUM_EPOCHS = 10
LR = 1e-3
FINAL_LR_SHARE = 0.1  # what the cosine runs down to
BATCH_CLIPS = 32
NUM_NEIGHBOURS = 10
TEMPERATURE = 0.07  # of the softmax over the neighbours' similarities
_CHUNK_CELLS = 10_000_000  # similarities held at once: 80 MB


def learning_rates() -> list[float]:
    """The rate of each epoch: half a cosine from ``LR`` towards a tenth of it, constant within an epoch."""
    end = LR * FINAL_LR_SHARE
    return [end + (LR - end) * (1 + math.cos(math.pi * epoch / NUM_EPOCHS)) / 2 for epoch in range(NUM_EPOCHS)]


def fit_predict_normed(
    train_features: Features,
    train_targets: np.ndarray,
    test_features: Features,
    *,
    num_classes: int,
    seed: int,
    valid: tuple[Features, np.ndarray] | None = None,
) -> np.ndarray:
    """``nn.LayerNorm`` and ``nn.Linear``, cross entropy, Adam 1e-3 under a cosine, ten epochs, batch 32.

    Arguments and result as for ``fit_predict_linear``; ``valid`` as for ``fit_predict_adam``.
    """
    return fit_predict_adam(
        train_features,
        train_targets,
        test_features,
        layers=lambda width: [nn.LayerNorm(width), nn.Linear(width, num_classes)],
        lr_by_epoch=learning_rates(),
        batch_clips=BATCH_CLIPS,
        seed=seed,
        valid=valid,
    )


def predict_neighbours(
    train_features: np.ndarray, train_targets: np.ndarray, test_features: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """The ten most similar training clips vote, each with its softmax weight at temperature 0.07.

    Similar as X-ARES has it, which is not the cosine: the clip to be named is scaled to length one, but of the training
    clips each *dimension* is, over the clips. (X-ARES normalises its training features [D, N] along N.) So dimensions
    of small values count as much as others, and long vectors are nearer than short ones.

    Of equal votes the lower class counts. Where clips have several labels, a class gets the share of the votes that
    has it. Nothing is fitted, nothing is random.

    Args:
        train_features: float32 [N, D].
        train_targets: int [N], below ``num_classes``; or bool [N, C].
        test_features: float32 [N_test, D].
        num_classes: C.

    Returns:
        Class numbers int [N_test], or shares float64 [N_test, C].
    """
    several = train_targets.ndim == 2
    known = _unit(train_features.T).T  # float64 [N, D], columns of length one
    num_near = min(NUM_NEIGHBOURS, len(known))
    num_test = len(test_features)
    predicted = np.empty((num_test, num_classes)) if several else np.empty(num_test, dtype=np.int64)
    chunk = max(1, _CHUNK_CELLS // len(known))
    for start in range(0, len(predicted), chunk):
        similarity = _unit(test_features[start : start + chunk]) @ known.T  # [chunk, N]
        nearest = np.argpartition(-similarity, num_near - 1, axis=1)[:, :num_near]
        near = np.take_along_axis(similarity, nearest, axis=1) / TEMPERATURE
        weights = np.exp(near - near.max(axis=1, keepdims=True))
        if several:
            shares = weights / weights.sum(axis=1, keepdims=True)
            predicted[start : start + chunk] = np.einsum("nk,nkc->nc", shares, train_targets[nearest])
            continue
        votes = np.zeros((len(similarity), num_classes))
        np.add.at(votes, (np.arange(len(votes))[:, None], train_targets[nearest]), weights)
        predicted[start : start + chunk] = votes.argmax(axis=1)
    return predicted


def _unit(features: np.ndarray) -> np.ndarray:
    """Rows scaled to length one, float64; a row of zeros stays."""
    rows = features.astype(np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
