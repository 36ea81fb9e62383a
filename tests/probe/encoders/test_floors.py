"""Floors: what they compute, and that padding and neighbours stay out of it."""

import numpy as np
import pytest
import torch
from scipy.fft import dct
from transformers.audio_utils import mel_filter_bank

from whisper_aut.probe.encoders.base import Pooling
from whisper_aut.probe.encoders.floors import NUM_MFCC, logmel, mfcc


def tones(num_samples: int = 16_000) -> torch.Tensor:
    times = torch.arange(num_samples) / 16_000
    return torch.stack([0.3 * torch.sin(2 * torch.pi * hz * times) for hz in (300.0, 2000.0)])


@pytest.mark.parametrize(("make", "width"), [(mfcc, 20), (logmel, 80)])
def test_one_layer_of_ten_millisecond_frames(make, width):
    encoder = make()
    states = encoder.encode(tones(), [16_000, 8_000])
    (frames,) = states.layers
    assert frames.shape == (2, 100, width) and states.real.sum(dim=1).tolist() == [100, 50]
    assert encoder.is_floor and encoder.vector_size("mean") == encoder.vector_size("max") == 2 * width
    assert encoder.num_parameters == 0 and any("mean and standard deviation" in note for note in encoder.notes)


@pytest.mark.parametrize("make", [mfcc, logmel])
def test_a_clips_frames_do_not_depend_on_a_louder_neighbour(make):
    encoder = make()
    pair = tones()
    (together,) = encoder.encode(torch.stack([0.001 * pair[0], pair[1]]), [16_000] * 2).layers
    (alone,) = encoder.encode(0.001 * pair[:1], [16_000]).layers
    torch.testing.assert_close(together[:1], alone, atol=1e-4, rtol=1e-4)


def test_mfcc_equal_the_textbook():
    waveform = tones()[1:] + 0.01 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    (frames,) = mfcc().encode(waveform, [16_000]).layers
    padded = np.pad(waveform[0].numpy(), 200, mode="reflect")
    window = np.hanning(401)[:-1]
    power = np.abs([np.fft.rfft(window * padded[start : start + 400]) for start in range(0, 16_000, 160)]) ** 2
    filters = mel_filter_bank(201, 40, 0.0, 8000.0, 16_000, norm=None, mel_scale="htk")
    expected = dct(np.log(power @ filters + 1e-6), norm="ortho")[:, :NUM_MFCC]
    np.testing.assert_allclose(frames[0].numpy(), expected, atol=2e-2)


def test_floors_are_told_apart_by_their_content():
    assert mfcc().content_sha256 != logmel().content_sha256
    assert mfcc().content_sha256 == mfcc().content_sha256
    assert str(Pooling("mean", "real")) == "mean over real positions"
