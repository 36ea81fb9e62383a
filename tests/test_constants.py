"""The numbers of Whisper, and what is derived from them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import WhisperConfig, WhisperFeatureExtractor

from whisper_aut import constants
from whisper_aut.constants import (
    BUCKET_FRAMES,
    HOP_LENGTH,
    WINDOW_FRAMES,
    WINDOW_POSITIONS,
    WINDOW_SAMPLES,
    context_frames,
    num_samples_of,
    real_positions,
)


def test_are_those_of_transformers():
    extractor, config = WhisperFeatureExtractor(), WhisperConfig()
    assert extractor.sampling_rate == constants.SAMPLE_RATE
    assert extractor.n_fft == constants.N_FFT
    assert extractor.hop_length == HOP_LENGTH
    assert extractor.chunk_length == constants.WINDOW_SEC
    assert extractor.n_samples == WINDOW_SAMPLES
    assert extractor.nb_max_frames == WINDOW_FRAMES
    assert config.max_source_positions == WINDOW_POSITIONS
    assert config.max_target_positions == constants.MAX_TOKENS


@pytest.mark.parametrize(
    ("num_samples", "frames"),
    [(1, 50), (8000, 50), (8001, 100), (16_000, 100), (479_999, 3000), (480_000, 3000), (999_999, 3000)],
)
def test_a_trimmed_context_is_the_clip_rounded_up_to_half_a_second(num_samples, frames):
    assert context_frames(num_samples, "trimmed") == frames
    assert context_frames(num_samples, "full") == WINDOW_FRAMES


@given(st.integers(1, WINDOW_SAMPLES))
def test_a_trimmed_context_holds_the_clip_is_even_and_is_not_half_a_second_longer(num_samples):
    frames = context_frames(num_samples, "trimmed")
    assert frames % 2 == 0
    assert frames % BUCKET_FRAMES == 0
    assert 0 <= frames * HOP_LENGTH - num_samples < BUCKET_FRAMES * HOP_LENGTH


@given(st.integers(1, 2 * WINDOW_SAMPLES))
def test_real_positions_are_those_of_the_audio_and_fit_the_context(num_samples):
    positions = real_positions(num_samples)
    assert 1 <= positions <= min(WINDOW_POSITIONS, context_frames(num_samples, "trimmed") // 2)
    assert positions == min(WINDOW_POSITIONS, math.ceil(num_samples / 320))


def test_durations_become_samples_by_rounding():
    assert num_samples_of(1.064) == 17_024
    assert num_samples_of(0.723) == 11_568
    assert num_samples_of(30) == WINDOW_SAMPLES
