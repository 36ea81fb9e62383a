"""The parts of a step: the ledger's digest, the numbers of the step line, and the feed of a GPU."""

import random
import time

import numpy as np
import pytest
import torch

from whisper_aut.constants import IGNORE_LABEL, SAMPLE_RATE
from whisper_aut.data.features import LogMel
from whisper_aut.data.loader import Batch
from whisper_aut.data.plan import MicroBatch
from whisper_aut.train.step import StepOutcome, _CudaFeed, clips_digest, rates


def test_a_digest_stands_for_the_clips_and_not_for_their_order_or_their_ranks():
    ids = [f"clip-{index}" for index in range(64)]
    shuffled = random.Random(0).sample(ids, len(ids))
    assert clips_digest(shuffled) == clips_digest(ids)
    assert clips_digest(ids[:20]) + clips_digest(ids[20:]) == clips_digest(ids)


def test_another_clip_one_less_or_one_twice_is_another_digest():
    ids = [f"clip-{index}" for index in range(64)]
    others = [ids[:-1], [*ids, ids[0]], [*ids[:-1], ids[0]], [*ids[:-1], "clip-64"]]
    digests = {clips_digest(found) for found in [ids, *others]}
    assert len(digests) == 1 + len(others)


def test_the_digest_of_the_largest_step_is_exact_in_the_float64_that_ranks_add():
    most = 2**32 * 65_536  # the highest digest of a clip, times train.clips_per_step at most
    assert int(np.float64(most - 1)) == most - 1


def outcome(**values) -> StepOutcome:
    defaults = {
        "loss": 1.0, "grad_norm": 1.0, "skipped": None, "suspects": (), "num_clips": 16, "num_tokens": 99,
        "num_samples": 80 * SAMPLE_RATE, "clips_digest": 1, "num_quarantined": 0, "num_silent": 0,
        "flops": 4e12, "stop": False,
    }  # fmt: skip
    return StepOutcome(**(defaults | values))


def test_rates_are_of_the_step_with_the_wait_for_its_data():
    found = rates(outcome(), begun_sec=time.monotonic() - 1.5, wait_sec=0.5, peak_flops=8e12)
    assert found["step_sec"] == pytest.approx(2.0, abs=0.05)
    assert found["clips_per_sec"] == pytest.approx(8.0, rel=0.05)
    assert found["audio_sec_per_sec"] == pytest.approx(40.0, rel=0.05)
    assert found["mfu"] == pytest.approx(0.25, rel=0.05)
    assert found["loader_wait_sec"] == 0.5


def test_without_a_known_peak_there_is_no_utilisation():
    assert "mfu" not in rates(outcome(), begun_sec=time.monotonic() - 1, wait_sec=0.0, peak_flops=None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_feed_of_a_gpu_gives_the_features_of_the_cpu_in_order():
    generator = torch.Generator().manual_seed(0)
    batches = [
        Batch(
            waveforms=0.1 * torch.randn(4, 80_000, generator=generator),
            num_samples=torch.full((4,), 80_000),
            decoder_input_ids=torch.full((4, 8), index),
            labels=torch.full((4, 8), IGNORE_LABEL),
            domains=("speech",) * 4,
            ids=("a", "b", "c", "d"),
            micro_batch=MicroBatch(step=0, index=index, clips=(), context="trimmed", num_frames=500),
            quarantined=(),
        ).pin_memory()
        for index in range(5)
    ]
    log_mel = LogMel(128)
    expected = [log_mel(batch.waveforms) for batch in batches]
    feed = _CudaFeed(LogMel(128).cuda(), torch.device("cuda", 0))
    for index, (batch, features) in enumerate(feed(batches)):
        torch.randn(4096, 4096, device="cuda") @ torch.randn(4096, 4096, device="cuda")  # work beside the copies
        assert int(batch.decoder_input_ids[0, 0]) == index
        torch.testing.assert_close(features.cpu(), expected[index], rtol=1e-3, atol=1e-3)
