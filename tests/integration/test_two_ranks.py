"""Ranks that cannot train together are told so."""

import pytest

pytestmark = pytest.mark.integration


def test_ranks_that_cannot_share_a_step_are_refused_by_each(start_training, recipe, tmp_path):
    training = start_training(recipe, tmp_path / "run", "train.micro_batch_clips=4", ranks=2)
    code, errors = training.finish()
    assert code == 2
    assert "error (rank 0): 2 rank(s) cannot share the 1 micro-batch(es) of a step evenly" in errors
    assert "Traceback" not in errors
