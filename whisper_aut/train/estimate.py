"""What a run will cost before it starts: memory by ZeRO stage and work. Estimates, and called so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whisper_aut.config import TrainConfig
from whisper_aut.constants import POSITIONS_PER_SEC, WINDOW_POSITIONS
from whisper_aut.train.flops import FORWARD_AND_BACKWARD, forward_flops, gpu_peak_flops

if TYPE_CHECKING:
    from transformers import WhisperConfig

# Bytes per parameter that ZeRO handles: rounded weights 2, gradients summed in float32 4, float32 master and two
# moments 12 (Rajbhandari et al. 2020, section 3, with float32 gradient accumulation).
_WEIGHT_BYTES, _GRAD_BYTES, _OPTIMIZER_BYTES = 2, 4, 12
# The GPUs that a plan speaks of, under their drivers' names.
_PLANNED_ON = {"H200": "NVIDIA H200", "A100 80 GB": "NVIDIA A100-SXM4-80GB"}
# Peak of their dense bfloat16 products, TFLOP/s.
PEAK_TFLOPS = {device: (gpu_peak_flops(name, "bf16") or 0.0) / 1e12 for device, name in _PLANNED_ON.items()}
# Share of that peak that a well-fed run reaches; an assumption, said beside every number that rests on it.
ASSUMED_MFU = 0.4


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


def hours(total_flops: float, device: str, num_gpus: int, mfu: float = ASSUMED_MFU) -> float:
    """Hours of wall time on ``num_gpus`` of a device of ``PEAK_TFLOPS``, were the whole run at ``mfu`` of its peak."""
    return total_flops / (PEAK_TFLOPS[device] * 1e12 * mfu * num_gpus) / 3600
