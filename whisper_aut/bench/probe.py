"""What probing costs: embeddings at two contexts, and one large head.

Both sides of a ratio take turns in one process, since the machine may be shared: the ratio of medians is the result.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from whisper_aut.bench.record import peak_gb
from whisper_aut.constants import CONTEXTS, Context
from whisper_aut.errors import ProbeError
from whisper_aut.probe.arrays import task_arrays
from whisper_aut.probe.embed import PRECISIONS, StoredLayers, embed
from whisper_aut.probe.encoders.load import load_probed
from whisper_aut.probe.logistic import LogisticPath
from whisper_aut.probe.protocols import PROTOCOLS
from whisper_aut.probe.splits import rows_tested
from whisper_aut.probe.statistics import accuracy
from whisper_aut.probe.tasks.labelled import Task, load_task


def measure_embedding(folder: Path, spec: str, *, rounds: int, device: str, precision: str) -> dict[str, Any]:
    """Clips a second of both contexts, from the files on the disk to vectors on the disk, and what ``strict`` makes of
    them; then all layers in one pass.

    Raises:
        ProbeError: the task or the precision cannot be used.
        BaseModelError: the encoder cannot be loaded.
    """
    chosen = next((known for known in PRECISIONS if known == precision), None)
    if chosen is None:
        raise ProbeError(f"there is no precision '{precision}'", remedy=f"choose from {', '.join(PRECISIONS)}")
    task = load_task(folder)
    if task.metric != "accuracy":
        raise ProbeError("the accuracy of both sides is compared", remedy="give a task with one label a clip")
    encoder, strict = load_probed(spec), PROTOCOLS["strict"]
    seconds: dict[Context, list[float]] = {context: [] for context in CONTEXTS}
    last: dict[Context, np.ndarray] = {}

    def timed(context: Context, layers: StoredLayers) -> float:
        with tempfile.TemporaryDirectory() as cache:
            begun_sec = time.monotonic()
            found = embed(
                encoder, task, context, poolings=[strict.pooling], cache_dir=Path(cache),
                layers=layers, device=device, precision=chosen,
            )  # fmt: skip
            taken_sec = time.monotonic() - begun_sec
            last[context] = found.features(strict.pooling)
        return taken_sec

    for _ in range(rounds):
        for context in CONTEXTS:
            seconds[context].append(timed(context, "last"))
    numbers: dict[str, Any] = {
        "encoder": spec,
        "task": task.name,
        "clips": len(task.clips),
        "mean clip, s": float(np.mean([clip.duration_sec for clip in task.clips])),
        "device": device,
        "precision": precision,
    }
    for context in CONTEXTS:
        numbers[f"{context}: clips/s by round"] = [len(task.clips) / taken for taken in seconds[context]]
    numbers["trimmed over full, ratio of median times"] = median(seconds["full"]) / median(seconds["trimmed"])
    for context in CONTEXTS:
        numbers[f"{context}: strict accuracy, %"] = _accuracy(task, last[context])
    numbers["peak memory, last layer, GB"] = peak_gb()
    numbers["all layers in one pass, trimmed, clips/s"] = len(task.clips) / timed("trimmed", "all")
    numbers["peak memory, all layers, GB"] = peak_gb()
    return numbers


def _accuracy(task: Task, features: np.ndarray) -> float:
    arrays = task_arrays(task)
    rows = rows_tested(arrays.folds)
    answers = PROTOCOLS["strict"].predict(features, arrays, 0).answers[0]
    return accuracy(answers[rows] == arrays.class_ids[rows])


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
        "peak memory, GB": peak_gb(),
    }
    if device != "cpu":
        numbers["peak memory of the device, GB"] = torch.cuda.max_memory_allocated() / 1e9
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
