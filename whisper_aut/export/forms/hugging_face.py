"""Hugging Face's forms: the whole model in the export's folder, the bare encoder in ``encoder/``, and Qwen2-Audio's.

Their keys differ by a prefix, and with the wrong one Hugging Face fills in random weights and only warns. So what was
written is opened through the class that is meant to load it, which must miss nothing and be left with nothing, and then
every value is compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whisper_aut.errors import CheckpointError
from whisper_aut.export.content import Content, check_equal, shapes_of
from whisper_aut.export.forms.form import Form
from whisper_aut.export.stream import write_safetensors
from whisper_aut.model.base import quiet_loading
from whisper_aut.model.tensors import LazyTensors, safetensors_folder


def _write_whole(folder: Path, content: Content) -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor

    settings = content.config.to_dict() | {"dtype": content.dtype_name}
    if content.has_decoder:
        settings["architectures"] = ["WhisperForConditionalGeneration"]
    else:
        # No decoder layers: whoever loads the whole model gets none, instead of some filled with random numbers.
        settings |= {"decoder_layers": 0, "architectures": ["WhisperModel"]}
    # model.encoder.* without a decoder, too: WhisperModel takes the keys off "model.", and classes that look for the
    # encoder inside a whole model (Ultravox' prefix "model.encoder") find it, where encoder.* would leave them random.
    _write_tensors(folder, content.tensors, content)
    WhisperConfig(**settings).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=content.config.num_mel_bins).save_pretrained(folder)
    if content.generation is not None:
        content.generation.save_pretrained(folder)
    if content.tokenizer is not None:
        content.tokenizer.save_pretrained(folder)


def _check_whole(folder: Path, content: Content) -> None:
    from transformers import WhisperForConditionalGeneration, WhisperModel

    if content.has_decoder:
        _check_names(WhisperForConditionalGeneration, folder, "WhisperForConditionalGeneration.from_pretrained(DIR)")
    else:
        # The embedding and last norm of a decoder without layers: nothing that the encoder's states go through.
        _check_names(WhisperModel, folder, "WhisperModel.from_pretrained(DIR)", may_miss="decoder.")
    check_equal(safetensors_folder(folder), content.tensors, call="DIR/model.safetensors", where=str(folder))


def _write_encoder(folder: Path, content: Content) -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor

    settings = {"decoder_layers": 0, "architectures": ["WhisperEncoder"], "dtype": content.dtype_name}
    _write_tensors(folder, content.encoder, content)
    WhisperConfig(**content.config.to_dict() | settings).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=content.config.num_mel_bins).save_pretrained(folder)


def _check_encoder(folder: Path, content: Content) -> None:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    _check_names(WhisperEncoder, folder, "WhisperEncoder.from_pretrained(DIR/encoder)")
    check_equal(safetensors_folder(folder), content.encoder, call="DIR/encoder/model.safetensors", where=str(folder))


def _write_qwen2_audio(folder: Path, content: Content) -> None:
    from transformers import Qwen2AudioEncoderConfig, WhisperFeatureExtractor

    ours = content.config
    # What Qwen2-Audio's tower shares with Whisper's; its pooling to 25 Hz has no weights.
    shared = (
        "num_mel_bins", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "encoder_layerdrop", "d_model",
        "dropout", "attention_dropout", "activation_function", "activation_dropout", "scale_embedding",
        "max_source_positions",
    )  # fmt: skip
    config = Qwen2AudioEncoderConfig(
        **{name: getattr(ours, name) for name in shared},
        initializer_range=ours.init_std,
        architectures=["Qwen2AudioEncoder"],
        dtype=content.dtype_name,
    )
    _write_tensors(folder, content.encoder, content)
    config.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=ours.num_mel_bins).save_pretrained(folder)


def _check_qwen2_audio(folder: Path, content: Content) -> None:
    from transformers import Qwen2AudioEncoder

    _check_names(Qwen2AudioEncoder, folder, "Qwen2AudioEncoder.from_pretrained(DIR/qwen2-audio)")
    check_equal(
        safetensors_folder(folder), content.encoder, call="DIR/qwen2-audio/model.safetensors", where=str(folder)
    )


def _write_tensors(folder: Path, tensors: LazyTensors, content: Content) -> None:
    write_safetensors(folder, shapes_of(tensors), tensors.__getitem__, content.dtype)


def _check_names(model_class: Any, folder: Path, call: str, *, may_miss: str | None = None) -> None:
    """What the class says when it loads the folder, without memory for the values."""
    try:
        with quiet_loading():
            _, info = model_class.from_pretrained(folder, device_map="meta", output_loading_info=True)
    except (RuntimeError, ValueError, OSError) as error:
        raise _not_loaded(f"{call} fails: {error}", folder) from None
    missing = sorted(name for name in info["missing_keys"] if may_miss is None or not name.startswith(may_miss))
    wrong = missing + sorted(info["unexpected_keys"]) + [str(key) for key in sorted(info["mismatched_keys"])]
    if wrong:
        raise _not_loaded(
            f"{call} does not give the trained weights: {len(wrong)} names differ, the first is '{wrong[0]}'", folder
        )


def _not_loaded(what: str, folder: Path) -> CheckpointError:
    return CheckpointError(
        what,
        where=str(folder),
        remedy="this transformers release loads Whisper differently; report it with its version",
    )


HF = Form("hf", "", "WhisperModel.from_pretrained('DIR').encoder", _write_whole, _check_whole)
ENCODER = Form(
    "encoder",
    "encoder",
    "WhisperEncoder.from_pretrained('DIR/encoder')",
    _write_encoder,
    _check_encoder,
    holds_decoder=False,
)
QWEN2_AUDIO = Form(
    "qwen2-audio",
    "qwen2-audio",
    "Qwen2AudioEncoder.from_pretrained('DIR/qwen2-audio')",
    _write_qwen2_audio,
    _check_qwen2_audio,
    holds_decoder=False,
)
