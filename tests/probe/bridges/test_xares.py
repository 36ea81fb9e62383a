"""Whisper as X-ARES takes an encoder: its interface without the package, its own checker with it."""

import sys

import pytest
import torch
from transformers import WhisperModel

from whisper_aut.errors import BaseModelError
from whisper_aut.probe.bridges.xares import xares_encoder
from whisper_aut.probe.embed import pool
from whisper_aut.probe.encoders.base import Pooling
from whisper_aut.probe.encoders.load import load_probed


@pytest.fixture
def folder(small_whisper, tmp_path):
    WhisperModel(small_whisper().config).save_pretrained(tmp_path / "one")
    return tmp_path / "one"


def noise(num_clips: int, num_samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(num_clips, num_samples, generator=torch.Generator().manual_seed(0))


def probed_states(folder, audio, context):
    """Last layer and real positions of our own probes' path."""
    encoder = load_probed(str(folder))
    padding = encoder.padded_samples(audio.shape[1], context) - audio.shape[1]
    with torch.no_grad():
        states = encoder.encode(torch.nn.functional.pad(audio, (0, padding)), [audio.shape[1]] * len(audio))
        *_, last = states.layers
    return last, states.real


def test_what_x_ares_asks_of_an_encoder(folder):
    encoder = xares_encoder(str(folder))()
    assert (encoder.sampling_rate, encoder.hop_size_in_ms, encoder.output_dim) == (16_000, 20.0, 16)
    assert isinstance(encoder, torch.nn.Module) and type(encoder).__name__.endswith("Encoder")
    assert encoder(noise(2, 50_000)).shape == (2, 1500, 16)
    assert encoder(noise(1, 50_000)[0]).shape == (1, 1500, 16)
    assert not encoder(noise(1, 50_000)).requires_grad


@pytest.mark.parametrize("num_samples", [1, 320, 50_000, 480_000])
def test_the_full_window_gives_the_states_of_our_own_probes(folder, num_samples):
    audio = noise(2, num_samples)
    states, _ = probed_states(folder, audio, "full")
    torch.testing.assert_close(xares_encoder(str(folder))()(audio), states, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("num_samples", "num_positions"), [(1, 1), (320, 1), (321, 2), (50_000, 157), (480_000, 1500)])
def test_trimmed_gives_the_positions_of_the_audio_alone(folder, num_samples, num_positions):
    audio = noise(2, num_samples)
    found = xares_encoder(str(folder), "trimmed")()(audio)
    states, real = probed_states(folder, audio, "trimmed")
    assert found.shape[1] == num_positions == int(real[0].sum())
    # The mean that X-ARES takes is then the one of `strict`.
    expected = pool(states, real, Pooling("mean", "real"), "mean")
    torch.testing.assert_close(found.mean(dim=1), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("context", "positions"), [("full", 3000), ("trimmed", 2000)])
def test_longer_audio_is_encoded_window_after_window(folder, context, positions):
    encoder = xares_encoder(str(folder), context)()
    audio = noise(1, 40 * 16_000)
    states = encoder(audio)
    assert states.shape[1] == positions
    torch.testing.assert_close(states[:, :1500], encoder(audio[:, :480_000]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states[:, 1500:], encoder(audio[:, 480_000:]), atol=1e-5, rtol=1e-5)


def test_a_rest_of_less_than_a_second_makes_no_window_of_silence(folder):
    encoder = xares_encoder(str(folder))()
    assert encoder(noise(1, 480_000 + 15_999)).shape[1] == 1500
    assert encoder(noise(1, 480_000 + 16_000)).shape[1] == 3000


def test_other_weights_and_contexts_have_other_names(small_whisper, folder, tmp_path):
    """X-ARES files embeddings and scores under the class name alone."""
    torch.manual_seed(1)
    WhisperModel(small_whisper().config).save_pretrained(tmp_path / "two")
    names = [
        xares_encoder(str(tmp_path / name), context).__name__
        for name, context in [("one", "full"), ("one", "full"), ("one", "trimmed"), ("two", "full")]
    ]
    assert names[0] == names[1]
    assert len(set(names)) == 3
    assert all(name.isidentifier() for name in names)


def test_an_encoder_that_is_not_there_is_a_users_error():
    with pytest.raises(BaseModelError, match="no model at"):
        xares_encoder("./nowhere")


@pytest.mark.parametrize("context", ["full", "trimmed"])
def test_x_ares_own_checker_accepts_it(folder, context):
    checker = pytest.importorskip("xares.audio_encoder_checker", reason="X-ARES is not installed: the extra [bridges]")
    assert checker.check_audio_encoder(xares_encoder(str(folder), context)())


def test_x_ares_finds_it_in_a_file(folder, tmp_path, monkeypatch):
    utils = pytest.importorskip("xares.utils", reason="X-ARES is not installed: the extra [bridges]")
    lines = [
        "from whisper_aut.probe.bridges.xares import xares_encoder",
        f"OurEncoder = xares_encoder({str(folder)!r}, 'trimmed')",
    ]
    (tmp_path / "our_encoder.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    try:
        encoder = utils.attr_from_py_path("our_encoder.py", endswith="Encoder")()
    finally:
        sys.modules.pop("our_encoder", None)
    assert encoder(noise(1, 16_000)).shape == (1, 50, 16)
