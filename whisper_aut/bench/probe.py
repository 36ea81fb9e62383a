"""What embedding costs at two contexts.

Both sides of a ratio take turns in one process, since the machine may be shared: the ratio of medians is the result.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np

from whisper_aut.constants import CONTEXTS, Context
from whisper_aut.errors import ProbeError
from whisper_aut.model.precision import choose_and_say
from whisper_aut.probe.arrays import task_arrays
from whisper_aut.probe.embed import Precision, StoredLayers, embed
from whisper_aut.probe.encoders.load import load_probed
from whisper_aut.probe.protocols import PROTOCOLS
from whisper_aut.probe.request import check_device
from whisper_aut.probe.splits import rows_tested
from whisper_aut.probe.statistics import accuracy
from whisper_aut.probe.tasks.labelled import Task, load_task
from whisper_aut.train.environment import peak_memory_gb


def measure_embedding(folder: Path, spec: str, *, rounds: int, device: str, precision: str) -> dict[str, Any]:
    """Clips a second of both contexts, from the files on the disk to vectors on the disk, and what ``strict`` makes of
    them; then all layers in one pass.

    Raises:
        ProbeError: the task cannot be used.
        RecipeError: there is no such precision.
        BaseModelError: the encoder cannot be loaded.
    """
    task = load_task(folder)
    if task.metric != "accuracy":
        raise ProbeError("the accuracy of both sides is compared", remedy="give a task with one label a clip")
    check_device(device)
    choice = choose_and_say(precision, device, command="bench embed")
    encoder, strict = load_probed(spec), PROTOCOLS["strict"]
    seconds: dict[Context, list[float]] = {context: [] for context in CONTEXTS}
    last: dict[Context, np.ndarray] = {}

    def timed(context: Context, layers: StoredLayers) -> float:
        with tempfile.TemporaryDirectory() as cache:
            begun_sec = time.monotonic()
            found = embed(
                encoder, task, context, poolings=[strict.pooling], cache_dir=Path(cache),
                layers=layers, device=device, precision=cast(Precision, choice.name),
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
        "precision": choice.name,
        "precision, why": choice.reason,
    }
    for context in CONTEXTS:
        numbers[f"{context}: clips/s by round"] = [len(task.clips) / taken for taken in seconds[context]]
    numbers["trimmed over full, ratio of median times"] = median(seconds["full"]) / median(seconds["trimmed"])
    for context in CONTEXTS:
        numbers[f"{context}: strict accuracy, %"] = _accuracy(task, last[context])
    numbers["peak memory, last layer, GB"] = peak_memory_gb()
    numbers["all layers in one pass, trimmed, clips/s"] = len(task.clips) / timed("trimmed", "all")
    numbers["peak memory, all layers, GB"] = peak_memory_gb()
    return numbers


def _accuracy(task: Task, features: np.ndarray) -> float:
    arrays = task_arrays(task)
    rows = rows_tested(arrays.folds)
    answers = PROTOCOLS["strict"].predict(features, arrays, 0).answers[0]
    return accuracy(answers[rows] == arrays.class_ids[rows])
