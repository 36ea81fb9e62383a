"""A run whose arithmetic breaks down stops at once, changes nothing that was saved, and says so truthfully."""

import json

import pytest

pytestmark = pytest.mark.integration


def test_a_learning_rate_that_breaks_the_weights_stops_the_run_and_promises_no_checkpoint(
    start_training, recipe, tmp_path
):
    training = start_training(
        recipe, tmp_path / "run", "train.lr=1e38", "train.checkpoint_every_steps=100", "train.max_skipped_steps=2"
    )
    code, errors = training.finish()
    assert code == 2, errors
    assert "warning: step 2 changes no weight: the loss is nan" in errors
    assert "error: 3 steps in a row were skipped, the last because" in errors
    assert "no checkpoint was written yet" in errors
    assert "Traceback" not in errors
    assert not list((tmp_path / "run").glob("checkpoints/*"))
    lines = [json.loads(line, parse_constant=pytest.fail) for line in training.text().splitlines()]
    skipped = [line for line in lines if line["event"] == "skipped"]
    assert [line["step"] for line in skipped] == [2, 3, 4]
    assert all(line["clips"] for line in skipped)


def test_broken_weights_are_never_saved_over_sound_ones(start_training, recipe, tmp_path):
    """Step 1 breaks the weights, and the first checkpoint is due before too many steps are skipped."""
    training = start_training(recipe, tmp_path / "run", "train.lr=1e38")
    code, errors = training.finish()
    assert code == 2, errors
    assert "error: after step 2" in errors and "are not finite" in errors and "they are not saved" in errors
    assert "Traceback" not in errors
    assert not list((tmp_path / "run").glob("checkpoints/*"))
