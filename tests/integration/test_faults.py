"""What happens to real runs: ranks that die or hang, signals to one of them, a full disk, a checkpoint that is evil.

After each of them the same command goes on and ends where the unbroken run ends. The longer campaign, with kills at
random moments, is ``tests/integration/fault_campaign.py``.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from whisper_aut.train.checkpoint import SUMS, WEIGHTS

pytestmark = pytest.mark.integration

RARE = "train.checkpoint_every_steps=100"
TWO = ("train.deepspeed=zero2",)


@pytest.fixture(scope="session")
def unbroken_two(start_training, recipe, tmp_path_factory):
    """Two ranks that nothing disturbs."""
    training = start_training(recipe, tmp_path_factory.mktemp("unbroken-two") / "run", *TWO, ranks=2)
    code, errors = training.finish()
    assert code == 0, errors
    return training


def test_a_signal_to_one_rank_stops_all_and_the_run_goes_on_with_one_rank_then_with_two(
    unbroken, start_training, recipe, tmp_path
):
    run = tmp_path / "run"
    first = start_training(recipe, run, *TWO, RARE, ranks=2, hold_after=1)
    first.wait_until(lambda: bool(first.steps()))
    first.ranks[1].send_signal(signal.SIGUSR1)
    first.hold.release()  # of rank 0
    code, errors = first.finish()
    assert [rank.returncode for rank in first.ranks] == [75, 75], errors
    assert "stopped by SIGUSR1 after step" in errors
    assert "stopped by a signal on another rank after step" in errors

    second = start_training(recipe, run, "train.deepspeed=zero3", RARE, hold_after=3)
    second.wait_until(lambda: any(line["event"] == "resume" for line in second.metrics()))
    second.signal_all(signal.SIGINT)
    code, errors = second.finish()
    assert code == 75, errors

    third = start_training(recipe, run, *TWO, RARE, ranks=2)
    code, errors = third.finish()
    assert code == 0, errors
    resumed = [line for line in third.metrics() if line["event"] == "resume"]
    assert [line["world_size"] for line in resumed] == [1, 2]
    third.assert_same_clips(unbroken)
    for number, line in unbroken.steps().items():
        assert third.steps()[number]["loss"] == pytest.approx(line["loss"], rel=1e-5), number


def test_one_command_starts_two_ranks_which_outlive_its_death_until_they_have_saved_and_75_comes_back(
    unbroken_two, start_training, recipe, tmp_path
):
    run = tmp_path / "run"
    words = ("--ranks", "2", RARE, *TWO)
    first = start_training(recipe, run, *words, launched=False, forked=False, hold_after=2)
    first.wait_until(lambda: bool(first.steps()))
    first.ranks[0].kill()
    first.finish()  # returns when the ranks, which hold its standard error, are gone
    (saved,) = (run / "checkpoints").glob("step-*")

    second = start_training(recipe, run, *words, launched=False, forked=False, hold_after=4)
    second.wait_until(lambda: any(line["event"] == "resume" for line in second.metrics()))
    second.ranks[0].send_signal(signal.SIGTERM)
    code, errors = second.finish()
    assert code == 75, errors
    assert f"going on from {saved}" in errors
    assert "stopped by SIGTERM" in errors

    third = start_training(recipe, run, RARE, *TWO, ranks=2)
    code, errors = third.finish()
    assert code == 0, errors
    third.assert_same_bits(unbroken_two)


def test_a_rank_that_is_killed_ends_the_run_by_its_name_and_the_run_goes_on_bit_for_bit(
    unbroken_two, start_training, recipe, tmp_path
):
    soon = {"WHISPER_AUT_DEAD_SEC": "6"}
    training = start_training(
        recipe, tmp_path / "run", *TWO, "data.num_workers=1", ranks=2, hold_after=5, environment=soon
    )
    training.wait_until(lambda: (tmp_path / "run" / "checkpoints" / "step-00000002").is_dir())
    training.ranks[1].kill()
    training.hold.release()
    training.finish()
    assert training.ranks[0].returncode == 1
    errors = training.errors[0]
    assert f"error (rank 0): rank 1 (process {training.ranks[1].pid} on " in errors
    assert "has not been heard of" in errors and "killed, out of memory, or its machine is lost" in errors
    assert "run the same command again to go on from the newest" in errors
    assert "Traceback" not in errors

    resumed = start_training(recipe, tmp_path / "run", *TWO, ranks=2)
    code, errors = resumed.finish()
    assert code == 0, errors
    assert "going on from" in errors
    resumed.assert_same_bits(unbroken_two)


def test_a_loader_that_hangs_is_named_with_the_clips_it_was_at(start_training, recipe, tmp_path):
    training = start_training(
        recipe, tmp_path / "run", "data.num_workers=1", "train.stall_sec=8", "train.steps=400", RARE, hold_after=1
    )
    training.wait_until(lambda: bool(training.steps()))
    parent = training.ranks[0].pid
    workers = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    assert workers
    try:
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        training.hold.release()
        code, errors = training.finish()
    finally:
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
    assert code == 1, errors
    assert "hangs for" in errors and "waiting for the data of step" in errors
    assert "clips environment-" in errors or "clips speech-" in errors or "clips music-" in errors, errors[-2000:]
    assert "_waited_for" in errors  # the stack says where


def test_a_loader_that_is_killed_ends_the_run_with_a_remedy(start_training, recipe, tmp_path):
    training = start_training(recipe, tmp_path / "run", "data.num_workers=1", "train.steps=400", RARE, hold_after=1)
    training.wait_until(lambda: bool(training.steps()))
    parent = training.ranks[0].pid
    os.kill(int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0]), signal.SIGKILL)
    training.hold.release()
    code, errors = training.finish()
    assert code == 1, errors
    assert "error: a process that loads data is gone: " in errors
    assert "lower data.num_workers" in errors
    assert "Traceback" not in errors


class Evil:
    """A pickle that leaves a trace where it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (os.mkdir, (str(self.trace),))


def copied(training, folder: Path) -> Path:
    """A finished run to damage."""
    return Path(shutil.copytree(training.out, folder))


def rewrite_sums(folder: Path) -> None:
    files = sorted(path for path in folder.iterdir() if path.name != SUMS)
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (folder / SUMS).write_text(json.dumps(sums))


@pytest.mark.parametrize("damage", ["truncated", "evil pickle"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(unbroken, start_training, recipe, tmp_path, damage):
    run = copied(unbroken, tmp_path / "run")
    newest = run / "checkpoints" / "step-00000006"
    if damage == "truncated":
        os.truncate(newest / WEIGHTS, 1_000_000)
    else:
        torch.save(Evil(tmp_path / "evil-was-here"), newest / WEIGHTS)
        rewrite_sums(newest)
    training = start_training(recipe, run)
    code, errors = training.finish()
    assert code == 0, errors
    assert f"warning: {newest} is damaged" in errors and "falling back" in errors
    assert f"going on from {run / 'checkpoints' / 'step-00000004'}" in errors
    assert not (tmp_path / "evil-was-here").exists()
    training.assert_same_bits(unbroken)


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system of so many megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(megabytes: int, *, again: bool = False) -> Path:
        options = f"{'remount,' * again}size={megabytes}m"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def test_a_full_disk_costs_no_work_that_was_saved_and_says_what_to_free(
    unbroken, start_training, recipe, tmp_path, small_disk
):
    """There is room for one checkpoint of 44 MB. The second fails, training goes on, the last one must stand and
    cannot: the run ends, and with more room it goes on from the first."""
    run = small_disk(68) / "run"
    training = start_training(recipe, run, "train.keep_checkpoints=1")
    code, errors = training.finish()
    assert code == 2, errors
    assert "warning: the checkpoint of step 4 cannot be written: " in errors
    assert "training goes on; the next checkpoint tries again" in errors
    assert "error: the checkpoint of step 6 cannot be written: " in errors
    assert "it needs 0.04 GB" in errors and "are free; older checkpoints stand: free some space" in errors
    assert "Traceback" not in errors
    kept = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert kept == ["latest", "step-00000002"]

    small_disk(200, again=True)
    resumed = start_training(recipe, run, "train.keep_checkpoints=1")
    code, errors = resumed.finish()
    assert code == 0, errors
    assert f"going on from {run / 'checkpoints' / 'step-00000002'}" in errors
    resumed.assert_same_bits(unbroken)
