"""A whole probe: any number of encoders, the same clips, every protocol and context, each held against the base."""

from __future__ import annotations

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from whisper_aut import __version__
from whisper_aut.constants import CONTEXTS, WINDOW_SEC, Context
from whisper_aut.errors import ProbeError
from whisper_aut.files import write_whole
from whisper_aut.model.base import load_encoder
from whisper_aut.probe.embed import Embeddings, Precision, embed, num_cut
from whisper_aut.probe.protocols import PROTOCOL_NAMES, PROTOCOLS, Protocol, ProtocolName, TaskArrays
from whisper_aut.probe.results import Comparison, EncoderRecord, ProbeReport, ProtocolResult, Role, Score, TaskResult
from whisper_aut.probe.splits import check_task, refold
from whisper_aut.probe.statistics import (
    accuracy,
    accuracy_by,
    bootstrap_interval,
    gained_and_lost,
    group_numbers,
    mcnemar_exact,
)
from whisper_aut.probe.tasks.labelled import Task, load_task
from whisper_aut.progress import Progress
from whisper_aut.resources import command_line

PACKAGES = ("torch", "transformers", "numpy", "scikit-learn", "scipy", "soundfile", "soxr")

TaskEmbeddings = dict[tuple[str, Context], Embeddings]  # by task name and context


def run_probe(
    base: str,
    encoders: Sequence[str],
    tasks: list[Path],
    *,
    out_dir: Path,
    contexts: Sequence[Context] = CONTEXTS,
    protocols: Sequence[ProtocolName] = PROTOCOL_NAMES,
    seed: int = 0,
    cache_dir: Path,
    device: str = "cpu",
    precision: Precision = "float32",
    refold_leaky: bool = False,
    command: str | None = None,
) -> ProbeReport:
    """Probe encoders on the same tasks, compare each with the base, and write ``out_dir/probe.json``.

    Args:
        base: the encoder to compare with, as ``load_encoder`` takes it.
        encoders: those to compare with it, in the order of the report.
        tasks: folders with ``clips.jsonl``.
        out_dir: made where missing.
        contexts: a protocol runs at those of these that it is defined for (``paper``: full only).
        protocols: names of protocols.
        seed: of heads, inner folds and resampling.
        cache_dir: of embeddings; safe to share between encoders, tasks and runs.
        device: of the encoder: 'cpu' or 'cuda'.
        precision: of the encoder; bfloat16 is autocast.
        refold_leaky: deal the folds of a task anew by group where a group stands in several; refused otherwise.
        command: recorded in the results; this process's own where None.

    Raises:
        ProbeError: a task that cannot be used (before any encoder runs), an encoder given twice, nothing to run,
            values that are not finite.
        BaseModelError: an encoder that cannot be loaded.
        AudioError: a clip that cannot be read.
    """
    chosen = _chosen(protocols, contexts)
    loaded_tasks = _load_tasks(tasks, refold_leaky)
    _check_encoders(encoders)
    needed = sorted({context for _, context in chosen})
    records, embeddings = [], []
    for number, spec in enumerate([base, *encoders]):
        role: Role = "adapted" if number else "base"
        record, found = _embed_all(role, spec, loaded_tasks, needed, cache_dir, device, precision)
        records.append(record)
        embeddings.append(found)
    progress = Progress("probe", len(loaded_tasks) * len(chosen), unit="results")
    results = []
    for task in loaded_tasks:
        compared = []
        for protocol, context in chosen:
            of_each = [one[task.name, context] for one in embeddings]
            compared.append(_compare(task, protocol, context, of_each, seed))
            progress.advance()
        results.append(_task_result(task, compared))
    report = ProbeReport(
        encoders=records,
        tasks=results,
        command=command_line() if command is None else command,
        versions={
            "python": platform.python_version(),
            "whisper-aut": __version__,
            **{package: importlib.metadata.version(package) for package in PACKAGES},
        },
        seed=seed,
    )
    _write(out_dir / "probe.json", report.to_json())
    return report


def _chosen(protocols: Sequence[ProtocolName], contexts: Sequence[Context]) -> list[tuple[Protocol, Context]]:
    for name, value, known in [("protocol", protocols, PROTOCOL_NAMES), ("context", contexts, CONTEXTS)]:
        for one in value:
            if one not in known:
                raise ProbeError(f"there is no {name} '{one}'", remedy=f"choose from {', '.join(known)}")
    chosen = [
        (PROTOCOLS[name], context)
        for name in dict.fromkeys(protocols)
        for context in PROTOCOLS[name].contexts
        if context in contexts
    ]
    for name in protocols:
        if all(protocol.name != name for protocol, _ in chosen):
            raise ProbeError(
                f"the protocol '{name}' is not defined for the context(s) {', '.join(contexts) or '(none)'}",
                remedy=f"add one of its contexts: {', '.join(PROTOCOLS[name].contexts)}",
            )
    if not chosen:
        raise ProbeError("no protocol is given", remedy=f"choose from {', '.join(PROTOCOL_NAMES)}")
    return chosen


def _check_encoders(encoders: Sequence[str]) -> None:
    if not encoders:
        raise ProbeError("no encoder is given to compare with the base", remedy="give one or more with --encoder")
    for spec, count in Counter(encoders).items():
        if count > 1:
            raise ProbeError(f"the encoder '{spec}' is given {count} times", remedy="give it once")


def _load_tasks(folders: list[Path], refold_leaky: bool) -> list[Task]:
    """All tasks, checked before the first encoder is loaded: a mistake in the last costs no hour of embedding."""
    if not folders:
        raise ProbeError("no task is given", remedy="give a folder with clips.jsonl")
    tasks = [refold(load_task(folder)) if refold_leaky else load_task(folder) for folder in folders]
    for name, count in Counter(task.name for task in tasks).items():
        if count > 1:
            raise ProbeError(f"{count} tasks are named '{name}'", remedy="rename a folder: the task is named after it")
    for task in tasks:
        check_task(task)
    return tasks


def _embed_all(
    role: Role,
    spec: str,
    tasks: list[Task],
    contexts: Sequence[Context],
    cache_dir: Path,
    device: str,
    precision: Precision,
) -> tuple[EncoderRecord, TaskEmbeddings]:
    """Everything one encoder has to give; it leaves memory before the next is loaded."""
    encoder = load_encoder(spec)
    record = EncoderRecord(
        role=role,
        name=spec,
        weights_sha256=encoder.weights_sha256,
        num_parameters=sum(parameter.numel() for parameter in encoder.module.parameters()),
        width=encoder.module.config.d_model,
    )
    embeddings: TaskEmbeddings = {
        (task.name, context): embed(encoder, task, context, cache_dir=cache_dir, device=device, precision=precision)
        for task in tasks
        for context in contexts
    }
    return record, embeddings


def _compare(
    task: Task, protocol: Protocol, context: Context, embeddings: Sequence[Embeddings], seed: int
) -> ProtocolResult:
    """All encoders under one protocol; the first is the base."""
    classes = np.array(task.classes)
    labels = np.array([clip.label for clip in task.clips])
    arrays = TaskArrays(
        class_ids=np.searchsorted(classes, labels),
        folds=np.array([clip.fold for clip in task.clips]),
        groups=group_numbers([clip.group for clip in task.clips]),
        num_classes=len(classes),
    )
    predictions = [protocol.predict(one, arrays, seed) for one in embeddings]
    assert len({found.notes for found in predictions}) == 1, "the splits do not depend on the encoder"
    base, *others = (found.class_ids == arrays.class_ids for found in predictions)
    notes = [*task.notes, *predictions[0].notes]
    if cut := num_cut(task):
        notes.append(f"{cut} clip(s) last longer than {WINDOW_SEC} s: their first {WINDOW_SEC} s count")
    return ProtocolResult(
        protocol=protocol.name,
        version=protocol.version,
        context=context,
        rules="; ".join([protocol.rules, *notes]),
        scores=[_score(correct, labels, arrays, seed) for correct in (base, *others)],
        comparisons=[_comparison(base, correct, arrays, seed) for correct in others],
    )


def _comparison(base: np.ndarray, other: np.ndarray, arrays: TaskArrays, seed: int) -> Comparison:
    num_gained, num_lost = gained_and_lost(base, other)
    return Comparison(
        # From whole counts: equal encoders differ by exactly 0.
        delta=100.0 * (num_gained - num_lost) / len(base),
        interval=bootstrap_interval(other.astype(np.int64) - base.astype(np.int64), arrays.groups, seed=seed),
        p_value=mcnemar_exact(num_gained, num_lost),
        num_gained=num_gained,
        num_lost=num_lost,
    )


def _score(correct: np.ndarray, labels: np.ndarray, arrays: TaskArrays, seed: int) -> Score:
    return Score(
        accuracy=accuracy(correct),
        interval=bootstrap_interval(correct, arrays.groups, seed=seed),
        per_fold=list(accuracy_by(correct, arrays.folds).values()),
        per_class=accuracy_by(correct, labels),
    )


def _task_result(task: Task, results: list[ProtocolResult]) -> TaskResult:
    largest = Counter(clip.label for clip in task.clips).most_common(1)[0][1]
    return TaskResult(
        name=task.name,
        folder=str(task.folder),
        clips_sha256=task.clips_sha256,
        num_clips=len(task.clips),
        num_folds=len({clip.fold for clip in task.clips}),
        num_groups=len({clip.group for clip in task.clips}),
        classes=task.classes,
        licenses=sorted({clip.license for clip in task.clips}),
        chance=100.0 * largest / len(task.clips),
        results=results,
    )


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except OSError as error:
        raise ProbeError(
            f"the results cannot be written: {error}", where=str(path), remedy="give another output folder"
        ) from None
