"""A head from a handful of clips a class, drawn several times: what an encoder gives where labels are dear.

Legend: N clips, D embedding width, C classes.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NUM_SHOTS = 16  # clips a class
NUM_DRAWS = 5
C = 1.0  # inverse strength of the L2 penalty: with sixteen clips a class there is nothing to choose it on
MAX_ITERATIONS = 1000


def draw_shots(classes: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``NUM_SHOTS`` clips of each class, or all where it has fewer: from as many recordings as there are.

    Args:
        classes: int [N].
        groups: int [N], the recording of each clip.
        rng: of the draw.

    Returns:
        Indices of the chosen clips, ascending.
    """
    chosen = []
    for label in np.unique(classes):
        rows = rng.permutation(np.flatnonzero(classes == label))
        # How many clips of the same recording came before: one clip of every recording first, then a second of each.
        seen: dict[int, int] = {}
        rank = np.empty(len(rows), dtype=np.int64)
        for position, row in enumerate(rows):
            rank[position] = seen.get(int(groups[row]), 0)
            seen[int(groups[row])] = int(rank[position]) + 1
        chosen.append(rows[np.argsort(rank, kind="stable")[:NUM_SHOTS]])
    return np.sort(np.concatenate(chosen))


def fit_predict_few(train_features: np.ndarray, train_classes: np.ndarray, test_features: np.ndarray) -> np.ndarray:
    """L2 multinomial logistic regression with C = 1 on features standardised by the chosen clips.

    Returns:
        Class numbers, int [N_test].
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)  # a head that did not converge is no result
        head = make_pipeline(StandardScaler(), LogisticRegression(C=C, solver="lbfgs", max_iter=MAX_ITERATIONS))
        head.fit(train_features.astype(np.float64), train_classes)
    return np.asarray(head.predict(test_features.astype(np.float64)))
