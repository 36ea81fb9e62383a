"""Operators are counted once, under the right name, and shares are of the whole."""

import json
from types import SimpleNamespace

import pytest
from torch._C._autograd import DeviceType

from whisper_aut.bench.profile import LARGEST, group_of, grouped, table

VOCABULARY = 51864


@pytest.mark.parametrize(
    ("name", "shapes", "group"),
    [
        ("aten::mm", [[2000, 384], [384, 384]], "matrix products"),
        ("aten::addmm", [[384], [128, 384], [384, 1536]], "matrix products"),
        ("aten::mm", [[64, 384], [384, VOCABULARY]], "vocabulary projection"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", [], "attention (scores and weighting)"),
        ("aten::mkldnn_convolution", [], "convolutions"),
        ("aten::_fused_adamw_", [], "optimizer"),
        ("aten::_fft_r2c", [], "log-mel"),
        ("aten::native_layer_norm_backward", [], "layer norms"),
        ("aten::linalg_vector_norm", [], "gradient norm and checks"),
        ("aten::copy_", [], "casts and copies"),
        ("aten::add_", [], "sums, scaling, filling"),
        ("aten::gelu_backward", [], "GELU"),
        ("aten::_log_softmax", [], "cross entropy"),
        ("READ", [], "reading, decoding and tokenising clips"),
        ("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", [], "reading, decoding and tokenising clips"),
        ("STEP", [], "Python and DeepSpeed between operators"),
        ("aten::unheard_of", [], "other operators"),
    ],
)
def test_operators_have_readable_names(name, shapes, group):
    assert group_of(name, shapes, VOCABULARY) == group


def test_a_kernel_is_not_counted_beside_its_operator():
    def event(name: str, kind: DeviceType, cpu_us: float, device_us: float) -> SimpleNamespace:
        return SimpleNamespace(
            key=name, input_shapes=[], device_type=kind, self_cpu_time_total=cpu_us, self_device_time_total=device_us
        )

    events = [
        event("aten::mm", DeviceType.CPU, 10, 400),
        event("sm90_gemm", DeviceType.CUDA, 0, 400),
        event("aten::add", DeviceType.CPU, 5, 100),
        event("STEP", DeviceType.CPU, 50, 0),
    ]
    on_device = grouped(events, VOCABULARY, on_device=True)
    assert on_device == pytest.approx({"matrix products": 400e-6, "sums, scaling, filling": 100e-6})
    on_cpu = grouped(events, VOCABULARY, on_device=False)
    assert on_cpu["Python and DeepSpeed between operators"] == pytest.approx(50e-6)
    assert sum(on_cpu.values()) == pytest.approx(65e-6)


@pytest.mark.integration
def test_a_real_step_is_profiled(forks, small_base, tmp_path):
    out = tmp_path / "profile.json"
    found = forks.run(
        ["-m", "whisper_aut", "bench", "profile", "--clip-sec", "1", "--clips-per-step", "2",
         "--micro-batch-clips", "1", "--steps", "1", "--base", small_base, "--out", out]
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    written = json.loads(out.read_text())
    assert written["command"].startswith("whisper-aut bench profile --clip-sec 1")
    numbers = written["numbers"]
    assert sum(cost["share"] for cost in numbers["costs"]) == pytest.approx(1)
    seconds = [cost["s a step"] for cost in numbers["costs"]]
    assert seconds == sorted(seconds, reverse=True)
    assert {"matrix products", "vocabulary projection", "optimizer"} <= {cost["what"] for cost in numbers["costs"]}
    assert len(table(numbers)) == 2 + LARGEST + 1
    assert all(line in found.stdout for line in table(numbers))
