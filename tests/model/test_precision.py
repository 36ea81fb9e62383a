"""The precision that is chosen: measured on this processor as it is, and as one without units for bfloat16."""

import json
import os
import platform
import subprocess
import sys

import pytest
import torch

from whisper_aut.errors import RecipeError
from whisper_aut.machine import instruction_sets
from whisper_aut.model.precision import DTYPES, choose_precision, compare_on_cpu, cpu_product_flops, gflops

HAS_UNITS = {"AMX-BF16", "AVX-512-BF16"} & set(instruction_sets()) and "ONEDNN_MAX_CPU_ISA" not in os.environ
# torch and oneDNN read these when they are loaded, hence in a child.
WITHOUT_UNITS = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
CHILD = """
import contextlib, io, json
from whisper_aut.model.precision import choose_and_say
found = {}
for asked in ("auto", "bf16", "fp32"):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        one = choose_and_say(asked, "cpu", command="wer")
    found[asked] = [one.name, one.reason, one.warning, said.getvalue()]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def without_units() -> dict[str, list[str]]:
    """Name, reason, warning and what was said, by what was asked, on a processor that emulates bfloat16."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("only oneDNN on x86 can be told to leave instruction sets out")
    done = subprocess.run(
        [sys.executable, "-c", CHILD], env=os.environ | WITHOUT_UNITS, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_auto_takes_bfloat16_on_a_processor_that_has_units_for_it():
    if not HAS_UNITS:
        pytest.skip("this processor has no units for bfloat16")
    choice = choose_precision("auto", "cpu")
    assert (choice.dtype, choice.name, choice.short_name, choice.warning) == (torch.bfloat16, "bfloat16", "bf16", "")
    assert "GFLOP/s a core in bfloat16" in choice.reason


def test_bfloat16_that_is_asked_for_and_fast_is_no_matter_for_a_warning():
    if not HAS_UNITS:
        pytest.skip("this processor has no units for bfloat16")
    choice = choose_precision("bfloat16", torch.device("cpu"))
    assert (choice.dtype, choice.reason, choice.warning) == (torch.bfloat16, "asked for", "")


def test_auto_takes_float32_where_bfloat16_is_emulated(without_units):
    name, reason, warning, _ = without_units["auto"]
    assert (name, warning) == ("float32", "")
    assert "GFLOP/s a core in bfloat16" in reason and "in float32" in reason


def test_bfloat16_that_is_asked_for_and_emulated_is_warned_of_with_the_factor(without_units):
    name, reason, warning, _ = without_units["bf16"]
    assert (name, reason) == ("bfloat16", "asked for")
    words = warning.split()
    assert int(words[words.index("times") - 1]) >= 5
    assert warning.endswith("use auto or float32")


def test_float32_that_is_asked_for_needs_no_reason(without_units):
    assert without_units["fp32"] == ["float32", "asked for", "", ""]


def test_one_warning_is_said_and_what_auto_took(without_units):
    said = {asked: found[3].splitlines() for asked, found in without_units.items()}
    (line,) = said["auto"]
    assert line.startswith("wer: precision float32: products run at ")
    (line,) = said["bf16"]
    assert line == f"warning: {without_units['bf16'][2]}"
    assert said["fp32"] == []


@pytest.mark.parametrize("asked", ["fp16", "float16", "", "AUTO", "bf 16"])
def test_a_precision_that_there_is_not_is_refused_with_those_there_are(asked):
    with pytest.raises(RecipeError, match=f"no precision '{asked}'") as caught:
        choose_precision(asked, "cpu")
    assert caught.value.remedy == "use auto, float32 (fp32) or bfloat16 (bf16)"


def test_both_families_of_names_mean_the_same():
    assert DTYPES["fp32"] == DTYPES["float32"] == torch.float32
    assert DTYPES["bf16"] == DTYPES["bfloat16"] == torch.bfloat16
    assert choose_precision("fp32", "cpu").short_name == "fp32"


@pytest.mark.gpu
def test_a_gpu_that_computes_bfloat16_is_named():
    if not torch.cuda.is_available() or not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("no GPU that computes bfloat16")
    choice = choose_precision("auto", "cuda")
    assert choice.dtype == torch.bfloat16
    assert torch.cuda.get_device_name() in choice.reason


def test_on_another_device_auto_is_float32_and_what_is_asked_for_is_taken():
    assert choose_precision("auto", "meta").dtype == torch.float32
    assert choose_precision("bf16", "meta").dtype == torch.bfloat16


def test_measuring_leaves_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert cpu_product_flops(torch.float64) > 1e8  # a type that nothing else has measured
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_any_other_type_is_compared_with_float32():
    times_as_long, speeds = compare_on_cpu(torch.float16)
    own = cpu_product_flops(torch.float16)
    assert speeds.startswith(f"products run at {gflops(own)} GFLOP/s a core in float16, ")
    assert speeds.endswith(f" {gflops(own * times_as_long)} in float32")
