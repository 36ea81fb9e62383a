"""What a probe is asked for, checked before the first encoder is loaded: a mistake costs no hour of embedding."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from whisper_aut.constants import CONTEXTS, Context
from whisper_aut.errors import ProbeError
from whisper_aut.probe.encoders.spec import check_spec
from whisper_aut.probe.names import PROTOCOL_NAMES, ProtocolName
from whisper_aut.probe.protocols import PROTOCOLS, Protocol
from whisper_aut.probe.splits import check_task, refold
from whisper_aut.probe.tasks.labelled import Task
from whisper_aut.probe.tasks.registry import load_all


def choose_protocols(protocols: Sequence[ProtocolName], contexts: Sequence[Context]) -> list[tuple[Protocol, Context]]:
    """Each protocol at those of the contexts that it is defined for.

    Raises:
        ProbeError: an unknown name, a protocol that none of the contexts fits, or none at all.
    """
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


def check_encoders(encoders: Sequence[str]) -> None:
    """Refuse encoders that make no comparison.

    Raises:
        ProbeError: there is none, or one twice.
        BaseModelError: one is no encoder, as far as its name or its folder can tell.
    """
    if not encoders:
        raise ProbeError("no encoder is given to compare with the base", remedy="give one or more with --encoder")
    for spec, count in Counter(encoders).items():
        if count > 1:
            raise ProbeError(f"the encoder '{spec}' is given {count} times", remedy="give it once")
    for spec in encoders:
        check_spec(spec)


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        ProbeError: not cpu, cuda or cuda:N, or no such GPU.
    """
    try:
        found = torch.device(device)
    except RuntimeError:
        found = None
    if found is None or found.type not in {"cpu", "cuda"}:
        raise ProbeError(f"there is no device '{device}'", remedy="give cpu, cuda or cuda:N")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ProbeError(
            f"the device '{device}' is not there: torch sees {torch.cuda.device_count()} GPU(s)",
            remedy="give --device cpu, or see `whisper-aut doctor`",
        )


def check_folder(folder: Path) -> None:
    """Make the output folder, so that hours of embedding do not end in front of a closed door.

    Raises:
        ProbeError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ProbeError(
            f"the output folder cannot be written: {error.strerror}", where=str(folder), remedy="give another --out"
        ) from None


def load_tasks(specs: Sequence[Path | str], data_root: Path | None, refold_leaky: bool) -> list[Task]:
    """All tasks, each fit to give an honest number.

    Args:
        specs: folders with ``clips.jsonl``, and names of benchmarks.
        data_root: the folder that benchmarks are in.
        refold_leaky: deal the folds of a task anew by group where a group stands in several; refused otherwise.

    Raises:
        ProbeError: there is none, two have one name, or one cannot be used.
    """
    if not specs:
        raise ProbeError("no task is given", remedy="give a benchmark's name, or a folder with clips.jsonl")
    loaded = load_all(specs, data_root)
    tasks = [refold(task) if refold_leaky else task for task in loaded]
    for task in tasks:
        check_task(task)
    return tasks


def check_labels(tasks: Sequence[Task], protocols: Sequence[Protocol]) -> None:
    """Refuse a protocol that is not defined for a task whose clips have several labels.

    Raises:
        ProbeError: there is such a pair.
    """
    unable = [protocol.name for protocol in protocols if protocol.several_labels is None]
    several = [task for task in tasks if task.metric == "mAP"]
    if unable and several:
        able = ", ".join(name for name in PROTOCOL_NAMES if PROTOCOLS[name].several_labels is not None)
        raise ProbeError(
            f"the protocol '{unable[0]}' cannot probe the task {several[0].name}: its clips have several labels",
            where=str(several[0].folder),
            remedy=f"probe that task by itself, with protocols of {able}",
        )
