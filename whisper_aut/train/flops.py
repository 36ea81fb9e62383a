"""The work that training has to do, and the most that a device can do: what a utilisation is made of.

Model FLOPs as in PaLM (Chowdhery et al. 2022, appendix B): one forward and one backward, multiply-adds counted as two,
whatever is computed beyond that left out. Here padding is left out too: of two runs that train on the same clips in the
same time, both have the same utilisation, however much silence one of them computes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from whisper_aut.constants import FRAMES_PER_SEC, IGNORE_LABEL, MAX_TOKENS, POSITIONS_PER_SEC, real_positions

if TYPE_CHECKING:
    from transformers import WhisperConfig

Precision = Literal["bf16", "fp32"]

# A backward costs two forwards. The first convolution needs no gradient of its input, which this counts nevertheless:
# 0.04% of large-v3's work on ten seconds, 0.9% of tiny's.
FORWARD_AND_BACKWARD = 3


@dataclass(frozen=True)
class _Peak:
    """Dense products of one GPU, TFLOP/s; ``name`` is a pattern of what the driver calls it, from end to end."""

    name: str
    bf16: float
    fp32: float


# From NVIDIA's data sheets and white papers, without sparsity; bf16 with float32 accumulation, fp32 without TF32. A
# partition (MIG), a laptop's or a cut-down GPU has another name, hence is unknown.
_GPUS = (
    _Peak(r"NVIDIA H200", bf16=989, fp32=67),
    _Peak(r"NVIDIA H200 NVL", bf16=835, fp32=60),
    _Peak(r"NVIDIA GH200 \d+GB", bf16=990, fp32=67),
    _Peak(r"NVIDIA H100 \d+GB HBM3", bf16=989, fp32=67),  # SXM
    _Peak(r"NVIDIA H100 NVL", bf16=835, fp32=60),
    _Peak(r"NVIDIA H100 PCIe", bf16=756, fp32=51),
    _Peak(r"(NVIDIA )?A100-(SXM4|PCIE)-\d+GB|NVIDIA A100 80GB PCIe", bf16=312, fp32=19.5),
    _Peak(r"NVIDIA A30", bf16=165, fp32=10.3),
    _Peak(r"(NVIDIA )?A10", bf16=125, fp32=31.2),
    _Peak(r"NVIDIA A40", bf16=149.7, fp32=37.4),
    _Peak(r"NVIDIA L4", bf16=121, fp32=30.3),
    _Peak(r"NVIDIA L40", bf16=181, fp32=90.5),
    _Peak(r"NVIDIA L40S", bf16=362, fp32=91.6),
    _Peak(r"NVIDIA RTX A6000", bf16=154.8, fp32=38.7),
    _Peak(r"NVIDIA GeForce RTX 4090", bf16=165.2, fp32=82.6),
    _Peak(r"NVIDIA GeForce RTX 3090", bf16=71, fp32=35.6),
)


def forward_flops(whisper: WhisperConfig, num_positions: int, num_tokens: float) -> float:
    """Multiply-adds counted as two, of one clip's forward: convolutions, encoder, decoder, vocabulary projection.

    Args:
        whisper: the model's shape.
        num_positions: T, encoder positions that are computed.
        num_tokens: L, decoder positions; attention is counted whole, as if it were not causal.
    """
    width = whisper.d_model
    num_tokens = min(num_tokens, MAX_TOKENS)
    frames = num_positions * FRAMES_PER_SEC // POSITIONS_PER_SEC
    convolutions = 2 * 3 * width * (frames * whisper.num_mel_bins + num_positions * width)
    encoder = whisper.encoder_layers * encoder_layer_flops(whisper, num_positions)
    decoder = whisper.decoder_layers * (
        num_tokens * 2 * (6 * width**2 + 2 * width * whisper.decoder_ffn_dim)
        + num_positions * 2 * 2 * width**2  # keys and values of cross attention
        + 4 * num_tokens * (num_tokens + num_positions) * width
    )
    return float(convolutions + encoder + decoder + 2 * num_tokens * width * whisper.vocab_size)


def encoder_layer_flops(whisper: WhisperConfig, num_positions: int) -> float:
    """Return the FLOPs of one encoder layer's forward over T = ``num_positions`` positions of one clip."""
    width = whisper.d_model
    products = 2 * (4 * width**2 + 2 * width * whisper.encoder_ffn_dim)
    return float(num_positions * products + 4 * num_positions**2 * width)


def useful_flops(
    whisper: WhisperConfig, num_samples: Sequence[int] | Tensor, num_tokens: Sequence[int] | Tensor
) -> float:
    """FLOPs of one forward and backward of all weights over these clips, nothing but the clips counted.

    Silence behind a clip, tokens behind its text and activations computed a second time are not counted.

    Args:
        whisper: the model's shape.
        num_samples: [B] samples at 16 kHz of each clip's own audio.
        num_tokens: [B] decoder positions of each clip's own text, as :func:`real_tokens` counts them.
    """
    samples, tokens = _whole_numbers(num_samples), _whole_numbers(num_tokens)
    return FORWARD_AND_BACKWARD * sum(
        forward_flops(whisper, real_positions(count), length) for count, length in zip(samples, tokens, strict=True)
    )


def real_tokens(labels: Tensor) -> Tensor:
    """Decoder positions [B] up to each clip's last counted label: start tokens, prompt and text, without padding.

    Args:
        labels: [B, L], ``IGNORE_LABEL`` where a position does not count.
    """
    places = torch.arange(1, labels.shape[1] + 1, device=labels.device)
    return ((labels != IGNORE_LABEL) * places).amax(dim=1)


def peak_flops(device: torch.device | str, precision: Precision) -> float | None:
    """Return the most FLOP/s that a GPU does in dense products of ``precision``; None where nobody knows.

    It is looked up by the GPU's name and never guessed. A CPU has none: what was measured beside other work would be
    too low, and a utilisation of more than 100% says nothing.
    """
    device = torch.device(device)
    return gpu_peak_flops(torch.cuda.get_device_name(device), precision) if device.type == "cuda" else None


def gpu_peak_flops(name: str, precision: Precision) -> float | None:
    """As :func:`peak_flops`, of a GPU by the name that its driver gives it, such as ``NVIDIA H200``."""
    for gpu in _GPUS:
        if re.fullmatch(gpu.name, name):
            return 1e12 * (gpu.bf16 if precision == "bf16" else gpu.fp32)
    return None


def _whole_numbers(values: Sequence[int] | Tensor) -> list[int]:
    return [int(value) for value in (values.tolist() if isinstance(values, Tensor) else values)]
