"""The whole check on a small model: rows, verdicts, what is not run and why, parity.json, exit codes."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from whisper_aut.cli import main
from whisper_aut.errors import CheckpointError, GateFailed
from whisper_aut.export.encoder import ExportOptions, export_model
from whisper_aut.export.sums import compare_sums
from whisper_aut.parity.compare import TOLERANCES, Distance
from whisper_aut.parity.consumers import ALL
from whisper_aut.parity.consumers.base import Consumer, Found
from whisper_aut.parity.run import run_parity, write_parity

WHISPER_MODEL = next(consumer for consumer in ALL if consumer.name == "transformers WhisperModel")


@pytest.fixture
def copied(small_exported, tmp_path):
    """The export as links, without the large forms: what a test breaks is its own."""
    skipped = shutil.ignore_patterns("onnx", "openai", "ctranslate2", "qwen2-audio")
    return shutil.copytree(small_exported, tmp_path / "export", copy_function=os.link, ignore=skipped)


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "noise.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=16_000), 16_000)
    return path


def forget(export, **settings):
    """Rewrite whisper_aut.json without touching the link's other end."""
    path = export / "whisper_aut.json"
    about = json.loads(path.read_text()) | settings
    path.unlink()
    path.write_text(json.dumps(about))


def test_a_form_that_is_promised_and_missing_is_a_failure_one_that_was_not_asked_for_is_not(copied, clip):
    onnx = [consumer for consumer in ALL if consumer.form == "onnx"][:1]
    (row,) = (row for row in run_parity(copied, audio_files=[clip], consumers=[WHISPER_MODEL, *onnx]).rows[1:])
    assert (row.status, "promises the form `onnx`" in row.reason) == ("different", True)
    forget(copied, forms=["hf", "encoder"])
    found = run_parity(copied, audio_files=[clip], consumers=[WHISPER_MODEL, *onnx])
    assert [row.status for row in found.rows] == ["same", "not run"]
    assert "whisper-aut export --to …,onnx" in found.rows[1].reason
    assert found.audio == "1 files: noise.wav"


def test_what_is_not_installed_is_named_with_the_remedy(copied, clip):
    absent = Consumer("absent", "hf", ("no-such-package-anywhere",), "x", lambda *_: Found(Distance(0, 0)))
    found = run_parity(copied, audio_files=[clip], consumers=[WHISPER_MODEL, absent])
    assert found.rows[1].status == "not run"
    assert "no-such-package-anywhere; pip install 'whisper-aut[parity]'" in found.rows[1].reason
    with pytest.raises(CheckpointError, match="nothing could be compared"):
        run_parity(copied, audio_files=[clip], consumers=[absent])


@pytest.mark.parametrize("found", [Distance(1e-2, 1e-6), Distance(1e-6, 1e-2), Distance(float("nan"), 0)])
def test_states_beyond_either_tolerance_are_different(copied, clip, found):
    near = Consumer("near", "hf", ("transformers",), "x", lambda *_: Found(found))
    (row,) = run_parity(copied, audio_files=[clip], consumers=[near]).rows
    assert row.status == "different"
    assert "tolerated is" in row.reason


def test_what_a_consumer_raises_is_its_verdict(copied, clip):
    def fails(*_):
        raise KeyError("model.encoder.conv1.weight")

    (row,) = run_parity(copied, audio_files=[clip], consumers=[Consumer("x", "hf", ("transformers",), "x", fails)]).rows
    assert row.reason == "KeyError: 'model.encoder.conv1.weight'"


def test_a_reference_that_was_changed_after_the_export_is_refused(copied, clip):
    path = copied / "encoder" / "model.safetensors"
    weights = load_file(path)
    weights["layers.0.fc1.bias"] += 1e-3
    path.unlink()
    save_file(weights, path)
    with pytest.raises(CheckpointError, match="not what was exported"):
        run_parity(copied, audio_files=[clip], consumers=[WHISPER_MODEL])


def test_without_the_encoders_form_a_reference_must_be_given(copied, small_exported, clip):
    shutil.rmtree(copied / "encoder")
    with pytest.raises(CheckpointError, match="no form `encoder`") as caught:
        run_parity(copied, audio_files=[clip], consumers=[WHISPER_MODEL])
    assert "--reference" in (caught.value.remedy or "")
    (row,) = run_parity(copied, audio_files=[clip], reference=small_exported, consumers=[WHISPER_MODEL]).rows
    assert row.status == "same"


def test_another_models_weights_are_told_apart_by_value(copied, clip):
    """Same keys and shapes, one weight of one layer another: what no loading call complains of."""
    path = copied / "model.safetensors"
    weights = load_file(path)
    weights["model.encoder.layers.3.fc2.bias"] = torch.zeros_like(weights["model.encoder.layers.3.fc2.bias"])
    path.unlink()
    save_file(weights, path, {"format": "pt"})
    found = run_parity(copied, audio_files=[clip], consumers=[WHISPER_MODEL])
    assert "'layers.3.fc2.bias' of WhisperModel has other values" in found.rows[0].reason
    with pytest.raises(GateFailed, match=r"WhisperModel \(hf\)") as caught:
        found.raise_if_failed(copied)
    assert caught.value.exit_code == 3


def test_a_decoder_that_was_damaged_since_is_found_by_its_sum(copied, clip):
    """Every consumer gets the encoder still, so no row differs."""
    path = copied / "model.safetensors"
    weights = load_file(path)
    weights["model.decoder.layers.0.fc1.bias"] += 1.0
    path.unlink()
    save_file(weights, path, {"format": "pt"})
    found = run_parity(copied, audio_files=[clip], consumers=[WHISPER_MODEL])
    assert found.rows[0].status == "same"
    with pytest.raises(GateFailed, match=r"changed: model\.safetensors"):
        found.raise_if_failed(copied)


def test_the_results_are_written_into_the_export_and_its_sums_stay_true(copied, clip):
    forget(copied, forms=["hf", "encoder"])
    before = compare_sums(copied)
    found = run_parity(copied, audio_files=[clip], consumers=[WHISPER_MODEL])
    write_parity(found, copied / "parity.json", copied)
    content = json.loads((copied / "parity.json").read_text())
    assert content["rows"][0]["status"] == "same"
    assert content["tolerance"]["largest"] == TOLERANCES["float32"].largest
    assert compare_sums(copied) == before.__class__(before.num_files + 1, before.missing, before.changed, before.extra)


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_folder_that_is_no_export_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "whisper_aut.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"whisper_aut\.json"):
        run_parity(tmp_path)


def test_the_commands_leave_with_0_and_3(small_model, clip, tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["whisper-aut", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), capsys.readouterr()

    export = export_model(str(small_model), tmp_path / "export", ExportOptions(["hf", "encoder"], "none", "float32"))
    code, said = run("parity", export, "--audio", clip)
    assert code == 0 and "transformers WhisperEncoder" in said.out
    assert (export / "parity.json").is_file()
    weights_before = (export / "model.safetensors").read_bytes()
    for name in ("model.safetensors", "whisper_aut.json", "encoder"):
        code, said = run("parity", export, "--audio", clip, "--out", export / name)
        assert code == 2 and "would be lost" in said.err
    assert (export / "model.safetensors").read_bytes() == weights_before
    code, said = run("verify", export)
    assert code == 0 and "verified" in said.out
    weights = load_file(export / "model.safetensors")
    weights["model.encoder.layer_norm.bias"] += 0.5
    save_file(weights, export / "model.safetensors", {"format": "pt"})
    code, said = run("parity", export, "--audio", clip)
    assert code == 3 and said.err.startswith("error: ")
    code, said = run("verify", export)
    assert code == 3 and "changed: model.safetensors" in said.err
