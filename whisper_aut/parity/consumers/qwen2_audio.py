"""Qwen2-Audio's encoder, loaded strictly. It averages pairs of positions before the last norm: 25 states a second."""

from __future__ import annotations

from pathlib import Path

import torch

from whisper_aut.model.base import quiet_loading
from whisper_aut.model.tensors import safetensors_folder
from whisper_aut.parity.compare import check_weights, distance
from whisper_aut.parity.consumers.base import Consumer, Found
from whisper_aut.parity.consumers.hugging_face import in_arithmetic, load_checked
from whisper_aut.parity.reference import Reference


def _strict(folder: Path, reference: Reference) -> Found:
    from transformers import Qwen2AudioEncoder, Qwen2AudioEncoderConfig

    form = folder / "qwen2-audio"
    weights = dict(safetensors_folder(form))
    with quiet_loading():
        encoder = Qwen2AudioEncoder(Qwen2AudioEncoderConfig.from_pretrained(form))
    check_weights(weights, reference.weights, "qwen2-audio/model.safetensors")
    encoder.load_state_dict(weights, strict=True)
    return _pooled(encoder.to(next(iter(weights.values())).dtype).eval(), reference)


def _from_pretrained(folder: Path, reference: Reference) -> Found:
    from transformers import Qwen2AudioEncoder

    encoder = load_checked(Qwen2AudioEncoder.from_pretrained, folder / "qwen2-audio", reference, "Qwen2AudioEncoder")
    check_weights(encoder.state_dict(), reference.weights, "Qwen2AudioEncoder")
    return _pooled(encoder, reference)


def _pooled(encoder: torch.nn.Module, reference: Reference) -> Found:
    encoder, computed_in = in_arithmetic(encoder, reference)
    with torch.no_grad():
        states = encoder(reference.features).last_hidden_state
    note = "pairs averaged before the last norm, 25 Hz"
    return Found(distance(states.float(), reference.pooled_states), note, computed_in)


CONSUMERS = (
    Consumer("Qwen2AudioEncoder, strict", "qwen2-audio", ("transformers",),
             "Qwen2AudioEncoder(config).load_state_dict(…, strict=True)", _strict),
    Consumer("Qwen2AudioEncoder", "qwen2-audio", ("transformers",),
             "Qwen2AudioEncoder.from_pretrained(DIR/qwen2-audio)", _from_pretrained),
)  # fmt: skip
