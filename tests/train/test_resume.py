"""The precision of a run that is resumed: its own, on whatever machine, unless another is named."""

from pathlib import Path
from typing import Any

import pytest
import torch

from whisper_aut.train.checkpoint import Checkpoint
from whisper_aut.train.resume import choose_run_precision


class OneRank:
    """A single process: what the main rank says is what all know."""

    device = torch.device("cpu")
    speaks = True

    def from_first(self, value: Any) -> Any:
        return value


def checkpoint(state: dict[str, Any]) -> Checkpoint:
    return Checkpoint(Path("step-00000002"), state)


@pytest.mark.parametrize(
    ("state", "asked", "taken", "reason"),
    [
        ({"precision": "bf16", "identity": {"recipe": {}}}, "auto", "bf16", "the run began with it"),
        ({"precision": "fp32", "identity": {"recipe": {}}}, "auto", "fp32", "the run began with it"),
        ({"precision": "fp32", "identity": {"recipe": {}}}, "fp32", "fp32", "the run began with it"),
        ({"precision": "bf16", "identity": {"recipe": {}}}, "fp32", "fp32", "asked for; the run began with bf16"),
        # A checkpoint from before the choice was recorded.
        ({"identity": {"recipe": {"train.precision": "bf16"}}}, "auto", "bf16", "the run began with it"),
    ],
)
def test_a_run_keeps_its_precision(state, asked, taken, reason, capsys):
    choice = choose_run_precision(asked, checkpoint(state), OneRank())
    assert (choice.short_name, choice.reason) == (taken, reason)
    assert reason in capsys.readouterr().err


def test_a_new_run_takes_what_this_machine_is_fast_in(capsys):
    choice = choose_run_precision("auto", None, OneRank())
    assert "GFLOP/s" in choice.reason
    assert f"train: precision {choice.name}: " in capsys.readouterr().err
