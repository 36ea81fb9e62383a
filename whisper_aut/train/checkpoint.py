"""Checkpoints that appear whole or not at all, in safetensors: weights, moments, state. Nothing in them is unpickled.

A checkpoint is written into a folder beside its final name, every file is synced, the SHA-256 manifest comes last, and
one rename makes it exist. Weights and moments are whole tensors under Hugging Face names, so any number of ranks and
any ZeRO stage can go on from them, and ``weights.safetensors`` alone is all that export needs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from whisper_aut.errors import CheckpointError

FORMAT_VERSION = 1
WEIGHTS = "weights.safetensors"
STATE = "state.json"
SUMS = "sha256.json"

MomentName = Literal["exp_avg", "exp_avg_sq"]
Moments = dict[MomentName, dict[str, torch.Tensor]]
_STEP_FOLDER = re.compile(r"^step-(\d{8})$")


@dataclass(frozen=True)
class TrainedState:
    """Float32 weights and Adam moments by Hugging Face name; ``proj_out.weight`` is tied and not repeated."""

    weights: dict[str, torch.Tensor]
    moments: Moments


def step_folder(checkpoints: Path, step: int) -> Path:
    """Folder of the checkpoint after ``step`` finished steps."""
    return checkpoints / f"step-{step:08d}"


def save_checkpoint(checkpoints: Path, step: int, trained: TrainedState, state: Mapping[str, Any]) -> Path:
    """Write the checkpoint after ``step`` steps; afterwards it exists whole, or the error left nothing behind.

    Raises:
        CheckpointError: the disk is full or not writable; older checkpoints stand.
    """
    final = step_folder(checkpoints, step)
    if final.exists():
        # Already there from before a kill: the plan is a pure function of the step, so its content is the same.
        if not _damage(final):
            return final
        shutil.rmtree(final)
    aside = checkpoints / f".{final.name}.{os.getpid()}"
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(checkpoints)
        aside.mkdir()
        save_file(trained.weights, aside / WEIGHTS)
        for key, tensors in trained.moments.items():
            save_file(tensors, aside / f"{key}.safetensors")
        content = {"format_version": FORMAT_VERSION, "step": step, **state}
        (aside / STATE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        sums = {path.name: _sha256(path) for path in sorted(aside.iterdir())}
        (aside / SUMS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
        for path in aside.iterdir():
            _sync(path)
        _sync(aside)
        aside.rename(final)
        _sync(checkpoints)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        needed = sum(t.numel() * 4 for part in (trained.weights, *trained.moments.values()) for t in part.values())
        free = shutil.disk_usage(_existing(checkpoints)).free
        raise CheckpointError(
            f"the checkpoint of step {step} cannot be written: {error}",
            where=str(checkpoints),
            remedy=f"it needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; older checkpoints stand: free some "
            "space and run the same command again",
        ) from None
    return final


def newest_checkpoint(checkpoints: Path) -> Path | None:
    """The newest checkpoint whose sums are right; damaged newer ones are skipped with a warning on standard error."""
    for folder in reversed(list_checkpoints(checkpoints)):
        damage = _damage(folder)
        if not damage:
            return folder
        print(f"warning: {folder} is damaged ({damage}); falling back to the one before", file=sys.stderr)
    return None


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """Checkpoint folders, oldest first; not verified."""
    if not checkpoints.is_dir():
        return []
    return sorted(path for path in checkpoints.iterdir() if path.is_dir() and _STEP_FOLDER.match(path.name))


def keep_newest(checkpoints: Path, count: int) -> None:
    """Remove all but the ``count`` newest checkpoints."""
    for folder in list_checkpoints(checkpoints)[:-count]:
        shutil.rmtree(folder)


def read_state(folder: Path) -> dict[str, Any]:
    """The state of a checkpoint: step, fingerprints, versions.

    Raises:
        CheckpointError: damaged, or written by a newer format.
    """
    damage = _damage(folder)
    if damage:
        raise CheckpointError(f"the checkpoint is damaged: {damage}", where=str(folder), remedy="use an older one")
    state: dict[str, Any] = json.loads((folder / STATE).read_text("utf-8"))
    if state["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"the checkpoint has format {state['format_version']}, this whisper-aut reads {FORMAT_VERSION}",
            where=str(folder),
            remedy="use the whisper-aut that wrote it, or a newer one",
        )
    return state


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Float32 weights of a checkpoint, verified first.

    Raises:
        CheckpointError: damaged, or written by a newer format.
    """
    read_state(folder)
    return load_file(folder / WEIGHTS)


def read_moments(folder: Path) -> Moments:
    """Adam's moments of a checkpoint that ``read_state`` or ``read_weights`` has verified."""
    return {
        "exp_avg": load_file(folder / "exp_avg.safetensors"),
        "exp_avg_sq": load_file(folder / "exp_avg_sq.safetensors"),
    }


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        sums = json.loads((folder / SUMS).read_text("utf-8"))
        for name, expected in sums.items():
            if Path(name).name != name or _sha256(folder / name) != expected:
                return f"{name} does not have the SHA-256 of {SUMS}"
    except (OSError, ValueError, AttributeError) as error:
        return str(error)
    missing = {WEIGHTS, STATE} - set(sums)
    return f"{sorted(missing)} not in {SUMS}" if missing else None


def _clear_leftovers(checkpoints: Path) -> None:
    """Remove what a killed save left aside."""
    for path in checkpoints.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
