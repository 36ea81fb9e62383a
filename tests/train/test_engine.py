"""The engine: real DeepSpeed on CPU against plain PyTorch, every ZeRO stage, one rank and two."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from whisper_aut.errors import CheckpointError, RecipeError
from whisper_aut.train.checkpoint import TrainedState
from whisper_aut.train.engine import read_strategy

_SCRIPT = Path(__file__).with_name("engine_script.py")
needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
Result = dict[str, Any]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def run_steps(tmp_path_factory) -> Callable[..., Result]:
    """Runs ``engine_script.py`` on ``ranks`` processes; equal jobs run once."""
    done: dict[str, Path] = {}

    def run(*, ranks: int = 1, **job: Any) -> Result:
        key = json.dumps([ranks, job], sort_keys=True)
        if key not in done:
            folder = tmp_path_factory.mktemp("engine")
            (folder / "job.json").write_text(json.dumps(job))
            port = str(free_port())
            children = [
                subprocess.Popen(
                    [sys.executable, str(_SCRIPT), str(folder / "job.json"), str(folder / "out.pt")],
                    env=os.environ
                    | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_PORT": port}
                    | {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                    stderr=subprocess.PIPE,
                    text=True,
                )
                for rank in range(ranks)
            ]
            for child in children:
                errors = child.communicate(timeout=120)[1]
                assert child.returncode == 0, errors[-3000:]
            done[key] = folder / "out.pt"
        return dict(torch.load(done[key], weights_only=True)) | {"file": str(done[key])}

    return run


def assert_close(found: Result, expected: Result, *, rtol: float, atol: float) -> None:
    assert set(found["weights"]) == set(expected["weights"])
    for name, tensor in expected["weights"].items():
        torch.testing.assert_close(found["weights"][name], tensor, rtol=rtol, atol=atol, msg=lambda m, n=name: n + m)
    for key in ("exp_avg", "exp_avg_sq"):
        assert set(found["moments"][key]) == set(expected["moments"][key])
        for name, tensor in expected["moments"][key].items():
            torch.testing.assert_close(
                found["moments"][key][name], tensor, rtol=1e-3, atol=1e-6, msg=lambda m, n=name: n + m
            )
    assert found["norms"] == pytest.approx(expected["norms"], rel=1e-4)


def assert_equal(found: Result, expected: Result) -> None:
    for part, other in [
        (found["weights"], expected["weights"]),
        (found["moments"]["exp_avg"], expected["moments"]["exp_avg"]),
        (found["moments"]["exp_avg_sq"], expected["moments"]["exp_avg_sq"]),
    ]:
        assert set(part) == set(other)
        assert [name for name, tensor in other.items() if not torch.equal(part[name], tensor)] == []


@needs_deepspeed
@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3"])
def test_three_steps_are_those_of_plain_adamw(run_steps, strategy):
    """Gradients are clipped (the norm is above 0.5), decayed by group, and weighted by token over micro-batches."""
    expected = run_steps(plain=True, steps=[0, 3], max_grad_norm=0.5)
    assert min(expected["norms"]) > 0.5
    assert_close(run_steps(strategy=strategy, steps=[0, 3], max_grad_norm=0.5), expected, rtol=1e-4, atol=2e-6)


@needs_deepspeed
@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3"])
def test_two_ranks_take_the_steps_of_one(run_steps, strategy):
    """Sums over ranks come in another order, so equality is within rounding."""
    expected = run_steps(plain=True, steps=[0, 3], max_grad_norm=0.5)
    found = run_steps(ranks=2, strategy=strategy, steps=[0, 3], max_grad_norm=0.5)
    assert_close(found, expected, rtol=1e-4, atol=2e-6)


@needs_deepspeed
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3"])
def test_a_state_that_is_gathered_and_restored_comes_back_bit_for_bit(run_steps, strategy, precision):
    before = run_steps(strategy=strategy, steps=[0, 2], precision=precision)
    # Another seed: whatever is not restored would show.
    after = run_steps(strategy=strategy, steps=[2, 2], precision=precision, seed=1, start=before["file"])
    assert_equal(after, before)


@needs_deepspeed
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3"])
def test_a_resumed_run_takes_the_very_steps_of_an_unbroken_one(run_steps, strategy, precision):
    unbroken = run_steps(strategy=strategy, steps=[0, 4], precision=precision)
    half = run_steps(strategy=strategy, steps=[0, 2], precision=precision)
    resumed = run_steps(strategy=strategy, steps=[2, 4], precision=precision, seed=1, start=half["file"])
    assert_equal(resumed, unbroken)
    assert resumed["norms"] == unbroken["norms"][2:]


@needs_deepspeed
def test_a_run_goes_on_under_another_stage_and_another_number_of_ranks(run_steps):
    expected = run_steps(plain=True, steps=[0, 4])
    first = run_steps(strategy="zero1", steps=[0, 2])
    second = run_steps(ranks=2, strategy="zero3", steps=[2, 3], seed=1, start=first["file"])
    third = run_steps(strategy="zero2", steps=[3, 4], seed=1, start=second["file"])
    third["norms"] = first["norms"] + second["norms"] + third["norms"]
    assert_close(third, expected, rtol=1e-4, atol=2e-6)


@needs_deepspeed
def test_bf16_keeps_float32_masters(run_steps):
    """A step of 1e-3 is lost on bf16 weights near one; float32 masters have it."""
    weights = run_steps(strategy="zero1", steps=[0, 2], precision="bf16")["weights"]
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    norm = weights["model.encoder.layer_norm.weight"]  # starts at exactly one
    assert not torch.equal(norm, norm.to(torch.bfloat16).float())


@needs_deepspeed
def test_the_frozen_sinusoids_are_in_the_state_and_do_not_move(run_steps):
    first, later = (run_steps(plain=True, steps=[0, 3], max_grad_norm=0.5), run_steps(strategy="zero3", steps=[0, 4]))
    name = "model.encoder.embed_positions.weight"
    assert torch.equal(first["weights"][name], later["weights"][name])
    assert name not in later["moments"]["exp_avg"]


@needs_deepspeed
def test_a_state_of_another_model_is_refused_by_the_tensor():
    from whisper_aut.train.engine import _fitting

    parameter = torch.nn.Parameter(torch.zeros(2, 3))
    with pytest.raises(CheckpointError, match="'a' are missing"):
        _fitting({}, "a", parameter, what="weights")
    with pytest.raises(CheckpointError, match=r"'a' are of shape \(3, 2\); the model needs \(2, 3\)"):
        _fitting(TrainedState({"a": torch.zeros(3, 2)}, {}).weights, "a", parameter, what="weights")


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize("name", ["zero1", "zero2", "zero3"])
def test_shipped_strategies_are_read(name):
    assert read_strategy(name)["zero_optimization"]["stage"] == int(name[-1])


@pytest.mark.parametrize(
    "key", ["train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "optimizer",
            "scheduler", "gradient_clipping", "bf16", "fp16"],
)  # fmt: skip
def test_a_strategy_that_sets_what_the_recipe_owns_is_refused(tmp_path, key):
    path = write(tmp_path / "mine.json", {"zero_optimization": {"stage": 2}, key: 8})
    with pytest.raises(RecipeError, match=f"sets '{key}', which the recipe owns") as caught:
        read_strategy(path)
    assert "train." in (caught.value.remedy or "")


@pytest.mark.parametrize("content", [{}, [], {"zero_optimization": {"stage": 0}}, {"zero_optimization": {"stage": "2"}}])
def test_a_strategy_without_a_known_stage_is_refused(tmp_path, content):
    with pytest.raises(RecipeError, match="zero_optimization.stage is"):
        read_strategy(write(tmp_path / "mine.json", content))


@pytest.mark.parametrize("content", [{"zero_optimization": 2}, {"zero_optimization": None}])
def test_a_strategy_whose_section_is_no_mapping_is_refused(tmp_path, content):
    with pytest.raises(RecipeError, match="zero_optimization.stage is"):
        read_strategy(write(tmp_path / "mine.json", content))


def test_an_unknown_strategy_names_the_known_ones(tmp_path):
    with pytest.raises(RecipeError, match="no strategy 'zero9'") as caught:
        read_strategy("zero9")
    assert "zero1, zero2, zero3" in (caught.value.remedy or "")
    with pytest.raises(RecipeError, match="no strategy"):
        read_strategy(str(tmp_path / "absent.json"))


def test_a_strategy_that_is_not_json_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="not JSON"):
        read_strategy(write(tmp_path / "mine.json", "{'stage': 2}"))
