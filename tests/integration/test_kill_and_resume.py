"""A run that is killed or asked to stop, and started again, ends bit for bit where an unbroken one ends."""

import shutil
import signal

import pytest

pytestmark = pytest.mark.integration

# Runs that get a signal are held at a step until it comes: none is over before.


def test_a_run_killed_in_mid_training_resumes_bit_for_bit(unbroken, start_training, recipe, tmp_path):
    training = start_training(recipe, tmp_path / "run", "data.num_workers=1", hold_after=5)
    training.wait_until(lambda: (tmp_path / "run" / "checkpoints" / "step-00000002").is_dir())
    training.signal_all(signal.SIGKILL)
    code, _ = training.finish()
    assert code == -signal.SIGKILL
    assert not (tmp_path / "run" / "checkpoints" / "step-00000006").exists()

    # Another number of workers: who reads the clips changes nothing.
    resumed = start_training(recipe, tmp_path / "run", "data.num_workers=0")
    code, errors = resumed.finish()
    assert code == 0, errors
    assert "going on from" in errors
    resume = next(line for line in resumed.metrics() if line["event"] == "resume")
    assert resume["step"] in {2, 4}
    resumed.assert_same_bits(unbroken)


def test_in_bf16_too_a_run_killed_in_mid_training_resumes_bit_for_bit(
    start_training, corpus, make_recipe, save_small_base, tmp_path
):
    """Weights are rounded for the forward pass; the masters that a checkpoint holds are not."""
    tiny = save_small_base(tmp_path / "base", width=16)
    recipe = make_recipe(corpus, base=tiny, file_name="bf16.yaml", precision="bf16")
    unbroken = start_training(recipe, tmp_path / "unbroken")
    code, errors = unbroken.finish()
    assert code == 0, errors
    training = start_training(recipe, tmp_path / "run", hold_after=3)
    training.wait_until(lambda: (tmp_path / "run" / "checkpoints" / "step-00000002").is_dir())
    training.signal_all(signal.SIGKILL)
    training.finish()
    resumed = start_training(recipe, tmp_path / "run")
    code, errors = resumed.finish()
    assert code == 0, errors
    assert [line["step"] for line in resumed.metrics() if line["event"] == "resume"] == [2]
    resumed.assert_same_bits(unbroken)


def test_a_run_asked_to_stop_saves_leaves_with_75_and_resumes_bit_for_bit(unbroken, start_training, recipe, tmp_path):
    # No regular checkpoint before the end: the one found is that of the stop.
    rare = "train.checkpoint_every_steps=100"
    training = start_training(recipe, tmp_path / "run", rare, "data.num_workers=1", hold_after=3)
    training.wait_until(lambda: bool(training.steps()))
    training.signal_all(signal.SIGTERM)
    code, errors = training.finish()
    assert code == 75, errors
    assert "error: stopped by SIGTERM after step" in errors
    assert "Traceback" not in errors
    stopped_at = max(training.steps())
    assert stopped_at < 6
    assert training.sums(stopped_at)

    resumed = start_training(recipe, tmp_path / "run", rare)
    code, errors = resumed.finish()
    assert code == 0, errors
    assert [line["step"] for line in resumed.metrics() if line["event"] == "resume"] == [stopped_at]
    resumed.assert_same_bits(unbroken)


def test_a_run_asked_to_stop_before_its_first_step_leaves_with_75_and_saves_nothing(start_training, recipe, tmp_path):
    training = start_training(recipe, tmp_path / "run", "data.num_workers=2", hold_after=0)
    training.wait_until(lambda: (tmp_path / "run").is_dir())  # base and manifests are read, the engine starts
    training.signal_all(signal.SIGTERM)
    code, errors = training.finish()
    assert code == 75, errors
    assert "error: stopped by SIGTERM before the first step" in errors
    assert "Traceback" not in errors
    assert not training.steps()
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_another_recipe_is_refused_in_the_folder_of_a_run_and_a_finished_run_is_done(unbroken, start_training, recipe):
    before = unbroken.sums(6)
    code, errors = start_training(recipe, unbroken.out, "train.lr=1e-3").finish()
    assert code == 2
    assert "train.lr: 3e-05 in the run, 0.001 asked for" in errors
    assert "Traceback" not in errors
    assert unbroken.sums(6) == before


def test_a_run_whose_manifests_changed_goes_on_only_when_that_is_accepted(
    unbroken, start_training, recipe, corpus, tmp_path
):
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(unbroken.out, run)
    shutil.rmtree(run / "checkpoints" / "step-00000006")
    shutil.copytree(corpus, data)
    with (data / "music.jsonl").open("a") as manifest:
        manifest.write((data / "music.jsonl").read_text().splitlines()[0].replace('"id": "', '"id": "again-') + "\n")
    root = f"data.root={data}"
    code, errors = start_training(recipe, run, root).finish()
    assert code == 2 and "manifest music/music.jsonl has fingerprint" in errors
    training = start_training(recipe, run, root, "--accept-changed-data")
    code, errors = training.finish()
    assert code == 0, errors
    assert "warning: manifest music/music.jsonl" in errors
    assert [line["step"] for line in training.metrics() if line["event"] == "changed_data"] == [4]
    assert [training.steps()[step]["loss"] for step in (1, 4)] == [unbroken.steps()[step]["loss"] for step in (1, 4)]
    assert sorted(training.steps()) == [1, 2, 3, 4, 5, 6]
