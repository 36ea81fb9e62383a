"""Export: a checkpoint's encoder without the decoder, in the two forms that Hugging Face's own classes load.

``DIR`` loads with ``WhisperModel.from_pretrained(DIR).encoder`` and ``DIR/encoder`` with ``WhisperEncoder``. Their keys
differ by a prefix, and with the wrong one Hugging Face fills in random weights and only warns. So after writing, both
are loaded through those classes and every value is compared with the checkpoint.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from whisper_aut.errors import CheckpointError
from whisper_aut.export.card import model_card
from whisper_aut.model.base import BaseModel, load_base, quiet_loading
from whisper_aut.resources import command_line
from whisper_aut.train.checkpoint import Checkpoint, newest_checkpoint, open_checkpoint

if TYPE_CHECKING:
    from transformers import WhisperConfig

_ENCODER = "model.encoder."


def export_encoder(
    run_dir: Path,
    out_dir: Path,
    *,
    base: BaseModel | None = None,
    blend: float = 1.0,
    checkpoint: Path | None = None,
) -> Path:
    """Write the encoder of the newest checkpoint of a finished run, or that of a given checkpoint.

    Args:
        run_dir: folder of a training run.
        out_dir: a folder that does not exist, is empty, or holds an earlier export (which is replaced).
        base: the run's base where it is loaded already.
        blend: share of the trained weights; the rest is the base's. 1 is what was trained. Below it, the encoder keeps
            more of what training did not speak of (WiSE-FT, Wortsman et al., CVPR 2022).
        checkpoint: one of the run's, whether the run is finished or not.

    Returns:
        ``out_dir``.

    Raises:
        CheckpointError: the run is not finished or has no sound checkpoint, or ``out_dir`` holds something else.
    """
    run = _read_run(run_dir)
    _refuse_foreign(out_dir)
    opened = open_checkpoint(checkpoint) if checkpoint else _last_checkpoint(run_dir, run["steps_planned"])
    weights = {
        name.removeprefix(_ENCODER): tensor for name, tensor in opened.weights().items() if name.startswith(_ENCODER)
    }
    base = base or load_base(run["base"]["spec"])
    if base.weights_sha256 != run["base"]["weights_sha256"]:
        raise CheckpointError(
            "the base is not the one that the run began with: its weights have another SHA-256",
            where=run["base"]["spec"],
            remedy="restore the base that the run's run.json names",
        )
    config = base.model.config
    weights = _blended(weights, base.model.model.encoder.state_dict(), blend)
    aside = out_dir.with_name(f".{out_dir.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        _write(aside, weights, config, run, opened.step, blend)
        _verify(aside, weights)
        if out_dir.exists():
            shutil.rmtree(out_dir)
        aside.rename(out_dir)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return out_dir


def _last_checkpoint(run_dir: Path, steps_planned: int) -> Checkpoint:
    checkpoint = newest_checkpoint(run_dir / "checkpoints")
    if checkpoint is None:
        raise CheckpointError(
            "the run has no checkpoint yet", where=str(run_dir), remedy="train it first: whisper-aut train …"
        )
    if checkpoint.step < steps_planned:
        raise CheckpointError(
            f"the run is not finished: step {checkpoint.step} of {steps_planned}",
            where=str(checkpoint.folder),
            remedy="run the same `whisper-aut train` command again to finish it",
        )
    return checkpoint


def _write(
    folder: Path, weights: dict[str, Tensor], config: WhisperConfig, run: dict[str, Any], step: int, blend: float
) -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor

    (folder / "encoder").mkdir(parents=True)
    # No decoder layers: whoever loads the whole model gets none, instead of some filled with random numbers.
    settings = config.to_dict() | {"decoder_layers": 0, "dtype": "float32"}
    full, bare = WhisperConfig(**settings), WhisperConfig(**settings)
    full.architectures, bare.architectures = ["WhisperModel"], ["WhisperEncoder"]
    metadata = {"format": "pt"}
    save_file({f"encoder.{name}": tensor for name, tensor in weights.items()}, folder / "model.safetensors", metadata)
    save_file(weights, folder / "encoder" / "model.safetensors", metadata)
    full.save_pretrained(folder)
    bare.save_pretrained(folder / "encoder")
    for target in (folder, folder / "encoder"):
        WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(target)
    (folder / "whisper_aut.json").write_text(
        json.dumps({"step": step, "blend": blend, "command": command_line(), "run": run}, indent=1, ensure_ascii=False)
        + "\n",
        encoding="utf-8",
    )
    (folder / "README.md").write_text(model_card(run, step, config.num_mel_bins, blend), encoding="utf-8")


def _blended(trained: dict[str, Tensor], base: dict[str, Tensor], blend: float) -> dict[str, Tensor]:
    """``blend`` x trained + (1 - ``blend``) x base, by name; the trained tensors themselves for 1."""
    if not 0 < blend <= 1:
        raise CheckpointError(
            f"--blend is {blend:g}", remedy="give a share of the trained weights, above 0 and up to 1"
        )
    if blend == 1:
        return trained
    return {name: torch.lerp(base[name].float(), tensor, blend) for name, tensor in trained.items()}


def _verify(folder: Path, weights: dict[str, Tensor]) -> None:
    """Load both forms as a user would and compare every value.

    Raises:
        CheckpointError: one weight is missing, too many or different.
    """
    from transformers import WhisperModel
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    with quiet_loading():
        loaded = {
            "WhisperModel.from_pretrained(DIR).encoder": WhisperModel.from_pretrained(folder).encoder,
            "WhisperEncoder.from_pretrained(DIR/encoder)": WhisperEncoder.from_pretrained(folder / "encoder"),
        }
    for call, module in loaded.items():
        found = module.state_dict()
        wrong = sorted(set(found) ^ set(weights)) + [
            name for name in set(found) & set(weights) if not torch.equal(found[name].float(), weights[name])
        ]
        if wrong:
            raise CheckpointError(
                f"{call} does not give the trained weights: {len(wrong)} tensors differ, the first is '{wrong[0]}'",
                where=str(folder),
                remedy="this transformers release loads Whisper differently; report it with its version",
            )


def _read_run(run_dir: Path) -> dict[str, Any]:
    try:
        run = json.loads((run_dir / "run.json").read_text("utf-8"))
        if not isinstance(run, dict):
            raise ValueError(f"it holds a {type(run).__name__}, not a mapping")
    except FileNotFoundError:
        raise CheckpointError(
            "there is no training run here: run.json is missing",
            where=str(run_dir),
            remedy="give the folder that `whisper-aut train --out` wrote",
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"run.json cannot be read: {error}", where=str(run_dir)) from None
    return run


def _refuse_foreign(out_dir: Path) -> None:
    holds_something = out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir()))
    if holds_something and not (out_dir / "whisper_aut.json").is_file():
        raise CheckpointError(
            "the output folder holds something that is not an export",
            where=str(out_dir),
            remedy="give an empty or new folder",
        )
