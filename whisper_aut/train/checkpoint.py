"""Checkpoints that appear whole or not at all, in safetensors: weights, moments, state. Nothing in them is unpickled.

A checkpoint is written into a folder beside its final name, every file is synced, the SHA-256 manifest comes last, and
one rename makes it exist; then ``latest`` is replaced. Weights and moments are whole tensors under Hugging Face names,
so any number of ranks and any ZeRO stage can go on from them, and ``weights.safetensors`` is all that export needs.
"""

from __future__ import annotations

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
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from whisper_aut.errors import CheckpointError
from whisper_aut.files import file_sha256, write_whole
from whisper_aut.model.tensors import is_finite

FORMAT_VERSION = 1
WEIGHTS = "weights.safetensors"
STATE = "state.json"
SUMS = "sha256.json"
LATEST = "latest"

MomentName = Literal["exp_avg", "exp_avg_sq"]
MOMENT_NAMES: tuple[MomentName, ...] = ("exp_avg", "exp_avg_sq")
Moments = dict[MomentName, dict[str, torch.Tensor]]
_STEP_FOLDER = re.compile(r"^step-(\d{8})$")
# In use by a save or a removal; never a checkpoint.
_ASIDE = ".step-"


@dataclass(frozen=True)
class TrainedState:
    """Float32 weights and Adam moments by Hugging Face name; ``proj_out.weight`` is tied and not repeated."""

    weights: dict[str, torch.Tensor]
    moments: Moments


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk whose sums and headers were right when it was opened.

    Attributes:
        folder: where it is.
        state: step, identity of the run and what else the trainer saved.
    """

    folder: Path
    state: dict[str, Any]

    @property
    def step(self) -> int:
        """Number of finished steps."""
        return int(self.state["step"])

    def weights(self) -> dict[str, torch.Tensor]:
        """Float32 weights, mapped from the file."""
        return load_file(self.folder / WEIGHTS)

    def moments(self) -> Moments:
        """Adam's moments, mapped from the files."""
        return {name: load_file(self.folder / f"{name}.safetensors") for name in MOMENT_NAMES}


def step_folder(checkpoints: Path, step: int) -> Path:
    """Folder of the checkpoint after ``step`` finished steps."""
    return checkpoints / f"step-{step:08d}"


def save_checkpoint(checkpoints: Path, step: int, trained: TrainedState, state: Mapping[str, Any]) -> Path:
    """Write the checkpoint after ``step`` steps; afterwards it exists whole, or the error left nothing behind.

    Raises:
        CheckpointError: the disk is full or not writable; older checkpoints stand.
    """
    final = step_folder(checkpoints, step)
    aside = checkpoints / f"{_ASIDE}{step:08d}.{os.getpid()}"
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(checkpoints)
        if final.exists() and not _is_sound(final):
            _remove(final)
        # One that is there and sound is from before a kill: the plan is a pure function of the step, so it is the same.
        if not final.exists():
            aside.mkdir()
            save_file(trained.weights, aside / WEIGHTS)
            for key, tensors in trained.moments.items():
                save_file(tensors, aside / f"{key}.safetensors")
            content = {"format_version": FORMAT_VERSION, "step": step, **state}
            (aside / STATE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            sums = {path.name: file_sha256(path) for path in sorted(aside.iterdir())}
            (aside / SUMS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
            for path in aside.iterdir():
                _sync(path)
            _sync(aside)
            aside.rename(final)
            _sync(checkpoints)
        write_whole(checkpoints / LATEST, final.name + "\n")
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        needed = sum(t.numel() * 4 for part in (trained.weights, *trained.moments.values()) for t in part.values())
        free = shutil.disk_usage(_existing(checkpoints)).free
        stand = "older checkpoints stand" if list_checkpoints(checkpoints) else "no checkpoint stands yet"
        raise CheckpointError(
            f"the checkpoint of step {step} cannot be written: {error}",
            where=str(checkpoints),
            remedy=f"it needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; {stand}: free some "
            "space and run the same command again",
        ) from None
    return final


def open_checkpoint(folder: Path) -> Checkpoint:
    """Verify a checkpoint and read its state.

    Raises:
        CheckpointError: not there, damaged, or written by a newer format.
    """
    if not folder.is_dir():
        there = ", ".join(path.name for path in list_checkpoints(folder.parent)[-5:])
        raise CheckpointError(
            "there is no such checkpoint",
            where=str(folder),
            remedy=f"of those beside it, give one: {there}" if there else "give a folder RUN/checkpoints/step-…",
        )
    try:
        return Checkpoint(folder, _verified_state(folder))
    except _Damaged as damage:
        raise CheckpointError(
            f"the checkpoint is damaged: {damage}", where=str(folder), remedy="use an older one"
        ) from None


def newest_checkpoint(checkpoints: Path) -> Checkpoint | None:
    """The newest checkpoint that is sound, None where there is none at all; damaged newer ones are skipped with a
    warning on standard error.

    Raises:
        CheckpointError: not one of those that are there is sound, or the newest sound one has a newer format.
    """
    damages: dict[Path, _Damaged] = {}
    for folder in reversed(list_checkpoints(checkpoints)):
        try:
            found = Checkpoint(folder, _verified_state(folder))
        except _Damaged as damage:
            damages[folder] = damage
            continue
        for damaged, why in damages.items():
            print(f"warning: {damaged} is damaged ({why}); falling back to {folder.name}", file=sys.stderr)
        return found
    if damages:
        named = "; ".join(f"{damaged.name} ({why})" for damaged, why in damages.items())
        raise CheckpointError(
            f"not one checkpoint is sound: {named}",
            where=str(checkpoints),
            remedy="restore what is missing from a copy; to begin again, move the folder away or give another --out",
        )
    return None


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """Checkpoint folders, oldest first; not verified."""
    if not checkpoints.is_dir():
        return []
    return sorted(path for path in checkpoints.iterdir() if path.is_dir() and _STEP_FOLDER.match(path.name))


def remove_obsolete(checkpoints: Path, *, keep_last: int, keep_every_steps: int | None, keep_best: bool) -> None:
    """Remove all checkpoints but the ``keep_last`` newest, those of every ``keep_every_steps`` steps, and the best.

    The best is the one with the lowest validation loss (mean over domains) among those that were saved with one.
    """
    folders = list_checkpoints(checkpoints)
    kept = set(folders[-keep_last:])
    if keep_every_steps is not None:
        kept |= {folder for folder in folders if int(folder.name.removeprefix("step-")) % keep_every_steps == 0}
    losses = {folder: loss for folder in folders if (loss := _validation_loss(folder)) is not None}
    if keep_best and losses:
        kept.add(min(losses, key=lambda folder: losses[folder]))
    for folder in folders:
        if folder not in kept:
            _remove(folder)


def check_finite(step: int, weights: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights that nothing can go on from: they must not push sound checkpoints out.

    Raises:
        BrokenWeights: a value is not finite.
    """
    broken = [name for name, tensor in weights.items() if not is_finite(tensor)]
    if broken:
        raise BrokenWeights(
            f"after step {step} {len(broken)} of {len(weights)} tensors hold values that are not finite, the first is "
            f"'{broken[0]}'; they are not saved",
            remedy="older checkpoints stand; lower train.lr or train.max_grad_norm and begin again with another --out",
        )


class BrokenWeights(CheckpointError):
    """Weights with values that are not finite."""


class _Damaged(Exception):
    """Why a folder is no checkpoint that can be used."""


def _verified_state(folder: Path) -> dict[str, Any]:
    """The state, after sums and the headers of the tensor files were found right."""
    try:
        sums = json.loads((folder / SUMS).read_text("utf-8"))
        for name, expected in sums.items():
            if Path(name).name != name or file_sha256(folder / name) != expected:
                raise _Damaged(f"{name} does not have the SHA-256 of {SUMS}")
        missing = {WEIGHTS, STATE} - set(sums)
        if missing:
            raise _Damaged(f"{sorted(missing)} not in {SUMS}")
        state: dict[str, Any] = json.loads((folder / STATE).read_text("utf-8"))
        version = state["format_version"]
        # Right sums say that the files are what was written, not that it was us who wrote them.
        for name in (WEIGHTS, *(f"{moment}.safetensors" for moment in MOMENT_NAMES)):
            if name in sums:
                with safe_open(folder / name, framework="pt") as file:
                    file.keys()
    except (OSError, ValueError, AttributeError, KeyError, TypeError, SafetensorError) as error:
        raise _Damaged(str(error)) from None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"the checkpoint has format {version}, this whisper-aut reads {FORMAT_VERSION}",
            where=str(folder),
            remedy="use the whisper-aut that wrote it, or a newer one",
        )
    return state


def _is_sound(folder: Path) -> bool:
    try:
        _verified_state(folder)
    except _Damaged:
        return False
    return True


def _validation_loss(folder: Path) -> float | None:
    try:
        losses = json.loads((folder / STATE).read_text("utf-8")).get("validation_loss")
    except (OSError, ValueError):
        return None
    return sum(losses.values()) / len(losses) if losses else None


def _remove(folder: Path) -> None:
    """Remove a checkpoint; killed half-way, what is left no longer looks like one."""
    aside = folder.with_name(f".{folder.name}.old.{os.getpid()}")
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _clear_leftovers(checkpoints: Path) -> None:
    """Remove what a killed save or removal left aside."""
    for path in [*checkpoints.glob(f"{_ASIDE}*"), *checkpoints.glob(f".{LATEST}.*")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


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
