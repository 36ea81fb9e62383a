"""``encode`` against Hugging Face's own encoder, and at lengths which that refuses."""

import pytest
import torch

from whisper_aut.constants import BUCKET_FRAMES, WINDOW_FRAMES, WINDOW_POSITIONS
from whisper_aut.model.encode import encode, encode_layers


def features(num_frames: int, num_bins: int = 80) -> torch.Tensor:
    return torch.randn(2, num_bins, num_frames, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("num_bins", [80, 128])
def test_equals_transformers_at_the_full_window(small_whisper, num_bins):
    encoder = small_whisper(num_mel_bins=num_bins).model.encoder
    mel = features(WINDOW_FRAMES, num_bins)
    with torch.no_grad():
        expected = encoder(mel).last_hidden_state
        found = encode(encoder, mel)
    assert found.shape == (2, WINDOW_POSITIONS, 16)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_real_weights_equal_transformers_at_the_full_window(tiny_en):
    encoder = tiny_en.model.model.encoder
    mel = features(WINDOW_FRAMES)[:1]
    with torch.no_grad():
        torch.testing.assert_close(encode(encoder, mel), encoder(mel).last_hidden_state, rtol=0, atol=1e-5)


def test_the_layers_equal_transformers_hidden_states(small_whisper):
    encoder = small_whisper().model.encoder
    mel = features(WINDOW_FRAMES)
    with torch.no_grad():
        expected = encoder(mel, output_hidden_states=True).hidden_states
        found = list(encode_layers(encoder, mel))
    assert len(found) == len(expected) == 3
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("num_frames", [2, BUCKET_FRAMES, 500, WINDOW_FRAMES - 2])
def test_a_trimmed_context_gives_one_position_for_two_frames(small_whisper, num_frames):
    with torch.no_grad():
        states = encode(small_whisper().model.encoder, features(num_frames))
    assert states.shape == (2, num_frames // 2, 16)
    assert bool(states.isfinite().all())


def test_a_trimmed_context_equals_transformers_encoder_built_for_that_length(small_whisper):
    """Hugging Face takes other lengths where the configuration says so; positions count from 0 in both."""
    long, short = small_whisper().model.encoder, small_whisper(max_source_positions=50).model.encoder
    weights = long.state_dict()
    weights["embed_positions.weight"] = weights["embed_positions.weight"][:50]
    short.load_state_dict(weights)
    with torch.no_grad():
        torch.testing.assert_close(
            encode(long, features(100)), short(features(100)).last_hidden_state, rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("num_frames", [0, 99, WINDOW_FRAMES + 2])
def test_no_odd_and_no_too_long_context(small_whisper, num_frames):
    with pytest.raises(ValueError, match=f"^{num_frames} mel frames"):
        encode(small_whisper().model.encoder, features(num_frames))


def test_other_mel_bins_are_refused(small_whisper):
    with pytest.raises(ValueError, match="128 mel bins; this encoder was trained on 80"):
        encode(small_whisper().model.encoder, features(100, num_bins=128))
