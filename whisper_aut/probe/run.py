"""A whole probe: two encoders, the same clips, every protocol and context, and what the difference is worth."""

from __future__ import annotations

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from whisper_aut import __version__
from whisper_aut.constants import CONTEXTS, WINDOW_SEC, Context
from whisper_aut.errors import ProbeError
from whisper_aut.files import write_whole
from whisper_aut.model.base import load_encoder
from whisper_aut.probe.embed import Embeddings, Precision, embed, num_cut
from whisper_aut.probe.evaluate import chance, evaluate, task_arrays
from whisper_aut.probe.protocols import PROTOCOL_NAMES, PROTOCOLS, Protocol, ProtocolName
from whisper_aut.probe.results import EncoderRecord, ProbeReport, ProtocolResult, TaskResult
from whisper_aut.probe.splits import check_task, refold, rows_tested
from whisper_aut.probe.tasks.labelled import Task
from whisper_aut.probe.tasks.registry import load
from whisper_aut.progress import Progress
from whisper_aut.resources import command_line

PACKAGES = ("torch", "transformers", "numpy", "scikit-learn", "scipy", "soundfile", "soxr")

TaskEmbeddings = dict[tuple[str, Context], Embeddings]  # by task name and context


def run_probe(
    base: str,
    adapted: str,
    tasks: Sequence[Path | str],
    *,
    out_dir: Path,
    data_root: Path | None = None,
    contexts: Sequence[Context] = CONTEXTS,
    protocols: Sequence[ProtocolName] = PROTOCOL_NAMES,
    seed: int = 0,
    cache_dir: Path,
    device: str = "cpu",
    precision: Precision = "float32",
    refold_leaky: bool = False,
    command: str | None = None,
) -> ProbeReport:
    """Probe two encoders on the same tasks and write ``out_dir/probe.json``.

    Args:
        base: the encoder to compare with, as ``load_encoder`` takes it.
        adapted: the encoder in question.
        tasks: folders with ``clips.jsonl``, and names of benchmarks.
        out_dir: made where missing.
        data_root: the folder where benchmarks are.
        contexts: a protocol runs at those of these that it is defined for (``paper``: full only).
        protocols: names of protocols.
        seed: of heads, inner folds and resampling.
        cache_dir: of embeddings; safe to share between encoders, tasks and runs.
        device: of the encoder: 'cpu' or 'cuda'.
        precision: of the encoder; bfloat16 is autocast.
        refold_leaky: deal the folds of a task anew by group where a group stands in several; refused otherwise.
        command: recorded in the results; this process's own where None.

    Raises:
        ProbeError: a task that cannot be used (before any encoder runs), nothing to run, values that are not finite.
        BaseModelError: an encoder that cannot be loaded.
        AudioError: a clip that cannot be read.
    """
    chosen = _chosen(protocols, contexts)
    loaded_tasks = _load_tasks(tasks, data_root, refold_leaky)
    needed = sorted({context for _, context in chosen})
    base_record, base_embeddings = _embed_all("base", base, loaded_tasks, needed, cache_dir, device, precision)
    adapted_record, adapted_embeddings = _embed_all(
        "adapted", adapted, loaded_tasks, needed, cache_dir, device, precision
    )
    progress = Progress("probe", len(loaded_tasks) * len(chosen), unit="results")
    results = []
    for task in loaded_tasks:
        found = []
        for protocol, context in chosen:
            key = (task.name, context)
            found.append(_compare(task, protocol, context, base_embeddings[key], adapted_embeddings[key], seed))
            progress.advance()
        results.append(_task_result(task, found))
    report = ProbeReport(
        base=base_record,
        adapted=adapted_record,
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


def _load_tasks(specs: Sequence[Path | str], data_root: Path | None, refold_leaky: bool) -> list[Task]:
    """All tasks, checked before the first encoder is loaded: a mistake in the last costs no hour of embedding."""
    if not specs:
        raise ProbeError("no task is given", remedy="give a folder with clips.jsonl, or a name of `whisper-aut tasks`")
    loaded = [load(spec, data_root) for spec in specs]
    tasks = [refold(task) for task in loaded] if refold_leaky else loaded
    for name, count in Counter(task.name for task in tasks).items():
        if count > 1:
            raise ProbeError(f"{count} tasks are named '{name}'", remedy="rename a folder: the task is named after it")
    for task in tasks:
        check_task(task)
    return tasks


def _embed_all(
    role: str,
    spec: str,
    tasks: list[Task],
    contexts: Sequence[Context],
    cache_dir: Path,
    device: str,
    precision: Precision,
) -> tuple[EncoderRecord, TaskEmbeddings]:
    """Everything one encoder has to give; it leaves memory before the other is loaded."""
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
    task: Task, protocol: Protocol, context: Context, base: Embeddings, adapted: Embeddings, seed: int
) -> ProtocolResult:
    arrays = task_arrays(task)
    base_found, adapted_found = protocol.predict(base, arrays, seed), protocol.predict(adapted, arrays, seed)
    assert base_found.notes == adapted_found.notes, "the splits do not depend on the encoder"
    base_score, adapted_score, comparison = evaluate(arrays, task.classes, base_found, adapted_found, seed)
    notes = [*task.notes, *base_found.notes]
    if cut := num_cut(task):
        notes.append(f"{cut} clip(s) last longer than {WINDOW_SEC} s: their first {WINDOW_SEC} s count")
    return ProtocolResult(
        protocol=protocol.name,
        version=protocol.version,
        context=context,
        rules="; ".join([protocol.rules_for(arrays), *notes]),
        base=base_score,
        adapted=adapted_score,
        comparison=comparison,
    )


def _task_result(task: Task, results: list[ProtocolResult]) -> TaskResult:
    arrays = task_arrays(task)
    tested = rows_tested(arrays.folds)
    return TaskResult(
        name=task.name,
        folder=str(task.folder),
        clips_sha256=task.clips_sha256,
        metric=task.metric,
        split="fixed" if task.fixed else "folds",
        num_clips=len(task.clips),
        num_tested=len(tested) if task.fixed else None,
        num_folds=1 if task.fixed else len(set(arrays.folds.tolist())),
        num_groups=len(set(arrays.groups[tested].tolist())),
        classes=task.classes,
        licenses=sorted({clip.license for clip in task.clips}),
        chance=chance(arrays),
        results=results,
    )


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except OSError as error:
        raise ProbeError(
            f"the results cannot be written: {error}", where=str(path), remedy="give another output folder"
        ) from None
