"""What cannot be exported: a clear message, and nothing half-written."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from whisper_aut.errors import BaseModelError, CheckpointError, EnvironmentProblem, WhisperAutError
from whisper_aut.export import encoder as export_module
from whisper_aut.export.content import check_equal
from whisper_aut.export.encoder import ExportOptions, export_model
from whisper_aut.model.stored import open_stored


@pytest.fixture
def small_folder(tmp_path, small_whisper, tiny_en) -> Path:
    """A Hugging Face folder of a small whole Whisper with the real tokenizer."""
    folder = tmp_path / "small"
    small_whisper(vocab_size=51_864).save_pretrained(folder)
    tiny_en.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def refused(tmp_path):
    """Exports into a new folder, and sees to it that nothing is left of the attempt."""

    def call(source, options=None, **settings) -> WhisperAutError:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(WhisperAutError) as caught:
            export_model(source, tmp_path / "out", options or ExportOptions(), **settings)
        assert sorted(tmp_path.rglob("*")) == before
        assert caught.value.remedy or caught.value.where
        return caught.value

    return call


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ExportOptions(("hf", "gguf")), "no form 'gguf'"),
        (ExportOptions(()), "no form is asked for"),
        (ExportOptions(("ctranslate2",)), "needs a decoder"),
        (ExportOptions(("encoder", "qwen2-audio"), "adapted"), "no place for a decoder in encoder and qwen2-audio"),
        (ExportOptions(("ctranslate2",), "adapted", "bfloat16"), "does not come in bfloat16"),
        (ExportOptions(("openai",), "none", "bfloat16"), "does not come in bfloat16"),
        (ExportOptions(("onnx",), "none", "bfloat16"), "does not come in bfloat16"),
    ],
)
def test_what_no_form_can_hold(refused, small_folder, options, message):
    assert message in refused(small_folder, options).what


def test_a_form_whose_packages_are_missing(refused, small_folder, monkeypatch):
    monkeypatch.setattr(export_module.importlib.util, "find_spec", lambda name: None)
    error = refused(small_folder, ExportOptions(("onnx",)))
    assert isinstance(error, EnvironmentProblem)
    assert "pip install 'whisper-aut[parity]'" in (error.remedy or "")


def test_an_encoder_has_no_decoder_to_keep(refused, small_folder, tmp_path):
    export_model(small_folder, tmp_path / "alone")
    assert "no decoder in it to keep" in refused(tmp_path / "alone", ExportOptions(("hf",), "adapted")).what
    error = refused(tmp_path / "alone", ExportOptions(("hf",), "original"))
    assert "not known which base" in error.what
    assert "--base" in (error.remedy or "")
    assert (
        "no decoder"
        in refused(tmp_path / "alone", ExportOptions(("hf",), "original"), base=str(tmp_path / "alone")).what
    )


def test_a_decoder_of_another_width(refused, small_folder):
    error = refused(small_folder, ExportOptions(("hf",), "original"), base="pypi:tiny.en")
    assert "width 384, the encoder 16" in error.what


def test_a_run_whose_base_is_another(refused, make_run, small_folder):
    run_dir, _ = make_run()
    assert "not the one that the run began with" in refused(run_dir, base=str(small_folder)).what


def test_a_run_whose_base_is_given_as_an_encoder_alone(refused, make_run, small_folder, tmp_path):
    export_model(small_folder, tmp_path / "alone")
    run_dir, _ = make_run()
    assert "no decoder in the base" in refused(run_dir, base=str(tmp_path / "alone")).what


def test_a_checkpoint_of_a_newer_version(refused, make_run):
    run_dir, base = make_run()
    folder = run_dir / "checkpoints" / "step-00000010"
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"format_version": 99}))
    from whisper_aut.files import file_sha256

    sums = json.loads((folder / "sha256.json").read_text())
    (folder / "sha256.json").write_text(json.dumps(sums | {"state.json": file_sha256(folder / "state.json")}))
    for checkpoint in (None, folder):
        error = refused(run_dir, base=base, checkpoint=checkpoint)
        assert "format 99, this whisper-aut reads 1" in error.what
        assert "newer" in (error.remedy or "")


def test_an_export_of_a_newer_version(refused, small_folder, tmp_path):
    folder = export_model(small_folder, tmp_path / "new")
    provenance = json.loads((folder / "whisper_aut.json").read_text())
    (folder / "whisper_aut.json").write_text(json.dumps(provenance | {"format_version": 99}))
    assert "the export has format 99" in refused(folder).what


@pytest.mark.parametrize("content", ["{", "[]", '{"run": 3}', '{"blend": "much"}'])
def test_a_damaged_provenance(refused, small_folder, content):
    (small_folder / "whisper_aut.json").write_text(content)
    assert "whisper_aut.json cannot be read" in refused(small_folder).what


def test_a_checkpoint_without_a_run(refused, small_folder):
    assert "not a run" in refused(small_folder, checkpoint=small_folder).what


@pytest.mark.parametrize("content", ['{"name": "x"}'])
def test_a_run_json_with_too_little_in_it(refused, make_run, content):
    run_dir, base = make_run()
    (run_dir / "run.json").write_text(content)
    assert "run.json cannot be read: it has no ['base'" in refused(run_dir, base=base).what


def test_a_hub_name_without_a_hub(refused, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    error = refused("openai/whisper-no-such-size")
    assert isinstance(error, BaseModelError)
    assert "cannot be loaded from the model hub" in error.what
    assert "offline" in (error.remedy or "")


def test_a_hub_name_that_is_in_the_cache(small_folder, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "cache" / "models--someone--whisper-small"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(small_folder, repository / "snapshots" / ("0" * 40))
    expected = open_stored(str(small_folder))
    assert open_stored("someone/whisper-small").weights_sha256() == expected.weights_sha256()


def test_a_truncated_model_and_a_missing_tensor(refused, small_folder):
    file = small_folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    assert "cannot be read" in refused(small_folder).what
    file.write_bytes(whole)
    state = load_file(file)
    del state["model.encoder.layers.1.fc2.bias"]
    save_file(state, file, {"format": "pt"})
    assert "model.encoder.layers.1.fc2.bias" in refused(small_folder).what


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite(refused, small_folder, value):
    state = load_file(small_folder / "model.safetensors")
    state["model.encoder.layers.1.fc1.bias"][3] = value
    save_file(state, small_folder / "model.safetensors", {"format": "pt"})
    assert "layers.1.fc1.bias' holds values that are not finite" in refused(small_folder).what


def test_values_beyond_float16_are_not_made_infinite(refused, small_folder):
    state = load_file(small_folder / "model.safetensors")
    state["model.encoder.layers.0.fc1.bias"][0] = 1e6
    save_file(state, small_folder / "model.safetensors", {"format": "pt"})
    error = refused(small_folder, ExportOptions(dtype="float16"))
    assert "more than float16 can" in error.what
    assert "bfloat16" in (error.remedy or "")


_ON_A_FULL_DISK = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
runpy.run_module("whisper_aut", run_name="__main__")
"""


@pytest.mark.parametrize("form", ["hf", "openai", "ctranslate2", "hf,qwen2-audio"])
def test_a_disk_that_is_full(forks, small_base, tmp_path, tmp_path_factory, form):
    """A real error of the system: no file may grow beyond a megabyte."""
    script = tmp_path_factory.mktemp("limited") / "script.py"
    script.write_text(_ON_A_FULL_DISK)
    words = [script, "export", small_base, "--out", "out", "--keep-decoder", "adapted", "--to", form]
    done = forks.run(words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "the export cannot be written" in done.stderr
    assert "GB" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_killed_export_leaves_nothing_under_the_final_name_and_the_next_one_clears_up(forks, tmp_path, small_folder):
    """Of tiny.en, which takes long enough to be met at it."""
    words = ["-m", "whisper_aut", "export", "pypi:tiny.en", "--out", tmp_path / "out"]
    process = forks.start([*words, "--to", "hf,openai", "--keep-decoder", "adapted"])
    aside = tmp_path / f".out.{process.pid}"
    while not (aside / "model.safetensors").is_file() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert aside.exists()
    assert not (tmp_path / "out").exists()
    export_model(small_folder, tmp_path / "out")
    assert not aside.exists()
    assert (tmp_path / "out" / "SHA256SUMS").is_file()


def test_what_reads_back_as_something_else_is_found_out():
    ours = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([0.0])}
    check_equal({name: t.clone() for name, t in ours.items()}, ours, call="x", where="y")
    for other in (
        {"a": ours["a"]},
        ours | {"c": ours["a"]},
        ours | {"a": torch.tensor([1.0, 2.5])},
        ours | {"a": ours["a"].half()},
        ours | {"a": ours["a"][None]},
        ours | {"b": torch.tensor([-0.0])},
    ):
        with pytest.raises(CheckpointError, match="x does not give the trained weights: 1 tensors differ"):
            check_equal(other, ours, call="x", where="y")


@pytest.mark.parametrize(("form", "prefix"), [("hf", "wrong."), ("encoder", "encoder."), ("qwen2-audio", "encoder.")])
def test_a_wrong_prefix_is_found_out_by_the_class_that_would_load_it(small_folder, tmp_path, monkeypatch, form, prefix):
    """As if the writer were wrong: transformers would fill in random numbers for all of these."""
    from whisper_aut.export.forms import hugging_face

    right = hugging_face._write_tensors

    def wrong(folder, tensors, content) -> None:
        right(folder, tensors.under("", prefix), content)

    monkeypatch.setattr(hugging_face, "_write_tensors", wrong)
    with pytest.raises(CheckpointError, match="names differ, the first is"):
        export_model(small_folder, tmp_path / "out", ExportOptions((form,)))
    assert not (tmp_path / "out").exists()
