"""Whisper's encoder at any length up to its window: the audio that is there, and nothing else.

Legend: B clips, M mel bins, F mel frames, T encoder positions (F/2), D width.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from whisper_aut.constants import ENCODER_STRIDE

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder


def encode(encoder: WhisperEncoder, features: Tensor) -> Tensor:
    """Final encoder states after the last layer norm, positions counted from 0.

    Hugging Face's own ``forward`` refuses everything but 30 s; at 30 s this gives the same values. Submodules are
    called as modules (never their weights alone), so that ZeRO-3's parameter gathering sees each of them.

    Args:
        encoder: a Whisper encoder; its dropout is zero in every released model and is not applied here.
        features: log-mel [B, M, F], F even and at most twice the encoder's positions.

    Returns:
        States [B, T, D].

    Raises:
        ValueError: F is odd or longer than the encoder's window, or M is not the encoder's.
    """
    (states,) = deque(encode_layers(encoder, features), maxlen=1)
    return states


def encode_layers(encoder: WhisperEncoder, features: Tensor) -> Iterator[Tensor]:
    """The states [B, T, D] of every layer, one after another, in one pass: what enters the first block, what leaves
    each but the last, and the final states after the last layer norm. Hugging Face's ``hidden_states`` are the same.

    Arguments and errors as for :func:`encode`.
    """
    num_bins, num_frames = features.shape[-2:]
    max_frames = encoder.max_source_positions * ENCODER_STRIDE
    if num_frames % ENCODER_STRIDE or not 0 < num_frames <= max_frames:
        raise ValueError(f"{num_frames} mel frames; the encoder takes an even number up to {max_frames}")
    if num_bins != encoder.num_mel_bins:
        raise ValueError(f"{num_bins} mel bins; this encoder was trained on {encoder.num_mel_bins}")
    hidden = nn.functional.gelu(encoder.conv1(features))  # [B, D, F]
    hidden = nn.functional.gelu(encoder.conv2(hidden)).transpose(1, 2)  # [B, T, D]
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    hidden = hidden + encoder.embed_positions(positions).to(hidden.dtype)
    for layer in encoder.layers:
        yield hidden
        hidden = layer(hidden, None)
    yield encoder.layer_norm(hidden)
