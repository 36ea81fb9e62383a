"""What a run will cost before it starts: memory by ZeRO stage, work, and time on the device that is here."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from whisper_aut.config import TrainConfig
from whisper_aut.constants import POSITIONS_PER_SEC, WINDOW_POSITIONS
from whisper_aut.train.flops import FORWARD_AND_BACKWARD, encoder_layer_flops, forward_flops, gpu_peak_flops

if TYPE_CHECKING:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

# Bytes per parameter that ZeRO handles: rounded weights 2, gradients summed in float32 4, float32 master and two
# moments 12 (Rajbhandari et al. 2020, section 3, with float32 gradient accumulation).
_WEIGHT_BYTES, _GRAD_BYTES, _OPTIMIZER_BYTES = 2, 4, 12
# The GPUs that a plan speaks of, under their drivers' names.
_PLANNED_ON = {"H200": "NVIDIA H200", "A100 80 GB": "NVIDIA A100-SXM4-80GB"}
# Peak of their dense bfloat16 products, TFLOP/s.
PEAK_TFLOPS = {device: (gpu_peak_flops(name, "bf16") or 0.0) / 1e12 for device, name in _PLANNED_ON.items()}
# Share of that peak that a well-fed run reaches; an assumption, said beside every number that rests on it.
ASSUMED_MFU = 0.4


_MEASURE_SEC = 1.0


@dataclass(frozen=True)
class Estimate:
    """Of one run; ``gb_by_stage`` is weights, gradients and optimizer per rank, without activations."""

    num_parameters: int
    gb_by_stage: dict[int, float]
    total_flops: float


def estimate_run(
    whisper: WhisperConfig,
    num_parameters: int,
    config: TrainConfig,
    *,
    steps: int,
    world_size: int,
    mean_clip_sec: float,
    mean_text_tokens: float,
) -> Estimate:
    """Estimate memory and work of ``steps`` steps on clips of ``mean_clip_sec`` seconds."""
    full = config.full_window_fraction
    clip_flops = (1 - full) * forward_flops(whisper, round(mean_clip_sec * POSITIONS_PER_SEC), mean_text_tokens)
    clip_flops += full * forward_flops(whisper, WINDOW_POSITIONS, mean_text_tokens)
    parts = {
        1: _WEIGHT_BYTES + _GRAD_BYTES + _OPTIMIZER_BYTES / world_size,
        2: _WEIGHT_BYTES + (_GRAD_BYTES + _OPTIMIZER_BYTES) / world_size,
        3: (_WEIGHT_BYTES + _GRAD_BYTES + _OPTIMIZER_BYTES) / world_size,
    }
    return Estimate(
        num_parameters=num_parameters,
        gb_by_stage={stage: num_parameters * size / 1e9 for stage, size in parts.items()},
        total_flops=FORWARD_AND_BACKWARD * clip_flops * steps * config.clips_per_step,
    )


def engine_bytes(num_parameters: int, world_size: int) -> int:
    """Return the least that a rank's gradients, masters and moments take beyond its weights, at any ZeRO stage."""
    return num_parameters * (_GRAD_BYTES + _OPTIMIZER_BYTES) // world_size


def hours(total_flops: float, device: str, num_gpus: int, mfu: float = ASSUMED_MFU) -> float:
    """Hours of wall time on ``num_gpus`` of a device of ``PEAK_TFLOPS``, were the whole run at ``mfu`` of its peak."""
    return total_flops / (PEAK_TFLOPS[device] * 1e12 * mfu * num_gpus) / 3600


def measure_flops(
    encoder: WhisperEncoder, dtype: torch.dtype, device: torch.device | str, *, num_positions: int, num_clips: int
) -> float:
    """Return the FLOP/s of one encoder layer, forward and backward, on ``device``: the best of about a second.

    A whole step is slower: the optimizer, validation and checkpoints come on top. The encoder stays as it is.

    Args:
        encoder: its last layer is copied.
        dtype: of the copy and of its input.
        device: where the run would train.
        num_positions: T, of a clip.
        num_clips: B, of a micro-batch.
    """
    layer = copy.deepcopy(encoder.layers[-1]).to(device, dtype).train().requires_grad_(True)
    hidden = torch.randn(num_clips, num_positions, encoder.config.d_model, device=device, dtype=dtype)
    hidden.requires_grad_(True)
    best_sec, rounds, begun_sec = float("inf"), 0, time.perf_counter()
    while not rounds or time.perf_counter() - begun_sec < _MEASURE_SEC:
        round_sec = time.perf_counter()
        layer(hidden, None).sum().backward()
        if hidden.device.type == "cuda":
            torch.cuda.synchronize(hidden.device)
        best_sec = min(best_sec, time.perf_counter() - round_sec)
        rounds += 1
    return FORWARD_AND_BACKWARD * num_clips * encoder_layer_flops(encoder.config, num_positions) / best_sec
