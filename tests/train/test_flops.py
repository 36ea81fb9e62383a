"""Useful work against what PyTorch counts and what is published; peaks that are looked up, measured or unknown."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import WhisperConfig

from whisper_aut.constants import HOP_LENGTH, IGNORE_LABEL, SAMPLE_RATE, WINDOW_FRAMES
from whisper_aut.model.loss import WhisperSummedLoss
from whisper_aut.train.flops import (
    FORWARD_AND_BACKWARD,
    forward_flops,
    gpu_peak_flops,
    peak_flops,
    real_tokens,
    useful_flops,
)

LARGE_V3 = WhisperConfig(
    d_model=1280, encoder_layers=32, decoder_layers=32, encoder_attention_heads=20, decoder_attention_heads=20,
    encoder_ffn_dim=5120, decoder_ffn_dim=5120, vocab_size=51866, num_mel_bins=128,
)  # fmt: skip


def counted(module: WhisperSummedLoss, num_frames: int, num_tokens: int, *, num_clips: int) -> int:
    """What PyTorch counts of one forward and backward. Plain attention: a fused one it does not count exactly."""
    module.whisper.set_attn_implementation("eager")
    tokens = torch.full((num_clips, num_tokens), 5)
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(num_clips, 80, num_frames), tokens, tokens).backward()
    return counter.get_total_flops()


@pytest.mark.parametrize(("duration_sec", "tokens", "tera"), [(30, 64, 8.1), (10, 64, 2.7), (5, 32, 1.3)])
def test_large_v3_forward_and_backward_is_as_known(duration_sec, tokens, tera):
    assert useful_flops(LARGE_V3, [duration_sec * SAMPLE_RATE], [tokens]) / 1e12 == pytest.approx(tera, rel=0.05)
    assert 3 * forward_flops(LARGE_V3, duration_sec * 50, tokens) / 1e12 == pytest.approx(tera, rel=0.05)


@pytest.mark.parametrize("num_frames", [200, WINDOW_FRAMES])
def test_a_forward_equals_what_pytorch_counts(small_whisper, num_frames):
    whisper = small_whisper()
    module = WhisperSummedLoss(whisper)
    tokens = torch.full((1, 64), 5)
    whisper.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, 80, num_frames), tokens, tokens)
    assert forward_flops(whisper.config, num_frames // 2, 64) == pytest.approx(counter.get_total_flops(), rel=0.02)


@pytest.mark.parametrize("num_frames", [200, 1000])
def test_forward_and_backward_equal_what_pytorch_counts(small_whisper, num_frames):
    """Within 2%: all that is missing is the gradient of the features, which nobody needs (see the constant)."""
    whisper = small_whisper(d_model=64, encoder_ffn_dim=256, decoder_ffn_dim=256, encoder_layers=6)
    found = counted(WhisperSummedLoss(whisper), num_frames, 64, num_clips=2)
    convolution = 2 * 2 * 3 * 80 * 64 * num_frames
    useful = useful_flops(whisper.config, [num_frames * HOP_LENGTH] * 2, [64, 64])
    assert useful - convolution == pytest.approx(found, rel=0.02)


def test_recomputed_activations_count_for_nothing(small_whisper):
    settings = {"d_model": 64, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256, "encoder_layers": 6}
    plain = counted(WhisperSummedLoss(small_whisper(**settings)), 1000, 64, num_clips=1)
    whisper = small_whisper(**settings).train()
    again = counted(WhisperSummedLoss(whisper, gradient_checkpointing=True), 1000, 64, num_clips=1)
    assert again > 1.2 * plain  # a third forward, of the layers alone
    assert useful_flops(whisper.config, [1000 * HOP_LENGTH], [64]) == pytest.approx(plain, rel=0.05)


def test_padding_counts_for_nothing():
    alone = [useful_flops(LARGE_V3, [seconds * SAMPLE_RATE], [tokens]) for seconds, tokens in ((2, 10), (9, 40))]
    together = useful_flops(LARGE_V3, torch.tensor([2, 9]) * SAMPLE_RATE, torch.tensor([10, 40]))
    assert together == pytest.approx(sum(alone))
    assert alone[0] == pytest.approx(FORWARD_AND_BACKWARD * forward_flops(LARGE_V3, 100, 10))


def test_real_tokens_end_with_the_last_label_that_counts():
    masked = IGNORE_LABEL
    labels = torch.tensor([[masked, masked, 7, 8], [masked, 5, masked, masked], [masked] * 4])
    assert real_tokens(labels).tolist() == [4, 2, 0]


@pytest.mark.parametrize(
    ("name", "bf16", "fp32"),
    [
        ("NVIDIA H200", 989, 67),
        ("NVIDIA H100 80GB HBM3", 989, 67),
        ("NVIDIA H100 PCIe", 756, 51),
        ("NVIDIA A100-SXM4-80GB", 312, 19.5),
        ("A100-PCIE-40GB", 312, 19.5),
        ("NVIDIA A10", 125, 31.2),
        ("NVIDIA L4", 121, 30.3),
        ("NVIDIA L40S", 362, 91.6),
        ("NVIDIA GeForce RTX 4090", 165.2, 82.6),
    ],
)
def test_known_gpus(name, bf16, fp32):
    assert gpu_peak_flops(name, "bf16") == bf16 * 1e12
    assert gpu_peak_flops(name, "fp32") == fp32 * 1e12


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA H900",
        "NVIDIA A10G",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "H200",
        "",
    ],
)
def test_a_gpu_that_is_not_in_the_table_has_no_peak(name):
    assert gpu_peak_flops(name, "bf16") is None


def test_a_cpu_has_no_peak():
    assert peak_flops("cpu", "fp32") is None
    assert peak_flops("meta", "bf16") is None
