"""A whole probe: any number of encoders, the same clips, every protocol and context, each held against the base."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from whisper_aut import __version__
from whisper_aut.constants import CONTEXTS, Context
from whisper_aut.errors import ProbeError
from whisper_aut.files import write_whole
from whisper_aut.model.precision import PrecisionChoice, choose_and_say
from whisper_aut.probe import layers, predict
from whisper_aut.probe.arrays import task_arrays
from whisper_aut.probe.compare import compare, task_result
from whisper_aut.probe.embed import Embeddings, Precision, embed, num_cut
from whisper_aut.probe.encoders.base import Kind, ProbedEncoder
from whisper_aut.probe.encoders.load import load_probed, role_of
from whisper_aut.probe.encoders.spec import check_spec
from whisper_aut.probe.fits import ProtocolFits, predict_all
from whisper_aut.probe.names import DEFAULT_PROTOCOLS, Layer, ProtocolName, Statistic
from whisper_aut.probe.protocols import Protocol, variant
from whisper_aut.probe.request import (
    check_device,
    check_encoders,
    check_folder,
    check_labels,
    choose_protocols,
    load_tasks,
)
from whisper_aut.probe.results import EncoderRecord, LayerAnalysis, ProbeReport, TaskResult
from whisper_aut.probe.tasks.labelled import Task
from whisper_aut.probe.workers import Workers, choose_jobs
from whisper_aut.progress import Progress
from whisper_aut.resources import command_line

PACKAGES = ("torch", "transformers", "numpy", "scikit-learn", "scipy", "soundfile", "soxr")

Heads = dict[tuple[str, Protocol], ProtocolFits]  # by task name
TaskEmbeddings = dict[tuple[str, Context], Embeddings]  # by task name and context


@dataclass(frozen=True)
class _Plan:
    """What is the same for every encoder."""

    tasks: tuple[Task, ...]
    chosen: tuple[tuple[Protocol, Context], ...]
    layers_at: Context | None  # where all layers are analysed
    cache_dir: Path
    device: str
    precision: Precision
    seed: int


@dataclass(frozen=True)
class _Embedded:
    """What stays of an encoder when its weights are gone."""

    record: EncoderRecord
    kind: Kind
    window_sec: float
    embeddings: TaskEmbeddings


def run_probe(
    base: str,
    encoders: Sequence[str],
    tasks: Sequence[Path | str],
    *,
    out_dir: Path,
    data_root: Path | None = None,
    contexts: Sequence[Context] = CONTEXTS,
    protocols: Sequence[ProtocolName] = DEFAULT_PROTOCOLS,
    pooling: Statistic | None = None,
    layer: Layer | None = None,
    every_layer: bool = False,
    seed: int = 0,
    cache_dir: Path,
    device: str = "cpu",
    precision: str | PrecisionChoice = "float32",
    refold_leaky: bool = False,
    jobs: int | None = 1,
    command: str | None = None,
) -> ProbeReport:
    """Probe encoders on the same tasks, compare each with the base, and write ``out_dir/probe.json``.

    Args:
        base: the encoder to compare with, as ``load_probed`` takes it.
        encoders: those to compare with it, in the order of the report.
        tasks: folders with ``clips.jsonl``, and names of benchmarks.
        out_dir: made where missing.
        data_root: the folder that benchmarks are in.
        contexts: a protocol runs at those of these that it is defined for (``paper``: full only).
        protocols: names of protocols.
        pooling: instead of the protocols' own statistic; the results then name it beside the protocol.
        layer: instead of the last: a number from 0 (the input of the first block), or ``weighted`` (learned).
        every_layer: analyse all layers as well (``whisper_aut.probe.layers``).
        seed: of heads, inner folds, resampling and random weights.
        cache_dir: of embeddings; safe to share between encoders, tasks and runs.
        device: of the encoders and of large heads: 'cpu' or 'cuda'.
        precision: of the encoders: float32; bfloat16, which is autocast; auto for the one that is faster here; or a
            choice that was made before, for whatever reason it gives.
        refold_leaky: deal the folds of a task anew by group where a group stands in several; refused otherwise.
        jobs: processes that fit heads, one thread each; 1 for this one alone, None for as many as are worth it here.
            The numbers do not depend on it.
        command: recorded in the results; this process's own where None.

    Raises:
        ProbeError: a task that cannot be used, or not under a protocol (before any encoder runs), an encoder given
            twice, nothing to run, values that are not finite, a layer that an encoder has not.
        EnvironmentProblem: a package that an encoder needs does not work.
        BaseModelError: an encoder that cannot be loaded.
        AudioError: a clip that cannot be read.
        LoaderLost: one of the processes was killed.
        RecipeError: there is no such precision.
    """
    chosen = [
        (variant(protocol, statistic=pooling, layer=layer), context)
        for protocol, context in choose_protocols(protocols, contexts)
    ]
    layers_at = _layers_context([context for _, context in chosen]) if every_layer else None
    loaded = load_tasks(tasks, data_root, refold_leaky)
    check_labels(loaded, [protocol for protocol, _ in chosen])
    check_encoders(encoders)
    check_spec(base)
    check_device(device)
    check_folder(out_dir)
    if isinstance(precision, str):
        precision = choose_and_say(precision, device, command="probe")
    plan = _Plan(tuple(loaded), tuple(chosen), layers_at, cache_dir, device, cast(Precision, precision.name), seed)
    heads = {(task.name, protocol): protocol.fits(task_arrays(task), seed) for task in loaded for protocol, _ in chosen}
    with Workers(choose_jobs(jobs, _work_sec(heads, plan, 1 + len(encoders))), predict.__name__) as workers:
        workers.start()  # they import what they need while clips are embedded
        embedded = [_embed_all(base, None, plan)]
        embedded += [_embed_all(spec, embedded[0].kind, plan) for spec in encoders]
        results = _compare_all(embedded, heads, plan, workers)
        analysed = _analyse_layers(embedded, plan, workers)
    report = ProbeReport(
        encoders=[one.record for one in embedded],
        tasks=results,
        layers=analysed,
        command=command_line() if command is None else command,
        versions={
            "python": platform.python_version(),
            "whisper-aut": __version__,
            **{package: importlib.metadata.version(package) for package in PACKAGES},
        },
        seed=seed,
        precision=precision.name,
        precision_reason=precision.reason,
    )
    _write(out_dir / "probe.json", report.to_json())
    return report


def _work_sec(heads: Heads, plan: _Plan, num_encoders: int) -> float:
    """What all heads and analyses take on one core, in seconds, roughly."""
    of_heads = sum(heads[task.name, protocol].work_sec for task in plan.tasks for protocol, _ in plan.chosen)
    of_layers = sum(layers.WORK_SEC * len(task.clips) for task in plan.tasks) if plan.layers_at else 0.0
    return num_encoders * (of_heads + of_layers)


def _compare_all(embedded: Sequence[_Embedded], heads: Heads, plan: _Plan, workers: Workers) -> list[TaskResult]:
    """Fit all heads of all encoders, and hold each encoder against the first, task by task."""
    asked = [
        (heads[task.name, protocol], _features(one.embeddings[task.name, context], protocol))
        for task in plan.tasks
        for protocol, context in plan.chosen
        for one in embedded
    ]
    progress = Progress("probe", sum(len(own.fits) for own, _ in asked), unit="heads")
    predictions = predict_all(asked, workers, device=plan.device, fitted=progress.advance)
    windows_sec = [one.window_sec for one in embedded]
    return [
        task_result(
            task,
            [
                compare(
                    task,
                    protocol,
                    context,
                    [next(predictions) for _ in embedded],
                    _cut_notes(task, windows_sec),
                    plan.seed,
                )
                for protocol, context in plan.chosen
            ],
        )
        for task in plan.tasks
    ]


def _embed_all(spec: str, base: Kind | None, plan: _Plan) -> _Embedded:
    """Everything one encoder has to give; its weights leave memory before the next is loaded."""
    encoder = load_probed(spec, plan.seed)
    for protocol, _ in plan.chosen:
        if isinstance(protocol.layer, int) and encoder.num_layers > 1 and protocol.layer >= encoder.num_layers:
            raise ProbeError(
                f"there is no layer {protocol.layer}: {spec} has layers 0 to {encoder.num_layers - 1}",
                remedy="give a layer that every encoder has, or 'last'",
            )
    record = EncoderRecord(
        role=role_of(encoder.kind, base),
        name=spec,
        weights_sha256=encoder.weights_sha256,
        made_by=encoder.made_by,
        num_parameters=encoder.num_parameters,
        width=encoder.width,
        num_layers=encoder.num_layers,
        notes=list(encoder.notes),
    )
    embeddings: TaskEmbeddings = {
        (task.name, context): _embed(encoder, task, context, plan)
        for task in plan.tasks
        for context in sorted({context for _, context in plan.chosen})
    }
    return _Embedded(record, encoder.kind, encoder.window_sec, embeddings)


def _embed(encoder: ProbedEncoder, task: Task, context: Context, plan: _Plan) -> Embeddings:
    here = [protocol for protocol, at in plan.chosen if at == context]
    every_layer = context == plan.layers_at and layers.can_analyse(task)
    return embed(
        encoder,
        task,
        context,
        poolings=[*(protocol.pooling for protocol in here), *([layers.POOLING] if every_layer else [])],
        layers="all" if every_layer or any(protocol.layer != "last" for protocol in here) else "last",
        cache_dir=plan.cache_dir,
        device=plan.device,
        precision=plan.precision,
    )


def _layers_context(contexts: Sequence[Context]) -> Context:
    return "trimmed" if "trimmed" in contexts else contexts[0]


def _analyse_layers(embedded: Sequence[_Embedded], plan: _Plan, workers: Workers) -> LayerAnalysis | None:
    """All layers of all encoders on all tasks that can be analysed, with MFCC as the floor."""
    if plan.layers_at is None:
        return None
    floor = None if any(one.record.name == "mfcc" for one in embedded) else load_probed("mfcc")
    analysed = [task for task in plan.tasks if layers.can_analyse(task)]
    progress = Progress("layers", len(analysed), unit="tasks")
    found = []
    for task in analysed:
        key = (task.name, plan.layers_at)
        layered = [layers.Layered(one.record.name, n, one.embeddings[key]) for n, one in enumerate(embedded)]
        if floor is not None:
            layered.append(layers.Layered("mfcc", None, _embed(floor, task, plan.layers_at, plan)))
        found.append(layers.analyse_task(task.name, task_arrays(task), task.classes, layered, plan.seed, workers))
        progress.advance()
    return layers.analysis(plan.layers_at, found, [task.name for task in plan.tasks if task not in analysed])


def _features(embeddings: Embeddings, protocol: Protocol) -> np.ndarray:
    """What the protocol's head takes: one layer's vectors, or all layers for a learned sum."""
    if protocol.layer == "weighted":
        return embeddings.all_layers(protocol.pooling)
    return embeddings.mapped(protocol.pooling, None if protocol.layer == "last" else protocol.layer)


def _cut_notes(task: Task, windows_sec: Sequence[float]) -> list[str]:
    """One sentence for each window that is shorter than some clips."""
    notes = []
    for window_sec in sorted(set(windows_sec)):
        if cut := num_cut(task, window_sec):
            whose = "" if len(set(windows_sec)) == 1 else f" for the encoders with a window of {window_sec:g} s"
            notes.append(f"{cut} clip(s) last longer than {window_sec:g} s: their first {window_sec:g} s count{whose}")
    return notes


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except OSError as error:
        raise ProbeError(
            f"the results cannot be written: {error}", where=str(path), remedy="give another output folder"
        ) from None
