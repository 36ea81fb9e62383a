"""Runs of tiny.en, OpenAI's own weights: what they learn, on one rank and two, and after ``kill -9``.

Their processes begin from nothing, as a user's. What else may happen to runs is tried with a small base.
"""

import signal

import pytest

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def real_recipe(corpus, make_recipe):
    """As ``recipe``, of tiny.en."""
    return make_recipe(corpus, file_name="real.yaml")


@pytest.fixture(scope="module")
def unbroken(start_training, real_recipe, tmp_path_factory):
    """The run that nothing disturbs."""
    training = start_training(real_recipe, tmp_path_factory.mktemp("real") / "run", forked=False)
    code, errors = training.finish()
    assert code == 0, errors
    return training


def test_the_unbroken_run_learns_and_keeps_its_promises(unbroken):
    chosen, *lines = unbroken.metrics()
    assert (chosen["event"], chosen["precision"]) == ("precision", "float32")
    assert [line["event"] for line in lines] == ["validation", *["step"] * 6, "validation", "done"]
    assert set(lines[0]["loss"]) == {"speech", "environment", "music"}
    assert all(lines[-2]["loss"][domain] < lines[0]["loss"][domain] for domain in ("environment", "music"))
    assert sum(line["num_clips"] for line in unbroken.steps().values()) == 24
    assert sorted(path.name for path in (unbroken.out / "checkpoints").iterdir()) == [
        "latest",
        "step-00000004",
        "step-00000006",
    ]
    assert not (unbroken.out / "quarantine.jsonl").exists()


def test_two_ranks_read_the_clips_of_one_and_lose_the_same(unbroken, start_training, real_recipe, tmp_path):
    """Within what another order of float32 sums does, on a model whose gradients have norms of 50 to 130."""
    settings = ("train.deepspeed=zero2", "train.checkpoint_every_steps=100")
    two = start_training(real_recipe, tmp_path / "run", *settings, ranks=2, forked=False)
    code, errors = two.finish()
    assert code == 0, errors
    two.assert_same_clips(unbroken)
    steps, reference = two.steps(), unbroken.steps()
    for number, line in reference.items():
        assert steps[number]["loss"] == pytest.approx(line["loss"], rel=1e-3)
        assert steps[number]["grad_norm"] == pytest.approx(line["grad_norm"], rel=1e-2)
    # Before the first update nothing differs but the order of two sums.
    assert steps[1]["loss"] == pytest.approx(reference[1]["loss"], rel=1e-6)
    first, other = two.metrics()[1]["loss"], unbroken.metrics()[1]["loss"]
    assert first == pytest.approx(other, rel=1e-6)
    assert [line["event"] for line in two.metrics()].count("step") == 6  # one rank speaks


def test_a_run_killed_in_mid_training_resumes_bit_for_bit(unbroken, start_training, real_recipe, tmp_path):
    training = start_training(real_recipe, tmp_path / "run", hold_after=5, forked=False)
    training.wait_until(lambda: (tmp_path / "run" / "checkpoints" / "step-00000002").is_dir())
    training.signal_all(signal.SIGKILL)
    assert training.finish()[0] == -signal.SIGKILL
    resumed = start_training(real_recipe, tmp_path / "run")
    code, errors = resumed.finish()
    assert code == 0, errors
    assert "going on from" in errors
    resumed.assert_same_bits(unbroken)
