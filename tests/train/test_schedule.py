"""The learning rate against transformers' cosine schedule, and the number of steps."""

import math
from itertools import pairwise

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

from whisper_aut.config import TrainConfig
from whisper_aut.train.schedule import learning_rate, total_steps


def config(**fields) -> TrainConfig:
    return TrainConfig(**({"steps": 100, "lr": 1e-3, "warmup_fraction": 0.05} | fields))


@pytest.mark.parametrize("steps", [1, 7, 100, 1000])
@pytest.mark.parametrize("warmup_fraction", [0.0, 0.05, 0.3])
def test_is_transformers_schedule_but_that_the_first_step_already_learns(steps, warmup_fraction):
    """In warm-up transformers' step n has n/W of the rate and ours (n+1)/W: its first step, at rate 0, is wasted."""
    ours = config(steps=steps, warmup_fraction=warmup_fraction)
    rates = [learning_rate(step, steps, ours) for step in range(steps)]
    warmup_steps = math.ceil(warmup_fraction * steps)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = get_cosine_schedule_with_warmup(optimizer, warmup_steps, steps)
    expected = []
    for _ in range(steps + 1):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:warmup_steps] == pytest.approx(expected[1 : warmup_steps + 1], rel=1e-9)
    assert rates[warmup_steps:] == pytest.approx(expected[warmup_steps:steps], rel=1e-9, abs=1e-15)


def test_warm_up_rises_to_the_peak_and_the_cosine_falls_from_it():
    ours = config(steps=200)
    rates = [learning_rate(step, 200, ours) for step in range(200)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[9] == rates[10] == pytest.approx(1e-3)
    assert all(low < high for low, high in pairwise(rates[:10]))
    assert all(high > low for high, low in pairwise(rates[10:]))
    assert min(rates) > 0
    assert rates[-1] < 1e-6


def test_the_cosine_ends_at_the_final_fraction():
    ours = config(steps=1000, final_lr_fraction=0.1)
    rates = [learning_rate(step, 1000, ours) for step in range(1000)]
    assert rates[-1] == pytest.approx(1e-4, rel=1e-2)
    assert min(rates[100:]) >= 1e-4


def test_steps_come_from_the_recipe_or_from_epochs_rounded_up():
    assert total_steps(config(steps=7), num_clips=10**6) == 7
    assert total_steps(TrainConfig(epochs=2, clips_per_step=128), 20_000_000) == 312_500
    assert total_steps(TrainConfig(epochs=1, clips_per_step=8), 17) == 3
    assert total_steps(TrainConfig(epochs=0.1, clips_per_step=8), 1) == 1
