"""What heads cost: one large one, and many small ones in one process and in several."""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np

from whisper_aut.errors import ProbeError
from whisper_aut.machine import usable_cores
from whisper_aut.probe import predict
from whisper_aut.probe.arrays import TaskArrays
from whisper_aut.probe.fits import ProtocolFits, predict_all
from whisper_aut.probe.logistic import LogisticPath
from whisper_aut.probe.names import ProtocolName
from whisper_aut.probe.protocols import PROTOCOLS
from whisper_aut.probe.workers import Workers
from whisper_aut.train.environment import peak_memory_gb

Result = TypeVar("Result")


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


class _TimedWorkers(Workers):
    """Workers that count the processor time of each process."""

    processor_sec: dict[int, float]

    def map(self, calls: Iterable[Callable[[], Result]]) -> Iterator[Result]:
        """As of ``Workers``."""
        self.processor_sec = defaultdict(float)
        for result, process, taken_sec in super().map(partial(_timed, call) for call in calls):
            self.processor_sec[process] += taken_sec
            yield result


def _timed(call: Callable[[], Result]) -> tuple[Result, int, float]:
    begun_sec = time.process_time()
    result = call()
    return result, os.getpid(), time.process_time() - begun_sec


def measure_heads(
    num_clips: int, width: int, num_classes: int, *, num_encoders: int, jobs: int | None, rounds: int
) -> dict[str, Any]:
    """Seconds for all heads that ``probe`` fits by default on one task of five folds, in one process and in several.

    Both sides take turns in one run, on vectors that are mapped from a file as embeddings are. Several processes are
    timed from their start (``probe`` starts them while it embeds), and from when they are ready. Beside other jobs
    processor time says more: that of the one process over that of the busiest of several, which the others wait for.

    Raises:
        ProbeError: a single answer differs between the sides.
    """
    jobs = jobs or usable_cores()
    names: tuple[ProtocolName, ...] = ("paper", "strict", "strict")  # strict at both contexts
    by_round: dict[str, list[float]] = {}
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
            for name, value in _one_round(asked, jobs).items():
                by_round.setdefault(name, []).append(value)
    ratios = {
        f"ratio of {what}": [one / other for one, other in zip(by_round["one process, s"], by_round[side], strict=True)]
        for what, side in [("times, once ready", "several, once ready, s"), ("times, from start", "several, s")]
    }
    ratios["ratio of processor times"] = [
        one / other for one, other in zip(
            by_round["one process, processor s"], by_round["several, processor s of the busiest"], strict=True
        )
    ]  # fmt: skip
    return {
        "clips": num_clips,
        "width": width,
        "classes": num_classes,
        "encoders": num_encoders,
        "heads": sum(len(heads.fits) for heads, _ in asked),
        "processes": jobs,
        **{f"{name}, by round": values for name, values in (by_round | ratios).items()},
        **{f"{name}, median": median(values) for name, values in ratios.items()},
        "answers that differ": 0,
    }


def _one_round(asked: Sequence[tuple[ProtocolFits, np.ndarray]], jobs: int) -> dict[str, float]:
    begun_sec = time.monotonic()
    alone = _TimedWorkers(1)
    of_one = [found.answers for found in predict_all(asked, alone)]
    alone_sec = time.monotonic() - begun_sec
    begun_sec = time.monotonic()
    with _TimedWorkers(jobs, predict.__name__) as workers:
        workers.wait_ready()
        ready_sec = time.monotonic()
        of_several = [found.answers for found in predict_all(asked, workers)]
        ended_sec = time.monotonic()
    if not all(np.array_equal(one, other) for one, other in zip(of_one, of_several, strict=True)):
        raise ProbeError("the answers of several processes are not those of one", remedy="report this")
    return {
        "one process, s": alone_sec,
        "several, s": ended_sec - begun_sec,
        "several, once ready, s": ended_sec - ready_sec,
        "one process, processor s": sum(alone.processor_sec.values()),
        "several, processor s of the busiest": max(workers.processor_sec.values()),
        "load average": os.getloadavg()[0],
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
