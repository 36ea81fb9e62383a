"""Ultravox' way: an encoder class that takes the keys under ``model.encoder.`` of a whole model, or bare ones.

Ultravox (github.com/fixie-ai/ultravox, ultravox/model/ultravox_model.py; vLLM's port does the same) derives from
``WhisperEncoder`` with ``base_model_prefix = "model.encoder"`` and calls ``from_pretrained`` on it where the model's
name contains "whisper"; else it takes ``AutoModel.from_pretrained(name).encoder``. It is not a package that could be
installed, so the class attribute that decides is set on transformers' own class.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from whisper_aut.parity.consumers.base import Consumer, Found
from whisper_aut.parity.consumers.hugging_face import compare_encoder, front_end, load_checked
from whisper_aut.parity.reference import Reference

PREFIX = "model.encoder"


def _ultravox(part: str) -> Callable[[Path, Reference], Found]:
    def check(folder: Path, reference: Reference) -> Found:
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        # Of a whole model the decoder's keys are left over; Ultravox does not ask for them. Any other is unexpected.
        settings = {"base_model_prefix": PREFIX, "_keys_to_ignore_on_load_unexpected": [r"^model\.decoder\."]}
        tower: Any = type("UltravoxTower", (WhisperEncoder,), settings)
        encoder = load_checked(tower.from_pretrained, folder / part, reference, "Ultravox' encoder")
        return compare_encoder(encoder, front_end(folder / part, reference), reference, "Ultravox' encoder")

    return check


CONSUMERS = (
    Consumer("Ultravox' prefix", "hf", ("transformers",), f"class(WhisperEncoder: '{PREFIX}').from_pretrained(DIR)",
             _ultravox("")),
    Consumer("Ultravox' prefix", "encoder", ("transformers",),
             f"class(WhisperEncoder: '{PREFIX}').from_pretrained(DIR/encoder)", _ultravox("encoder")),
)  # fmt: skip
