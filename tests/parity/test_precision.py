"""Exports in half precision: weights to their last bit, states within the stated tolerance, in either arithmetic.

Of a small random model; the states of real weights in half precision are compared on short clips by
tests/test_encoder.py.
"""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from whisper_aut.errors import RecipeError
from whisper_aut.export.encoder import ExportOptions, export_model
from whisper_aut.parity.compare import TOLERANCES
from whisper_aut.parity.consumers import ALL
from whisper_aut.parity.run import choose_arithmetic, run_parity

HUGGING_FACE = {"transformers WhisperModel", "transformers WhisperEncoder", "Qwen2AudioEncoder", "Ultravox' prefix"}


def consumers_named(names):
    return [consumer for consumer in ALL if consumer.name in names]


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_is_within_its_tolerance_of_the_float32_base(small_model, tmp_path, precision):
    forms = ("hf", "encoder", "qwen2-audio")
    folder = export_model(str(small_model), tmp_path / "export", ExportOptions(forms, "none", precision))
    found = run_parity(folder, consumers=consumers_named(HUGGING_FACE))
    assert found.precision == precision
    # The prefix twice: without a decoder, too, the whole folder is taken as well as the encoder's.
    ran = [row for row in found.rows if row.status != "not run"]
    assert len(ran) == 5
    for row in ran:
        assert row.status == "same", row.reason
        assert row.distance is not None
        assert row.distance.rms <= TOLERANCES[precision].rms
        assert row.computed_in == choose_arithmetic("auto", precision).name


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "noise.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=16_000), 16_000)
    return path


@pytest.fixture(params=["float16", "bfloat16"])
def small_export(request, small_whisper, tmp_path):
    """A small random Whisper in a 16-bit type, without a decoder: quick in any arithmetic, and its precision."""
    small_whisper(max_source_positions=1500, max_target_positions=448).save_pretrained(tmp_path / "model")
    options = ExportOptions(("hf", "encoder", "qwen2-audio"), "none", request.param)
    return export_model(str(tmp_path / "model"), tmp_path / "export", options), request.param


def test_states_are_compared_in_float32_or_in_the_exports_own(small_export, clip):
    folder, precision = small_export
    rms = {}
    for asked in ("float32", precision):
        found = run_parity(folder, audio_files=[clip], consumers=consumers_named(HUGGING_FACE), precision=asked)
        assert [row.reason for row in found.rows if row.status != "same"] == []
        assert {row.computed_in for row in found.rows} == {asked}
        assert found.arithmetic == f"{asked}: asked for"
        assert (found.precision, found.tolerance) == (precision, TOLERANCES[precision])
        rms[asked] = min(row.distance.rms for row in found.rows)
    assert rms["float32"] < 1e-5 < rms[precision]


def test_a_weight_that_is_off_by_its_last_bit_is_found_whatever_states_are_computed_in(small_export, clip):
    folder, _ = small_export
    weights = load_file(folder / "model.safetensors")
    values = weights["model.encoder.layers.1.fc1.weight"]
    values.view(torch.int16)[0, 0] ^= 1
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (row,) = run_parity(
        folder, audio_files=[clip], consumers=consumers_named({"transformers WhisperModel"}), precision="float32"
    ).rows
    assert row.status == "different"
    assert "'layers.1.fc1.weight' of WhisperModel has other values" in row.reason


@pytest.mark.parametrize(
    ("asked", "of_export"), [("bfloat16", "float32"), ("bf16", "float16"), ("float16", "bfloat16"), ("half", "float32")]
)
def test_an_arithmetic_coarser_than_the_export_is_refused(asked, of_export):
    with pytest.raises(RecipeError, match=f"export in {of_export} are not compared in '{asked}'"):
        choose_arithmetic(asked, of_export)


def test_float32_stays_float32():
    for asked in ("auto", "float32", "fp32"):
        assert choose_arithmetic(asked, "float32").dtype == torch.float32


def test_auto_computes_in_float32_where_the_exports_own_is_slow():
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("only oneDNN on x86 can be told to leave instruction sets out")
    code = """
from whisper_aut.parity.run import choose_arithmetic
for asked in ("auto", "bf16"):
    choice = choose_arithmetic(asked, "bfloat16")
    print(choice.name, "|", choice.reason, "|", choice.warning)
"""
    slow = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | slow, capture_output=True, text=True, check=True
    )
    auto, own = (line.split(" | ") for line in done.stdout.splitlines())
    assert auto[0] == "float32" and "GFLOP/s a core in bfloat16" in auto[1]
    assert own[:2] == ["bfloat16", "asked for"] and own[2].startswith("bfloat16 is ")
