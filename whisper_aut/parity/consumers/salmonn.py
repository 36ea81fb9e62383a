"""The SALMONN way: ``WhisperModel.from_pretrained(path).encoder``, then an own norm of the encoder's width.

SALMONN (github.com/bytedance/SALMONN, models/salmonn.py) takes ``.encoder`` and ``.encoder.config.d_model``, feeds 30 s
of features with ``return_dict=True`` and cuts the states into windows of round(1500 * 0.333333 / 30) = 17 positions. It
has a copy of Whisper's code with the same names; it is not a package, so transformers' class stands for it.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from whisper_aut.parity.compare import Mismatch
from whisper_aut.parity.consumers.base import Consumer, Found
from whisper_aut.parity.consumers.hugging_face import compare_encoder, front_end, load_checked
from whisper_aut.parity.reference import Reference


def _salmonn(folder: Path, reference: Reference) -> Found:
    from transformers import WhisperModel

    speech_encoder = load_checked(WhisperModel.from_pretrained, folder, reference, "WhisperModel").encoder
    width = nn.LayerNorm(speech_encoder.config.d_model).normalized_shape[0]
    if width != reference.states.shape[-1]:
        raise Mismatch(f"config.d_model is {width}, the states are {reference.states.shape[-1]} wide")
    return compare_encoder(speech_encoder, front_end(folder, reference), reference, "WhisperModel.encoder")


CONSUMERS = (
    Consumer("SALMONN's loading", "hf", ("transformers",), "WhisperModel.from_pretrained(path).encoder", _salmonn),
)
