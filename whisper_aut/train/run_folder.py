"""A run's folder: where things are, what ``run.json`` says, and whether a recipe may go on in a folder that has a run.

``recipe.yaml`` (resolved), ``run.json``, ``metrics.jsonl``, ``quarantine.jsonl``, ``checkpoints/``, ``tensorboard/``.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from whisper_aut.config import Recipe, dump_recipe
from whisper_aut.data.corpus import Corpus
from whisper_aut.data.plan import Plan
from whisper_aut.errors import CheckpointError
from whisper_aut.files import write_whole
from whisper_aut.model.base import BaseModel
from whisper_aut.model.precision import PrecisionChoice
from whisper_aut.resources import command_line
from whisper_aut.train.environment import machine, package_versions

# May differ between the parts of one run: they change neither the clips nor the arithmetic's meaning.
_FREE_TO_CHANGE = (
    "name", "description", "data.num_workers", "data.max_quarantine_rate", "train.deepspeed",
    "train.precision", "train.gradient_checkpointing", "train.checkpoint_every_steps", "train.keep_checkpoints",
    "train.keep_every_steps", "train.keep_best", "train.save_in_background", "train.validate_every_steps",
    "train.validate_wer_clips", "train.compile", "train.max_skipped_steps", "train.stall_sec",
)  # fmt: skip

# What runs did before their recipes had the field.
_BEFORE_THE_FIELD = {"data.silent_clips": "keep"}


def make_run_dir(run_dir: Path) -> None:
    """Make the run's folder where there is none.

    Raises:
        CheckpointError: a file is in the way, or the place cannot be written.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"the run's folder cannot be made: {error.strerror}", where=str(run_dir), remedy="give another --out"
        ) from None


@contextmanager
def held_run_dir(run_dir: Path) -> Iterator[None]:
    """The run's folder, made and held by this process alone until the block ends or the process dies.

    Raises:
        CheckpointError: another process trains into it, a file is in the way, or it cannot be written.
    """
    make_run_dir(run_dir)
    path = run_dir / "lock"
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise CheckpointError(
            f"the run's folder cannot be written: {error.strerror}", where=str(run_dir), remedy="give another --out"
        ) from None
    with file:
        try:
            # POSIX locks end with their process, are not inherited by loader processes, and hold over NFS.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: held
            file.seek(0)
            raise CheckpointError(
                f"another process trains into the folder: {file.read().strip() or 'it did not say which'}",
                where=str(run_dir),
                remedy="wait for it or stop it; or give another --out",
            ) from None
        except OSError as error:
            raise CheckpointError(
                f"the run's folder cannot be locked against a second process: {error.strerror}",
                where=str(path),
                remedy="give an --out on a file system with POSIX locks (on NFS: its lock service must run)",
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def identity(recipe: Recipe, base: BaseModel, corpus: Corpus, plan: Plan) -> dict[str, Any]:
    """What must be equal for a run to go on: recipe (but for settings that are free to change), base, data, plan."""
    return {
        "recipe": {key: value for key, value in _flat(recipe.model_dump(mode="json")).items() if _matters(key)},
        "base_sha256": base.weights_sha256,
        "manifests": corpus.manifests(),
        "plan": plan.fingerprint,
    }


def check_identity(
    run_dir: Path, found: Mapping[str, Any], asked: Mapping[str, Any], *, accept_changed_data: bool = False
) -> list[str]:
    """Refuse to go on with another recipe or base, or with other data unless these are accepted.

    Returns:
        What of the data differs and was accepted.

    Raises:
        CheckpointError: they differ; what differs is named.
    """
    begun = _BEFORE_THE_FIELD | found["recipe"]
    differing = [
        f"{key}: {begun.get(key)!r} in the run, {asked['recipe'].get(key)!r} asked for"
        for key in sorted({*begun, *asked["recipe"]})
        if _matters(key) and begun.get(key) != asked["recipe"].get(key)
    ]
    if not differing and found["base_sha256"] != asked["base_sha256"]:
        differing = ["the base's weights changed"]
    changed_data = [
        f"manifest {name} has fingerprint {fingerprint[:12]}, the run was begun with "
        f"{found['manifests'].get(name, 'none')[:12]}"
        for name, fingerprint in asked["manifests"].items()
        if found["manifests"].get(name) != fingerprint
    ]
    if not differing and not changed_data and found["plan"] != asked["plan"]:
        differing = ["the plan changed: this whisper-aut chooses or orders clips in another way"]
    refused = differing + (changed_data if not accept_changed_data else [])
    if refused:
        accept = "; or add --accept-changed-data: the steps that are left then read the new data, and no longer every "
        accept += "clip once a pass"
        raise CheckpointError(
            "the folder holds a run that differs:\n    " + "\n    ".join(refused),
            where=str(run_dir),
            remedy="give another --out, or the recipe and data that the run began with"
            + (accept if changed_data and not differing else ""),
        )
    return changed_data


def write_run_json(
    run_dir: Path,
    recipe: Recipe,
    base: BaseModel,
    corpus: Corpus,
    plan: Plan,
    *,
    steps: int,
    world_size: int,
    precision: PrecisionChoice,
) -> None:
    """Write ``recipe.yaml`` and ``run.json``, the run's own description, each whole or not at all."""
    recipe_yaml = dump_recipe(recipe)
    stats = plan.stats(steps)
    description = {
        "name": recipe.name,
        "description": recipe.description,
        "base": {
            "spec": base.spec,
            "license": base.license,
            "weights_sha256": base.weights_sha256,
            "num_parameters": sum(parameter.numel() for parameter in base.model.parameters()),
        },
        "recipe_sha256": hashlib.sha256(recipe_yaml.encode()).hexdigest(),
        "seed": recipe.seed,
        "steps_planned": steps,
        "clips_per_step": recipe.train.clips_per_step,
        "world_size": world_size,
        "data": corpus.composition(),
        "plan": {"fingerprint": plan.fingerprint, "window_steps": plan.window_steps, **asdict(stats)},
        "command": command_line(),
        "started_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": package_versions(),
        "machine": machine() | {"precision": f"{precision.name} ({precision.reason})"},
    }
    write_whole(run_dir / "recipe.yaml", recipe_yaml)
    write_whole(run_dir / "run.json", json.dumps(description, indent=1, ensure_ascii=False) + "\n")


def _matters(key: str) -> bool:
    # Where the data lies may change; what it is, is in the corpus' fingerprint.
    return key != "data.root" and not any(key == free or key.startswith(free + ".") for free in _FREE_TO_CHANGE)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, nested in value.items():
        flat |= _flat(nested, f"{prefix}.{key}" if prefix else str(key))
    return flat
