"""Hugging Face audio encoders that are not Whisper: loaded whole or not at all, with the front end they were made with.

What is known of each kind stands in ``towers``; here are the files, the checks and the errors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from whisper_aut.errors import BaseModelError
from whisper_aut.probe.encoders.base import ProbedEncoder
from whisper_aut.probe.encoders.towers import ClapTower, PatchTower, Tower, WaveformTower

# Learned for masking during training, or of the other half of a model: no state depends on them.
_NEVER_READ = ("masked_spec_embed", "text_model.", "text_projection.", "audio_projection.", "logit_scale")


def load_hugging_face(source: str, name: str, *, random_seed: int | None = None) -> ProbedEncoder:
    """Load an audio encoder through ``AutoModel`` and ``AutoFeatureExtractor``.

    Known: the Audio Spectrogram Transformer, CLAP's audio tower, and the wav2vec 2.0 family, which reads waveforms
    (wav2vec 2.0, HuBERT, WavLM, data2vec-audio, UniSpeech, ...). No code from the hub is run, nothing is unpickled.

    Args:
        source: hub name or folder.
        name: what the results call it.
        random_seed: random weights of the same shape instead of the trained ones.

    Raises:
        BaseModelError: not there, of an unknown kind, weights missing, or the front end is another model's.
    """
    from transformers import AutoFeatureExtractor, AutoModel, ClapAudioModel

    config = hugging_face_config(source)
    tower_alone = config.model_type == "clap_audio_model"  # the one of these that AutoModel does not know
    try:
        extractor = AutoFeatureExtractor.from_pretrained(source)
        if random_seed is None:
            model, info = (ClapAudioModel if tower_alone else AutoModel).from_pretrained(
                source, dtype=torch.float32, output_loading_info=True, use_safetensors=True
            )
            _check_complete(info, name)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(random_seed)
                model = ClapAudioModel(config) if tower_alone else AutoModel.from_config(config)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _not_loadable(source, name, error) from None
    tower = _tower(model.float().eval(), extractor, name)
    tower.name = name
    digest = json.dumps([tower.weights_sha256, json.loads(extractor.to_json_string()), tower.version], sort_keys=True)
    tower.content_sha256 = hashlib.sha256(digest.encode()).hexdigest()
    if random_seed is not None:
        tower.is_floor = True
        tower.notes = (*tower.notes, f"weights initialised at random, seed {random_seed}")
    return tower


def hugging_face_config(source: str) -> Any:
    """The model's configuration.

    Raises:
        BaseModelError: it is not there, or not one that this transformers knows.
    """
    from transformers import AutoConfig

    if not source:
        raise BaseModelError("'hf:' names no model", remedy="write hf:NAME_OR_DIR, e.g. hf:facebook/hubert-base-ls960")
    try:
        return AutoConfig.from_pretrained(source)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _not_loadable(source, source, error) from None


def _tower(model: Any, extractor: Any, name: str) -> Tower:
    kind = model.config.model_type
    if kind == "audio-spectrogram-transformer":
        return PatchTower(model, extractor, name)
    if kind in {"clap", "clap_audio_model"}:
        return ClapTower(model.audio_model if kind == "clap" else model, extractor, name)
    if hasattr(model, "_get_feat_extract_output_lengths"):
        return WaveformTower(model, extractor, name)
    raise BaseModelError(
        f"the model type '{kind}' is not known here as an audio encoder",
        where=name,
        remedy="give an AST, a CLAP, a wav2vec 2.0, HuBERT or one of its family; Whisper needs no 'hf:'",
    )


def _check_complete(info: Mapping[str, Any], name: str) -> None:
    """Hugging Face fills what it does not find with random numbers and only warns; for an encoder that is fatal."""
    missing = sorted(key for key in info["missing_keys"] if not key.startswith(_NEVER_READ))
    wrong = [*missing, *sorted(str(key) for key in info.get("mismatched_keys", ()))]
    if wrong:
        raise BaseModelError(
            f"{len(wrong)} weights are missing or of another shape, the first is '{wrong[0]}'",
            where=name,
            remedy="give the whole model as its makers released it",
        )


def _not_loadable(source: str, name: str, error: Exception) -> BaseModelError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(source).expanduser().is_dir():
        remedy = (
            "the folder needs config.json, preprocessor_config.json and model.safetensors (not .bin: no unpickling)"
        )
    else:
        remedy = "check the name and the connection, and that the model is there as safetensors; offline, give a folder"
    return BaseModelError(f"the encoder cannot be loaded: {reason}", where=name, remedy=remedy)
