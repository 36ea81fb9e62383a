"""The models that are compared: the base, the adapted one, and the adapted encoder under the base's own decoder."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from whisper_aut.errors import BaseModelError, CheckpointError
from whisper_aut.export.about import PROVENANCE, read_about
from whisper_aut.export.source import read_run
from whisper_aut.model.base import BaseModel, load_base, load_encoder
from whisper_aut.model.greedy import decoding_rules
from whisper_aut.model.hashes import weights_sha256
from whisper_aut.model.places import model_folder
from whisper_aut.speech.request import is_run
from whisper_aut.speech.results import Model, Role
from whisper_aut.train.checkpoint import Checkpoint, newest_checkpoint, open_checkpoint, step_folder

if TYPE_CHECKING:
    from transformers import WhisperForConditionalGeneration
    from transformers.models.whisper.modeling_whisper import WhisperEncoder


@dataclass(frozen=True)
class Heard:
    """An encoder, the whole model whose decoder writes what it hears, and what both are."""

    encoder: WhisperEncoder
    writer: WhisperForConditionalGeneration
    record: Model


def load_models(
    adapted: str, base_spec: str | None, step: int | None = None, run_dir: Path | None = None
) -> tuple[BaseModel, list[Heard]]:
    """The base and the models to hear, the base first.

    Args:
        adapted: a run's folder, or whatever ``load_base`` or ``load_encoder`` loads. Of an export without decoder only
            the encoder is heard, under the base's decoder.
        base_spec: what it is compared with; a run knows its own, and so does an export of one.
        step: of the run's checkpoint; None is the newest.
        run_dir: the run that ``adapted`` is from, where it is known.

    Raises:
        CheckpointError: the run has no such checkpoint, or its base is another by now.
        BaseModelError: a model cannot be loaded, no base is given where one is needed, or the shapes differ.
    """
    if is_run(Path(adapted)):
        base = load_base(base_spec) if base_spec else _base_of(read_run(Path(adapted)))
        checkpoint = _checkpoint(Path(adapted), step)
        whole = _filled(base.model, checkpoint.weights(), str(checkpoint.folder))
        return base, _three(base, whole.model.encoder, whole, str(checkpoint.folder), checkpoint.step)
    if step is not None:
        raise BaseModelError("only a run has checkpoints", where=adapted, remedy="leave the step out, or give a run")
    if base_spec:
        base = load_base(base_spec)
    else:
        run = read_run(run_dir) if run_dir else _run_of_export(Path(adapted))
        if run is None:
            raise BaseModelError(
                "there is no model to compare with",
                where=adapted,
                remedy="name the one that it was adapted from: --base",
            )
        base = _base_of(run)
    if _has_decoder(adapted):
        whole = load_base(adapted).model
        return base, _three(base, whole.model.encoder, whole, adapted, None)
    return base, _three(base, load_encoder(adapted).module, None, adapted, None)


def _base_of(run: dict[str, Any]) -> BaseModel:
    base = load_base(run["base"]["spec"])
    if base.weights_sha256 != run["base"]["weights_sha256"]:
        raise CheckpointError(
            "the base is not the one that the run began with: its weights have another SHA-256",
            where=run["base"]["spec"],
            remedy="restore it, or name the base to compare with: --base",
        )
    return base


def _run_of_export(folder: Path) -> dict[str, Any] | None:
    """What an export says of the run that it is from; None where it is of none, or is no export."""
    return read_about(folder).get("run") if (folder / PROVENANCE).is_file() else None


def _three(
    base: BaseModel,
    encoder: WhisperEncoder,
    whole: WhisperForConditionalGeneration | None,
    name: str,
    step: int | None,
) -> list[Heard]:
    ours, theirs = encoder.config, base.model.config
    if (ours.d_model, ours.num_mel_bins) != (theirs.d_model, theirs.num_mel_bins):
        raise BaseModelError(
            f"the adapted encoder has width {ours.d_model} and {ours.num_mel_bins} mel bins, the base {theirs.d_model} "
            f"and {theirs.num_mel_bins}: the base's decoder cannot read it",
            where=name,
            remedy="name the base that it was adapted from",
        )
    if whole is not None and whole.config.vocab_size != theirs.vocab_size:
        raise BaseModelError(
            f"the adapted decoder has {whole.config.vocab_size} tokens, the base's {theirs.vocab_size}",
            where=name,
            remedy="name the base that it was adapted from",
        )
    models = [_heard("base", base.model.model.encoder, base.model, base.spec, base.spec, None)]
    if whole is not None:
        # One set of rules for all: what may not be said must not differ between models that are compared.
        whole.generation_config = base.model.generation_config
        models.append(_heard("adapted decoder", encoder, whole, name, name, step))
    models.append(_heard("original decoder", encoder, base.model, name, base.spec, step))
    return models


def _heard(
    role: Role,
    encoder: WhisperEncoder,
    writer: WhisperForConditionalGeneration,
    encoder_name: str,
    decoder_name: str,
    step: int | None,
) -> Heard:
    record = Model(
        role=role,
        encoder=encoder_name,
        encoder_sha256=weights_sha256(encoder.state_dict()),
        decoder=decoder_name,
        decoder_sha256=weights_sha256(writer.model.decoder.state_dict()),
        step=step,
        suppressed_tokens=len(decoding_rules(writer).suppressed),
    )
    return Heard(encoder, writer, record)


def _filled(
    base: WhisperForConditionalGeneration, weights: dict[str, Tensor], where: str
) -> WhisperForConditionalGeneration:
    """A copy of the base with a checkpoint's weights."""
    whole = copy.deepcopy(base)
    try:
        tied = {"proj_out.weight": weights["model.decoder.embed_tokens.weight"]}
        whole.load_state_dict(weights | tied, strict=True)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint's weights do not fit the base: {str(error).splitlines()[0]}",
            where=where,
            remedy="name the base that the run began with: --base",
        ) from None
    return whole.eval()


def _checkpoint(run_dir: Path, step: int | None) -> Checkpoint:
    if step is not None:
        folder = step_folder(run_dir / "checkpoints", step)
        if not folder.is_dir():
            raise CheckpointError(
                f"the run has no checkpoint of step {step}", where=str(run_dir), remedy="see its folder"
            )
        return open_checkpoint(folder)
    found = newest_checkpoint(run_dir / "checkpoints")
    if found is None:
        raise CheckpointError("the run has no checkpoint yet", where=str(run_dir), remedy="train it first")
    return found


def _has_decoder(spec: str) -> bool:
    folder = model_folder(spec)
    if folder is None or not (folder / "config.json").is_file():
        return True
    try:
        settings = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return True  # load_base says what is wrong
    return not (isinstance(settings, dict) and settings.get("decoder_layers") == 0)
