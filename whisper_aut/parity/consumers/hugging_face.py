"""transformers: ``WhisperModel``, ``WhisperForConditionalGeneration``, ``WhisperEncoder`` and ``AutoModel``.

``from_pretrained`` fills what it does not find with random numbers and only warns. So keys are compared as the file has
them and as the class reports them, then every value, then the states.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.model.base import quiet_loading
from whisper_aut.model.tensors import safetensors_folder
from whisper_aut.parity.compare import Mismatch, check_names, check_weights, distance
from whisper_aut.parity.consumers.base import Consumer, Found, LeftOut
from whisper_aut.parity.reference import Reference

NO_DECODER = "the export keeps no decoder (export with --keep-decoder adapted or original)"


def load_checked(load: Callable[..., Any], folder: Path, reference: Reference, what: str, **settings: Any) -> Any:
    """``load`` a folder and compare the keys of file and class.

    Raises:
        Mismatch: a key is missing, unexpected or of another shape. Without a decoder its keys may be missing.
    """
    with quiet_loading():
        model, info = load(folder, output_loading_info=True, **settings)
    missing = {key for key in info["missing_keys"] if reference.keeps_decoder or not key.startswith("decoder.")}
    reported = {
        "missing": missing,
        "unexpected": set(info["unexpected_keys"]),
        "of another shape": {str(key[0]) for key in info["mismatched_keys"]},
    }
    wrong = [f"{len(keys)} {kind}, the first is '{min(keys)}'" for kind, keys in reported.items() if keys]
    if wrong:
        raise Mismatch(f"keys that {what} reports: {'; '.join(wrong)}")
    return model.eval()


def expected_names(folder: Path, reference: Reference) -> set[str]:
    """The keys that the form ``hf`` must have on the disk: with a decoder the whole model's, else its encoder's."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    if not reference.keeps_decoder:
        return {f"model.encoder.{name}" for name in reference.weights}
    with torch.device("meta"):
        whole = WhisperForConditionalGeneration(WhisperConfig.from_pretrained(folder))
    return set(whole.state_dict()) - {"proj_out.weight"}  # tied to the embedding


def front_end(folder: Path, reference: Reference) -> torch.Tensor:
    """The export's own feature extractor on the clips: [B, M, 3000]."""
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    waveforms = [clip.waveform for clip in reference.clips]
    features: torch.Tensor = extractor(waveforms, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
    return features


def compare_encoder(encoder: Any, features: torch.Tensor, reference: Reference, what: str) -> Found:
    """Weights by value in the precision that was loaded, then final states of the full window."""
    check_weights(encoder.state_dict(), reference.weights, what)
    encoder, computed_in = in_arithmetic(encoder, reference)
    with torch.no_grad():
        states = encoder(features.to(encoder.dtype), return_dict=True).last_hidden_state
    return Found(distance(states.float(), reference.states), computed_in=computed_in)


def in_arithmetic(model: Any, reference: Reference) -> tuple[Any, str]:
    """Return a model, cast in place, that computes in the reference's arithmetic, and that type's name."""
    if reference.states_dtype is not None:
        model = model.to(reference.states_dtype)
    return model, str(model.dtype).removeprefix("torch.")


def _whole_form(class_name: str, encoder_of: Callable[[Any], Any]) -> Callable[[Path, Reference], Found]:
    def check(folder: Path, reference: Reference) -> Found:
        import transformers

        check_names(set(safetensors_folder(folder)), expected_names(folder, reference), "model.safetensors")
        model = load_checked(getattr(transformers, class_name).from_pretrained, folder, reference, class_name)
        return compare_encoder(encoder_of(model), front_end(folder, reference), reference, class_name)

    return check


def _conditional_generation(folder: Path, reference: Reference) -> Found:
    if not reference.keeps_decoder:
        raise LeftOut(NO_DECODER)
    check = _whole_form("WhisperForConditionalGeneration", lambda model: model.model.encoder)
    return check(folder, reference)


def _bare_form(folder: Path, reference: Reference) -> Found:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    check_names(set(safetensors_folder(folder / "encoder")), set(reference.weights), "encoder/model.safetensors")
    encoder = load_checked(WhisperEncoder.from_pretrained, folder / "encoder", reference, "WhisperEncoder")
    return compare_encoder(encoder, front_end(folder / "encoder", reference), reference, "WhisperEncoder")


_PACKAGES = ("transformers",)
CONSUMERS = (
    Consumer("transformers WhisperModel", "hf", _PACKAGES, "WhisperModel.from_pretrained(DIR).encoder",
             _whole_form("WhisperModel", lambda model: model.encoder)),
    Consumer("transformers AutoModel", "hf", _PACKAGES, "AutoModel.from_pretrained(DIR).encoder",
             _whole_form("AutoModel", lambda model: model.encoder)),
    Consumer("transformers WhisperForConditionalGeneration", "hf", _PACKAGES,
             "WhisperForConditionalGeneration.from_pretrained(DIR).model.encoder", _conditional_generation),
    Consumer("transformers WhisperEncoder", "encoder", _PACKAGES, "WhisperEncoder.from_pretrained(DIR/encoder)",
             _bare_form),
)  # fmt: skip
