"""Runs to export: small random ones, and one of real weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from whisper_aut.model.base import BaseModel, load_base
from whisper_aut.train.checkpoint import TrainedState, save_checkpoint

RunMaker = Callable[..., tuple[Path, BaseModel]]


def write_run(
    run_dir: Path,
    weights: dict[str, torch.Tensor],
    *,
    base_spec: str = "pypi:tiny.en",
    base_sha256: str,
    step: int,
    planned: int,
) -> None:
    """What training leaves: a checkpoint and run.json."""
    save_checkpoint(run_dir / "checkpoints", step, TrainedState(weights, {"exp_avg": {}, "exp_avg_sq": {}}), {})
    source = {"name": "urban", "clips": 5, "hours": 0.5, "licenses": ["CC-BY-NC-3.0"]}
    run = {
        "name": "small", "description": "", "steps_planned": planned, "clips_per_step": 4, "seed": 0,
        "base": {"spec": base_spec, "license": "MIT", "weights_sha256": base_sha256}, "recipe_sha256": "cd",
        "data": {"fingerprint": "ef", "domains": {"environment": {"weight": 1.0, "sources": [source]}}},
        "plan": {"fingerprint": "01"}, "command": "whisper-aut train x.yaml", "versions": {"torch": "2"},
    }  # fmt: skip
    (run_dir / "run.json").write_text(json.dumps(run))


@pytest.fixture
def make_run(tmp_path, small_whisper) -> RunMaker:
    """A run's folder with a checkpoint of "trained" weights, which differ from the base's; and the base."""

    def make(*, steps_planned: int = 10, step: int = 10, num_mel_bins: int = 80) -> tuple[Path, BaseModel]:
        settings = {"vocab_size": 51_864, "num_mel_bins": num_mel_bins}
        base, trained = small_whisper(0, **settings), small_whisper(1, **settings)
        weights = {name: t.clone() for name, t in trained.state_dict().items() if name != "proj_out.weight"}
        run_dir = tmp_path / "run"
        write_run(run_dir, weights, base_sha256="ab", step=step, planned=steps_planned)
        return run_dir, BaseModel(base, None, "pypi:tiny.en", "MIT", "ab")  # type: ignore[arg-type]

    return make


def run_of(base: BaseModel, run_dir: Path) -> Path:
    """A finished run: every tensor but the sinusoids a little off the base's."""
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: tensor + 1e-3 * tensor.abs().mean() * torch.randn(tensor.shape, generator=generator)
        for name, tensor in base.model.state_dict().items()
        if name != "proj_out.weight"
    }
    name = "model.encoder.embed_positions.weight"
    weights[name] = base.model.state_dict()[name].clone()
    write_run(run_dir, weights, base_spec=base.spec, base_sha256=base.weights_sha256, step=7, planned=7)
    return run_dir


@pytest.fixture(scope="session")
def tiny_run(tiny_en: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run from the real tiny.en."""
    return run_of(tiny_en, tmp_path_factory.mktemp("tiny") / "run")


@pytest.fixture(scope="session")
def small_run(small_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run from a small base with tiny.en's tokenizer."""
    return run_of(load_base(str(small_base)), tmp_path_factory.mktemp("small") / "run")


@pytest.fixture(scope="session")
def trained(tiny_run: Path) -> dict[str, torch.Tensor]:
    """The run's weights."""
    from safetensors.torch import load_file

    return load_file(tiny_run / "checkpoints" / "step-00000007" / "weights.safetensors")
