"""What one large head costs."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from whisper_aut.probe.logistic import LogisticPath
from whisper_aut.train.environment import peak_memory_gb


def measure_head(
    num_clips: int, width: int, num_classes: int, c: float, *, device: str, reference: bool
) -> dict[str, Any]:
    """Seconds of one fit on features as correlated as Whisper's, and how far scikit-learn's optimum is from it."""
    features, classes = made_up(num_clips, width, num_classes)
    begun_sec = time.monotonic()
    path = LogisticPath(features, classes, device=device)
    prepared_sec = time.monotonic() - begun_sec
    (fit,) = path.fits([c])
    numbers: dict[str, Any] = {
        "clips": num_clips,
        "width": width,
        "classes": num_classes,
        "C": c,
        "device": device,
        "prepare, s": prepared_sec,
        "prepare and fit, s": time.monotonic() - begun_sec,
        "iterations": fit.num_iterations,
        "accuracy on these clips, %": 100 * float((fit.logits(features).argmax(axis=1) == classes).mean()),
        "peak memory, GB": peak_memory_gb(),
    }
    if device != "cpu":
        numbers["peak memory of the device, GB"] = peak_memory_gb(device)
    if reference:
        numbers |= _scikit_learn(features, classes, c, fit.weights)
    return numbers


def made_up(num_clips: int, width: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardised float64 [N, D] with principal axes that span a factor of sixty, and classes int [N]."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, num_classes, num_clips)
    spectrum = np.geomspace(3, 0.05, width)
    means = rng.normal(size=(num_classes, width)) * 0.12 * np.geomspace(1, 0.05, width)  # classes overlap
    rotation, _ = np.linalg.qr(rng.normal(size=(width, width)))
    features = (means[classes] + rng.normal(size=(num_clips, width)) * spectrum) @ rotation
    features -= features.mean(axis=0)
    features /= features.std(axis=0)
    return features, classes


def _scikit_learn(features: np.ndarray, classes: np.ndarray, c: float, weights: np.ndarray) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression

    begun_sec = time.monotonic()
    reference = LogisticRegression(C=c, tol=1e-8, max_iter=5000).fit(features, classes)
    taken_sec = time.monotonic() - begun_sec
    found = reference.coef_.T  # [D, C]; of two classes [D, 1], the difference of both
    expected = _centred(found if found.shape[1] > 1 else np.hstack([-found / 2, found / 2]))
    return {
        "scikit-learn, s": taken_sec,
        "scikit-learn, iterations": int(max(reference.n_iter_)),
        "largest difference of a coefficient": float(np.abs(_centred(weights) - expected).max()),
        "largest coefficient": float(np.abs(expected).max()),
    }


def _centred(weights: np.ndarray) -> np.ndarray:
    """A constant over classes changes no probability; the penalty makes it zero, each solver to its own tolerance."""
    return np.asarray(weights - weights.mean(axis=1, keepdims=True))
