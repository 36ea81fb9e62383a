"""Ranks that cannot train together are told so."""

import pytest

pytestmark = pytest.mark.integration


def test_ranks_that_cannot_share_a_step_are_refused_by_each(start_training, recipe, tmp_path):
    """By its own check, or by word of the other rank where that one was sooner."""
    training = start_training(recipe, tmp_path / "run", "train.micro_batch_clips=4", ranks=2)
    training.finish()
    for rank, errors in enumerate(training.errors):
        assert training.ranks[rank].returncode == 2
        assert f"error (rank {rank}): " in errors
        assert "2 rank(s) cannot share the 1 micro-batch(es) of a step evenly" in errors
        assert "remedy: run 1 rank(s), or change clips_per_step or micro_batch_clips" in errors
        assert "Traceback" not in errors
