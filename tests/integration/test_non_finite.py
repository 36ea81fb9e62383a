"""A run whose arithmetic breaks down stops at once, changes nothing that was saved, and says so truthfully."""

import json

import pytest

pytestmark = pytest.mark.integration


def test_a_learning_rate_that_breaks_the_weights_stops_the_run_and_promises_no_checkpoint(
    start_training, recipe, tmp_path
):
    training = start_training(recipe, tmp_path / "run", "train.lr=1e38", "train.checkpoint_every_steps=100")
    code, errors = training.finish()
    assert code == 2, errors
    assert "error: the loss of step 2 is nan; no weight was changed by it" in errors or (
        "error: the gradient norm of step" in errors
    )
    assert "no checkpoint was written yet" in errors
    assert "Traceback" not in errors
    assert not list((tmp_path / "run").glob("checkpoints/*"))
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
