"""What an export begins with: a run's checkpoint, or a folder or file that holds a Whisper; opened, not loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from whisper_aut.errors import CheckpointError
from whisper_aut.export.about import PROVENANCE, read_about
from whisper_aut.model.base import BaseModel
from whisper_aut.model.places import model_file
from whisper_aut.model.stored import StoredWhisper, open_stored
from whisper_aut.model.tensors import LazyTensors, blended, safetensors_file
from whisper_aut.train.checkpoint import WEIGHTS, Checkpoint, list_checkpoints, newest_checkpoint, open_checkpoint

# Where an export may hold a model that can be read, relative to its folder; in order of preference.
_READABLE = ("config.json", "ctranslate2/config.json", "openai/model.pt", "encoder/config.json")


@dataclass(frozen=True)
class Source:
    """A model to export.

    Attributes:
        model: its tensors, blended where that was asked for, with configuration and tokenizer.
        open_base: opens the base that it was adapted from; raises where it is not known.
        run: ``run.json`` of the training run; None where the model is not from one.
        step: finished steps of the checkpoint; None with ``run``.
        blend: share of the trained weights.
        base_sha256: of the base's weights; None with ``run``.
    """

    model: StoredWhisper
    open_base: Callable[[], StoredWhisper]
    run: dict[str, Any] | None
    step: int | None
    blend: float
    base_sha256: str | None


def open_source(
    spec: str | Path,
    *,
    checkpoint: Path | None = None,
    blend: float = 1.0,
    base: BaseModel | str | None = None,
) -> Source:
    """Open a run or a model.

    Args:
        spec: folder of a training run; or any that holds a Whisper: an export, a Hugging Face or CTranslate2 folder, a
            file of openai-whisper, a hub name.
        checkpoint: one of the run's, whether the run is finished or not; without it the newest of a finished run.
        blend: share of the trained weights; the rest is the base's.
        base: what was adapted, where it is loaded already or lies in another place than the run says.

    Raises:
        CheckpointError: the run is not finished or has no sound checkpoint, or the base is another one.
        BaseModelError: the model or its base cannot be opened.
    """
    if not 0 < blend <= 1:
        raise CheckpointError(
            f"--blend is {blend:g}", remedy="give a share of the trained weights, above 0 and up to 1"
        )
    folder = Path(spec).expanduser()
    if folder.is_dir() and not holds_model(folder):
        return _of_run(folder, checkpoint, blend, base)
    if checkpoint is not None:
        raise CheckpointError(
            "--checkpoint is given, but not a run", where=str(spec), remedy="give the folder of the training run"
        )
    return _of_model(str(spec), blend, base)


def holds_model(folder: Path) -> bool:
    """Whether a folder holds a model itself, and is not a run that trains one."""
    return any((folder / name).is_file() for name in _READABLE)


def _of_run(run_dir: Path, checkpoint: Path | None, blend: float, base: BaseModel | str | None) -> Source:
    run = read_run(run_dir)
    opened = open_checkpoint(checkpoint) if checkpoint else _last_checkpoint(run_dir, run["steps_planned"])
    stored = _checked_base(base or run["base"]["spec"], run)
    trained = safetensors_file(opened.folder / WEIGHTS)
    _check_same_shapes(trained, stored, opened.folder)
    # The run's own weights have a hash of their own.
    model = replace(stored, tensors=blended(trained, stored.tensors, blend), known_sha256=None)
    return Source(model, lambda: stored, run, opened.step, blend, run["base"]["weights_sha256"])


def _of_model(spec: str, blend: float, base: BaseModel | str | None) -> Source:
    folder = Path(spec).expanduser()
    inside = next((name for name in _READABLE if (folder / name).is_file()), None)
    provenance = _provenance(folder if inside else folder.parent)
    if provenance is None and inside and folder.name in {"ctranslate2", "encoder"}:
        provenance = _provenance(folder.parent)
    if provenance is None and model_file(spec):
        provenance = _provenance(folder.parent.parent)
    if inside == "openai/model.pt":
        model = open_stored(str(folder / inside))
    else:
        model = open_stored(str((folder / inside).parent) if inside else spec)
    run = (provenance or {}).get("run")

    def open_base() -> StoredWhisper:
        named = base or (run["base"]["spec"] if run else None)
        if named is None:
            raise CheckpointError(
                "it is not known which base the model was adapted from",
                where=spec,
                remedy="add --base with a hub name or a folder",
            )
        return _checked_base(named, run)

    tensors = blended(model.tensors, open_base().tensors, blend) if blend < 1 else model.tensors
    return Source(
        replace(model, tensors=tensors),
        open_base,
        run,
        (provenance or {}).get("step"),
        blend * (provenance or {}).get("blend", 1.0),
        run["base"]["weights_sha256"] if run else None,
    )


def _checked_base(base: BaseModel | str, run: dict[str, Any] | None) -> StoredWhisper:
    stored = _of_loaded(base) if isinstance(base, BaseModel) else open_stored(base)
    if not stored.has_decoder:
        raise CheckpointError(
            "there is no decoder in the base", where=stored.spec, remedy="give a whole Whisper as --base"
        )
    if run is not None and stored.weights_sha256() != run["base"]["weights_sha256"]:
        raise CheckpointError(
            "the base is not the one that the run began with: its weights have another SHA-256",
            where=stored.spec,
            remedy="restore the base that the run's run.json names, or give its place with --base",
        )
    return stored


def _of_loaded(base: BaseModel) -> StoredWhisper:
    state = {name: tensor for name, tensor in base.model.state_dict().items() if name != "proj_out.weight"}
    return StoredWhisper(
        base.spec,
        base.model.config,
        LazyTensors.of_state(state),
        lambda: base.tokenizer,
        lambda: base.model.generation_config,
        base.weights_sha256,
    )


def _check_same_shapes(trained: LazyTensors, base: StoredWhisper, folder: Path) -> None:
    wrong = sorted(set(trained) ^ set(base.tensors))
    wrong += [name for name in trained if name not in wrong and trained.shape(name) != base.tensors.shape(name)]
    if wrong:
        raise CheckpointError(
            f"the base has another shape than the checkpoint: {len(wrong)} tensors differ, the first is '{wrong[0]}'",
            where=str(folder),
            remedy=f"the run began with {base.spec}; give that base",
        )


def _last_checkpoint(run_dir: Path, steps_planned: int) -> Checkpoint:
    checkpoint = newest_checkpoint(run_dir / "checkpoints")
    if checkpoint is None:
        raise CheckpointError(
            "the run has no checkpoint yet", where=str(run_dir), remedy="train it first: whisper-aut train …"
        )
    newest = list_checkpoints(run_dir / "checkpoints")[-1]
    if checkpoint.step < steps_planned and newest != checkpoint.folder:
        raise CheckpointError(
            f"the newest checkpoint is damaged; the one before is of step {checkpoint.step} of {steps_planned}",
            where=str(newest),
            remedy="run the same `whisper-aut train` command again: it goes on from there; or name a --checkpoint",
        )
    if checkpoint.step < steps_planned:
        raise CheckpointError(
            f"the run is not finished: step {checkpoint.step} of {steps_planned}",
            where=str(checkpoint.folder),
            remedy="run the same `whisper-aut train` command again to finish it, or name a --checkpoint",
        )
    return checkpoint


def read_run(run_dir: Path) -> dict[str, Any]:
    """``run.json`` of a training run, as far as anything later needs it.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    try:
        run = json.loads((run_dir / "run.json").read_text("utf-8"))
        if not isinstance(run, dict):
            raise ValueError(f"it holds a {type(run).__name__}, not a mapping")
        missing = {"base", "steps_planned", "data", "name"} - set(run)
        if missing:
            raise ValueError(f"it has no {sorted(missing)}")
        base = run["base"]
        if not (isinstance(base, dict) and all(isinstance(base.get(key), str) for key in ("spec", "weights_sha256"))):
            raise ValueError("it does not name the base")
    except FileNotFoundError:
        raise CheckpointError(
            "there is no training run here: run.json is missing; and no model",
            where=str(run_dir),
            remedy="give the folder that `whisper-aut train --out` wrote, or one that holds a Whisper",
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"run.json cannot be read: {error}", where=str(run_dir)) from None
    return run


def _provenance(folder: Path) -> dict[str, Any] | None:
    return read_about(folder) if (folder / PROVENANCE).is_file() else None
