"""Log-mel features against transformers.WhisperFeatureExtractor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from whisper_aut.constants import WINDOW_SAMPLES
from whisper_aut.data.features import LogMel


def _sounds(num_samples: int) -> np.ndarray:
    """Noise, a sweep, a click in silence and silence: [4, S], at very different levels."""
    rng = np.random.default_rng(0)
    time_sec = np.arange(num_samples) / 16_000
    click = np.zeros(num_samples)
    click[num_samples // 2] = 1.0
    sweep = 0.9 * np.sin(2 * np.pi * (50 + 900 * time_sec) * time_sec)
    return np.stack([1e-4 * rng.normal(size=num_samples), sweep, click, 0 * click]).astype(np.float32)


@pytest.mark.parametrize("num_mel_bins", [80, 128])
@pytest.mark.parametrize("duration_sec", [0.5, 3.5, 30.0])
def test_unpadded_features_equal_transformers(num_mel_bins, duration_sec):
    waveforms = _sounds(round(duration_sec * 16_000))
    reference = WhisperFeatureExtractor(feature_size=num_mel_bins)
    expected = reference(list(waveforms), sampling_rate=16_000, padding=False, return_tensors="np").input_features
    actual = LogMel(num_mel_bins)(torch.from_numpy(waveforms))
    assert actual.shape == (4, num_mel_bins, round(duration_sec * 100))
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("num_mel_bins", [80, 128])
def test_silence_padded_in_the_waveform_equals_transformers_padding(num_mel_bins):
    waveforms = _sounds(40_123)
    expected = WhisperFeatureExtractor(feature_size=num_mel_bins)(
        list(waveforms), sampling_rate=16_000, return_tensors="np"
    ).input_features
    padded = torch.zeros(4, WINDOW_SAMPLES)
    padded[:, :40_123] = torch.from_numpy(waveforms)
    np.testing.assert_allclose(LogMel(num_mel_bins)(padded).numpy(), expected, atol=1e-4)


def test_a_clips_features_do_not_depend_on_its_neighbours():
    waveforms = torch.from_numpy(_sounds(16_000))
    log_mel = LogMel(80)
    together = log_mel(waveforms)
    for index in range(len(waveforms)):
        torch.testing.assert_close(together[index], log_mel(waveforms[index : index + 1])[0])


def test_autocast_and_half_precision_input_change_nothing():
    waveforms = torch.from_numpy(_sounds(16_000))
    log_mel = LogMel(80)
    expected = log_mel(waveforms)
    with torch.autocast("cpu", torch.bfloat16):
        actual = log_mel(waveforms)
    assert actual.dtype == torch.float32
    assert torch.equal(actual, expected)


def test_it_adds_nothing_to_a_state_dict():
    assert not LogMel(80).state_dict()
