"""Work and memory before a run, against published and counted numbers."""

import pytest
import torch
from transformers import WhisperConfig

from whisper_aut.config import TrainConfig
from whisper_aut.train.estimate import PEAK_TFLOPS, estimate_run, hours, measure_flops
from whisper_aut.train.flops import encoder_layer_flops, forward_flops

LARGE_V3 = WhisperConfig(
    d_model=1280, encoder_layers=32, decoder_layers=32, encoder_attention_heads=20, decoder_attention_heads=20,
    encoder_ffn_dim=5120, decoder_ffn_dim=5120, vocab_size=51866, num_mel_bins=128,
)  # fmt: skip


def test_memory_by_stage_follows_the_zero_paper():
    """18 bytes a parameter; stage 1 splits 12 of them over the ranks, stage 2 16, stage 3 all."""
    train = TrainConfig(steps=10)
    estimate = estimate_run(LARGE_V3, 10**9, train, steps=10, world_size=8, mean_clip_sec=10, mean_text_tokens=64)
    assert estimate.gb_by_stage == pytest.approx({1: 6 + 12 / 8, 2: 2 + 16 / 8, 3: 18 / 8})
    alone = estimate_run(LARGE_V3, 10**9, train, steps=10, world_size=1, mean_clip_sec=10, mean_text_tokens=64)
    assert set(alone.gb_by_stage.values()) == {18.0}


def test_work_counts_steps_clips_and_the_full_window():
    def flops(**fields) -> float:
        train = TrainConfig(steps=1, clips_per_step=8, **fields)
        return estimate_run(
            LARGE_V3, 1, train, steps=3, world_size=1, mean_clip_sec=10, mean_text_tokens=64
        ).total_flops

    trimmed, full = flops(full_window_fraction=0.0), flops(full_window_fraction=1.0)
    assert trimmed == pytest.approx(3 * 8 * 3 * forward_flops(LARGE_V3, 500, 64))
    assert full == pytest.approx(3 * 8 * 3 * forward_flops(LARGE_V3, 1500, 64))
    assert flops(full_window_fraction=0.25) == pytest.approx(0.75 * trimmed + 0.25 * full)


def test_hours_are_work_over_what_the_gpus_do():
    work = 8 * 0.4 * 989e12 * 3600  # of eight H200 in an hour at 40% of their peak
    assert hours(work, "H200", 8) == pytest.approx(1.0)
    assert hours(work, "A100 80 GB", 8) == pytest.approx(989 / 312)
    assert hours(work, "H200", 16, mfu=0.2) == pytest.approx(1.0)
    assert set(PEAK_TFLOPS) == {"H200", "A100 80 GB"}


def test_a_layers_speed_is_measured_and_leaves_the_encoder_alone(small_whisper):
    encoder = small_whisper(d_model=64, encoder_ffn_dim=256).model.encoder
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    speed = measure_flops(encoder, torch.float32, "cpu", num_positions=100, num_clips=2)
    # Counted as the calculator counts: a layer of width 64 is at least a thousandth of a core's speed.
    assert 1e7 < speed < 1e14
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_the_layers_are_the_encoder_but_for_its_convolutions():
    layers = LARGE_V3.encoder_layers * encoder_layer_flops(LARGE_V3, 500)
    without = WhisperConfig(**LARGE_V3.to_dict() | {"encoder_layers": 0})
    assert forward_flops(LARGE_V3, 500, 64) - forward_flops(without, 500, 64) == pytest.approx(layers)
