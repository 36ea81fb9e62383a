"""What heads cost: one large one, and many small ones in one process and in several."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from whisper_aut.errors import ProbeError
from whisper_aut.machine import usable_cores
from whisper_aut.probe import predict
from whisper_aut.probe.arrays import TaskArrays
from whisper_aut.probe.fits import predict_all
from whisper_aut.probe.logistic import LogisticPath
from whisper_aut.probe.names import ProtocolName
from whisper_aut.probe.protocols import PROTOCOLS
from whisper_aut.probe.workers import Workers
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


def measure_heads(
    num_clips: int, width: int, num_classes: int, *, num_encoders: int, jobs: int | None, rounds: int
) -> dict[str, Any]:
    """Seconds for all heads that ``probe`` fits by default on one task of five folds, in one process and in several.

    Both sides take turns in one run, on vectors that are mapped from a file as embeddings are. Several processes are
    timed from their start (``probe`` starts them while it embeds), and from when they are ready.

    Raises:
        ProbeError: a single answer differs between the sides.
    """
    jobs = jobs or usable_cores()
    names: tuple[ProtocolName, ...] = ("paper", "strict", "strict")  # strict at both contexts
    seconds: dict[str, list[float]] = {"one": [], "several": [], "ready": []}
    with tempfile.TemporaryDirectory() as folder:
        asked = []
        for encoder in range(num_encoders):
            features, classes = made_up(num_clips, width, num_classes, seed=encoder)
            path = Path(folder) / f"{encoder}.npy"
            np.save(path, features.astype(np.float32)[:, None])
            mapped = np.load(path, mmap_mode="r")[:, 0]
            groups = np.arange(num_clips) // 2
            arrays = TaskArrays(classes, groups % 5, groups, num_classes)
            asked += [(PROTOCOLS[name].fits(arrays, 0), mapped) for name in names]
        for _ in range(rounds):
            begun_sec = time.monotonic()
            alone = [found.answers for found in predict_all(asked, Workers(1))]
            seconds["one"].append(time.monotonic() - begun_sec)
            begun_sec = time.monotonic()
            with Workers(jobs, predict.__name__) as workers:
                workers.wait_ready()
                ready_sec = time.monotonic()
                together = [found.answers for found in predict_all(asked, workers)]
                ended_sec = time.monotonic()
            seconds["several"].append(ended_sec - begun_sec)
            seconds["ready"].append(ended_sec - ready_sec)
            if not all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True)):
                raise ProbeError("the answers of several processes are not those of one", remedy="report this")
    return {
        "clips": num_clips,
        "width": width,
        "classes": num_classes,
        "encoders": num_encoders,
        "heads": sum(len(heads.fits) for heads, _ in asked),
        "processes": jobs,
        "one process, s by round": seconds["one"],
        "several, from their start, s by round": seconds["several"],
        "several, once ready, s by round": seconds["ready"],
        "ratio of median times, once ready": median(seconds["one"]) / median(seconds["ready"]),
        "ratio by round, once ready": [
            one / other for one, other in zip(seconds["one"], seconds["ready"], strict=True)
        ],
        "ratio of median times, from their start": median(seconds["one"]) / median(seconds["several"]),
        "answers that differ": 0,
    }


def made_up(num_clips: int, width: int, num_classes: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Standardised float64 [N, D] with principal axes that span a factor of sixty, and classes int [N]."""
    rng = np.random.default_rng(seed)
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
