"""The learning rate, a pure function of the step: linear warm-up, then a cosine."""

from __future__ import annotations

import math

from whisper_aut.config import TrainConfig


def learning_rate(step: int, total_steps: int, config: TrainConfig) -> float:
    """Learning rate of step ``step`` (from 0) of ``total_steps``."""
    warmup_steps = math.ceil(config.warmup_fraction * total_steps)
    if step < warmup_steps:
        return config.lr * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return config.lr * (config.final_lr_fraction + (1 - config.final_lr_fraction) * cosine)


def total_steps(config: TrainConfig, num_clips: int) -> int:
    """Optimizer steps of a run over ``num_clips`` training clips."""
    if config.steps is not None:
        return config.steps
    assert config.epochs is not None
    return max(1, math.ceil(config.epochs * num_clips / config.clips_per_step))
