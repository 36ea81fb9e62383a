"""Hugging Face's encoders, small and untrained but real: states, real positions, and refusals."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    BertConfig,
    BertModel,
    ClapAudioConfig,
    ClapAudioModel,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from whisper_aut.errors import BaseModelError
from whisper_aut.probe.embed import embed
from whisper_aut.probe.encoders.base import Pooling
from whisper_aut.probe.encoders.load import load_probed, role_of
from whisper_aut.probe.tasks.labelled import load_task

BLOCKS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
REAL = Pooling("mean", "real")


def wave_config(kind: type, **settings):
    convolutions = {"conv_dim": (8, 8), "conv_kernel": (10, 8), "conv_stride": (5, 4), "num_feat_extract_layers": 2}
    return kind(**BLOCKS, **convolutions, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, **settings)


def clap_audio_config(**settings) -> ClapAudioConfig:
    return ClapAudioConfig(
        patch_embeds_hidden_size=8, depths=[1, 1], num_attention_heads=[2, 2], num_hidden_layers=2, hidden_size=16,
        window_size=8, spec_size=256, **settings,
    )  # fmt: skip


def save(folder: Path, model, extractor) -> Path:
    model.eval().save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """One saved model of each kind."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("towers")
    ast = ASTConfig(**BLOCKS, max_length=112, num_mel_bins=32, patch_size=8, frequency_stride=8, time_stride=4)
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 9}
    clap = ClapConfig(audio_config=clap_audio_config().to_dict(), text_config=text, projection_dim=8)
    fused = clap_audio_config(enable_fusion=True)
    clap_extractor = {"max_length_s": 2, "truncation": "rand_trunc"}
    return {
        "ast": save(root / "ast", ASTModel(ast), ASTFeatureExtractor(num_mel_bins=32, max_length=112)),
        "wav2vec2": save(
            root / "wav2vec2", Wav2Vec2Model(wave_config(Wav2Vec2Config)), Wav2Vec2FeatureExtractor(do_normalize=True)
        ),
        "wav2vec2-layer": save(
            root / "wav2vec2-layer",
            Wav2Vec2Model(wave_config(Wav2Vec2Config, feat_extract_norm="layer", do_stable_layer_norm=True)),
            Wav2Vec2FeatureExtractor(return_attention_mask=True),
        ),
        "hubert": save(root / "hubert", HubertModel(wave_config(HubertConfig)), Wav2Vec2FeatureExtractor()),
        "clap": save(root / "clap", ClapModel(clap), ClapFeatureExtractor(**clap_extractor)),
        "clap-fused": save(
            root / "clap-fused", ClapAudioModel(fused), ClapFeatureExtractor(max_length_s=2, truncation="fusion")
        ),
    }


KINDS = ["ast", "wav2vec2", "wav2vec2-layer", "hubert", "clap", "clap-fused"]


def clips(encoder, num_samples: list[int]) -> torch.Tensor:
    """Different noise for each clip, silence behind it, all as long as the encoder pads the longest."""
    size = max(encoder.padded_samples(n, "full") for n in num_samples)
    waveforms = torch.zeros(len(num_samples), size)
    for row, n in enumerate(num_samples):
        waveforms[row, :n] = 0.1 * torch.randn(n, generator=torch.Generator().manual_seed(row))
    return waveforms


@pytest.mark.parametrize("kind", KINDS)
def test_states_have_the_promised_layers_and_width_and_no_neighbours(folders, kind):
    encoder = load_probed(f"hf:{folders[kind]}")
    num_samples = [round(0.9 * encoder.sample_rate)] * 2
    waveforms = clips(encoder, num_samples)
    with torch.no_grad():
        together = encoder.encode(waveforms, num_samples)
        alone = encoder.encode(waveforms[1:], num_samples[1:])
        pairs = list(zip(together.layers, alone.layers, strict=True))
    assert len(pairs) == encoder.num_layers == (1 if kind.startswith("clap") else 3)
    for both, single in pairs:
        assert both.shape == (2, together.real.shape[1], encoder.width)
        torch.testing.assert_close(both[1:], single, atol=1e-5, rtol=1e-4)
        assert torch.isfinite(both).all() and not torch.equal(both[0], both[1])
    assert encoder.notes and not encoder.trims and encoder.num_parameters > 0


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2-layer", "hubert"])
def test_waveform_encoders_give_what_hugging_face_gives_for_the_clip_alone(folders, kind):
    encoder = load_probed(f"hf:{folders[kind]}")
    waveforms = clips(encoder, [8000])
    assert waveforms.shape[1] == encoder.padded_samples(8000, "full") == encoder.padded_samples(8000, "trimmed") == 8000
    model = {"hubert": HubertModel}.get(kind, Wav2Vec2Model).from_pretrained(folders[kind]).eval()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folders[kind])
    with torch.no_grad():
        found = encoder.encode(waveforms, [8000])
        inputs = extractor(waveforms[0].numpy(), sampling_rate=16_000, return_tensors="pt")
        expected = model(**inputs, output_hidden_states=True)
    # Of models that norm after the last block, Hugging Face's last hidden state is the one before.
    expected_layers = [*expected.hidden_states[:-1], expected.last_hidden_state]
    for ours, theirs in zip(found.layers, expected_layers, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert found.real.all()


def test_of_a_spectrogram_the_patches_that_begin_in_the_clip_are_real(folders):
    encoder = load_probed(f"hf:{folders['ast']}")
    assert encoder.window_sec == pytest.approx(1.12)
    num_samples = [16_000, 4_400]  # 98 and 26 frames of 25 ms every 10 ms
    states = encoder.encode(clips(encoder, num_samples), num_samples)
    columns, rows = (112 - 8) // 4 + 1, 32 // 8
    real = states.real[:, 2:].reshape(2, rows, columns)
    assert not states.real[:, :2].any()  # the two learned tokens
    for clip, frames in enumerate((98, 26)):
        assert real[clip].all(dim=0).nonzero().max() == (frames - 1) // 4
        assert torch.equal(real[clip].all(dim=0), real[clip].any(dim=0))
    # Only those patches may change when the clip does: position by position, the input of the first block.
    waveforms = clips(encoder, num_samples)
    louder = waveforms.clone()
    louder[1, :4_400] *= 3
    with torch.no_grad():
        first, second = (next(encoder.encode(one, num_samples).layers) for one in (waveforms, louder))
    assert torch.equal((first[1] != second[1]).any(dim=-1)[2:], states.real[1, 2:])


def test_ast_equals_hugging_face(folders):
    encoder = load_probed(f"hf:{folders['ast']}")
    waveforms = clips(encoder, [12_000])
    model = ASTModel.from_pretrained(folders["ast"]).eval()
    inputs = ASTFeatureExtractor.from_pretrained(folders["ast"])(
        waveforms[0, :12_000].numpy(), sampling_rate=16_000, return_tensors="pt"
    )
    with torch.no_grad():
        *_, last = encoder.encode(waveforms, [12_000]).layers
        torch.testing.assert_close(last, model(**inputs).last_hidden_state)


@pytest.mark.parametrize(("kind", "num_samples"), [("clap", 90_000), ("clap", 20_000), ("clap-fused", 90_000)])
def test_claps_grid_equals_hugging_faces_and_is_the_same_twice(folders, kind, num_samples):
    encoder = load_probed(f"hf:{folders[kind]}")
    assert (encoder.sample_rate, encoder.window_sec) == (48_000, 2.0)
    waveforms = clips(encoder, [num_samples])
    model = ClapModel.from_pretrained(folders[kind]).audio_model if kind == "clap" else (
        ClapAudioModel.from_pretrained(folders[kind])
    )  # fmt: skip
    inputs = ClapFeatureExtractor.from_pretrained(folders[kind])(
        waveforms[0, :num_samples].numpy(), sampling_rate=48_000, return_tensors="pt"
    )
    inputs["is_longer"] = torch.zeros(1, 1, dtype=torch.bool)
    with torch.no_grad():
        (first,), (second,) = (encoder.encode(waveforms, [num_samples]).layers for _ in range(2))
        expected = model.eval()(**inputs).pooler_output
    assert torch.equal(first, second)
    torch.testing.assert_close(first.mean(dim=1), expected.reshape(1, -1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_embedded_at_the_encoders_own_rate(folders, kind, rows, write_task, tmp_path):
    encoder = load_probed(f"hf:{folders[kind]}")
    task = load_task(write_task(rows))
    found = embed(encoder, task, "trimmed", poolings=[REAL], layers="all", cache_dir=tmp_path / "cache")
    assert found.all_layers(REAL).shape == (16, encoder.num_layers, encoder.width)
    high = np.array([clip.label == "high" for clip in task.clips])
    features = found.features(REAL)
    apart = np.linalg.norm(features[high].mean(0) - features[~high].mean(0))
    assert apart > 0.01 * np.linalg.norm(features.mean(0))


@pytest.mark.parametrize("kind", ["ast", "wav2vec2", "clap"])
def test_very_short_clips_are_padded_to_a_whole_frame(folders, kind):
    encoder = load_probed(f"hf:{folders[kind]}")
    states = encoder.encode(clips(encoder, [50]), [50])
    *_, last = states.layers
    assert torch.isfinite(last).all() and states.real.any(dim=1).all()


def test_random_weights_of_the_same_shape_are_a_floor(folders):
    trained, random = load_probed(f"hf:{folders['hubert']}"), load_probed(f"random:hf:{folders['hubert']}", seed=5)
    again = load_probed(f"random:hf:{folders['hubert']}", seed=5)
    assert random.is_floor and random.width == trained.width and "seed 5" in random.notes[-1]
    assert trained.content_sha256 != random.content_sha256 == again.content_sha256


def test_only_a_version_of_the_base_is_judged(folders):
    hubert, ast = load_probed(f"hf:{folders['hubert']}"), load_probed(f"hf:{folders['ast']}")
    floor = load_probed("mfcc")
    assert role_of(hubert.kind, None) == "base"
    assert role_of(hubert.kind, hubert.kind) == "adapted"
    assert role_of(hubert.kind, floor.kind) == "reference"  # what is held against a floor is not its adaptation
    assert role_of(ast.kind, hubert.kind) == "reference" and role_of(floor.kind, hubert.kind) == "floor"


def change(folder: Path, target: Path, name: str, **settings) -> str:
    shutil.copytree(folder, target)
    values = json.loads((target / name).read_text())
    (target / name).write_text(json.dumps(values | settings))
    return f"hf:{target}"


@pytest.mark.parametrize(("kind", "field"), [("ast", "num_mel_bins"), ("clap", "feature_size")])
def test_a_front_end_with_other_mel_bins_is_refused(folders, tmp_path, kind, field):
    spec = change(folders[kind], tmp_path / "other", "preprocessor_config.json", **{field: 16})
    with pytest.raises(BaseModelError, match="16 mel bins, the encoder was trained on") as caught:
        load_probed(spec)
    assert "preprocessor_config.json" in str(caught.value.remedy)


def test_a_window_that_is_not_the_models_is_refused(folders, tmp_path):
    spec = change(folders["ast"], tmp_path / "other", "preprocessor_config.json", max_length=64)
    with pytest.raises(BaseModelError, match="64 frames, the encoder was trained on 112"):
        load_probed(spec)


def test_another_front_end_changes_the_content(folders, tmp_path):
    spec = change(folders["wav2vec2"], tmp_path / "other", "preprocessor_config.json", do_normalize=False)
    assert load_probed(spec).content_sha256 != load_probed(f"hf:{folders['wav2vec2']}").content_sha256


def test_a_model_without_some_of_its_weights_is_refused(folders, tmp_path):
    spec = change(folders["hubert"], tmp_path / "other", "config.json", num_hidden_layers=3)
    with pytest.raises(BaseModelError, match=r"weights are missing or of another shape, the first is 'encoder\.layers"):
        load_probed(spec)


@pytest.mark.parametrize(("spec", "message"), [("hf:", "names no model"), ("hf:./nowhere", "cannot be loaded")])
def test_what_is_not_there_is_a_users_error(spec, message):
    with pytest.raises(BaseModelError, match=message):
        load_probed(spec)


def test_a_text_model_is_refused(folders, tmp_path):
    config = BertConfig(**BLOCKS, vocab_size=10, max_position_embeddings=8)
    spec = f"hf:{save(tmp_path / 'bert', BertModel(config), Wav2Vec2FeatureExtractor())}"
    with pytest.raises(BaseModelError, match="'bert' is not known here as an audio encoder"):
        load_probed(spec)
