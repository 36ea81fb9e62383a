"""Saving beside training: in order, one at a time, failures told and counted."""

import shutil

import pytest
import torch

from whisper_aut.config import TrainConfig
from whisper_aut.errors import CheckpointError
from whisper_aut.train.checkpoint import BrokenWeights, TrainedState, list_checkpoints, newest_checkpoint
from whisper_aut.train.saver import MAX_FAILURES_IN_A_ROW, CheckpointSaver


def trained(value: float) -> TrainedState:
    part = {"a.weight": torch.full((256, 256), value)}
    return TrainedState(dict(part), {"exp_avg": dict(part), "exp_avg_sq": dict(part)})


@pytest.mark.parametrize("background", [True, False])
def test_what_was_saved_last_stands_after_waiting_and_old_ones_are_gone(tmp_path, background):
    saver = CheckpointSaver(tmp_path, TrainConfig(steps=9, keep_checkpoints=2, save_in_background=background))
    for step in range(1, 6):
        saver.save(step, trained(float(step)), {})
    saver.wait()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000004", "step-00000005"]
    newest = newest_checkpoint(tmp_path)
    assert newest is not None and float(newest.weights()["a.weight"][0, 0]) == 5.0


def test_in_the_foreground_a_checkpoint_stands_when_save_returns(tmp_path):
    saver = CheckpointSaver(tmp_path, TrainConfig(steps=9, save_in_background=False))
    saver.save(1, trained(1.0), {})
    assert newest_checkpoint(tmp_path) is not None


def test_a_failure_in_the_background_is_told_once_and_saving_goes_on_when_it_is_mended(tmp_path):
    checkpoints = tmp_path / "checkpoints"
    checkpoints.write_text("a file in the way")
    saver = CheckpointSaver(checkpoints, TrainConfig(steps=9))
    saver.save(1, trained(1.0), {})
    with pytest.raises(CheckpointError, match="the checkpoint of step 1 cannot be written"):
        saver.wait()
    saver.wait()
    assert not saver.hopeless
    checkpoints.unlink()
    saver.save(2, trained(2.0), {})
    saver.wait()
    assert [path.name for path in list_checkpoints(checkpoints)] == ["step-00000002"]


def test_failures_in_a_row_are_counted_and_a_success_forgets_them(tmp_path):
    checkpoints = tmp_path / "checkpoints"
    saver = CheckpointSaver(checkpoints, TrainConfig(steps=9, save_in_background=False))
    for attempt in range(2 * MAX_FAILURES_IN_A_ROW - 1):
        if attempt == MAX_FAILURES_IN_A_ROW - 1:
            checkpoints.unlink()
            saver.save(99, trained(1.0), {})
            shutil.rmtree(checkpoints)
        else:
            checkpoints.touch()
            with pytest.raises(CheckpointError):
                saver.save(attempt, trained(1.0), {})
        assert not saver.hopeless
    with pytest.raises(CheckpointError):
        saver.save(100, trained(1.0), {})
    assert saver.hopeless


def test_broken_weights_are_refused_before_anything_is_written(tmp_path):
    saver = CheckpointSaver(tmp_path, TrainConfig(steps=9))
    with pytest.raises(BrokenWeights):
        saver.save(1, trained(float("nan")), {})
    saver.wait()
    assert list(tmp_path.iterdir()) == []
