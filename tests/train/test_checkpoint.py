"""Checkpoints: whole or not at all, verified, kept to a number. Kills and full disks are real."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from whisper_aut.errors import CheckpointError
from whisper_aut.train.checkpoint import (
    FORMAT_VERSION,
    LATEST,
    STATE,
    SUMS,
    WEIGHTS,
    BrokenWeights,
    TrainedState,
    check_finite,
    list_checkpoints,
    newest_checkpoint,
    open_checkpoint,
    remove_obsolete,
    save_checkpoint,
    step_folder,
)


def trained(seed: int = 0, size: int = 64) -> TrainedState:
    generator = torch.Generator().manual_seed(seed)

    def tensors() -> dict[str, torch.Tensor]:
        return {name: torch.randn(size, 8, generator=generator) for name in ("a.weight", "b.weight")}

    return TrainedState(tensors(), {"exp_avg": tensors(), "exp_avg_sq": tensors()})


def rewrite_sums(folder) -> None:
    """What a writer that knows the format would leave."""
    import hashlib

    sums = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir()) if p.name != SUMS}
    (folder / SUMS).write_text(json.dumps(sums))


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def newest_folder(checkpoints):
    newest = newest_checkpoint(checkpoints)
    return newest.folder if newest else None


def assert_none_is_sound(checkpoints) -> None:
    """Refused by name: taken for a fresh start, the run would overwrite what might still be mended."""
    with pytest.raises(CheckpointError, match=r"not one checkpoint is sound: step-00000001 \("):
        newest_checkpoint(checkpoints)


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    state = trained()
    folder = save_checkpoint(tmp_path / "checkpoints", 5, state, {"identity": {"x": 1}})
    assert folder == step_folder(tmp_path / "checkpoints", 5)
    found = open_checkpoint(folder)
    assert found.state == {"format_version": FORMAT_VERSION, "step": 5, "identity": {"x": 1}}
    assert found.step == 5
    for tensors, expected in [
        (found.weights(), state.weights),
        (found.moments()["exp_avg"], state.moments["exp_avg"]),
        (found.moments()["exp_avg_sq"], state.moments["exp_avg_sq"]),
    ]:
        assert set(tensors) == set(expected)
        assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())


def test_nothing_but_the_checkpoint_is_left_behind(tmp_path):
    save_checkpoint(tmp_path, 1, trained(), {})
    assert names(tmp_path) == [LATEST, "step-00000001"]
    assert (tmp_path / LATEST).read_text() == "step-00000001\n"


def test_the_newest_is_by_number_and_other_names_are_not_checkpoints(tmp_path):
    for step in (9, 10, 100):
        save_checkpoint(tmp_path, step, trained(), {})
    (tmp_path / "step-00000200.tmp").mkdir()
    (tmp_path / ".step-00000300.77").mkdir()
    (tmp_path / "step-00000400").write_text("a file")
    assert newest_folder(tmp_path) == step_folder(tmp_path, 100)
    assert newest_checkpoint(tmp_path / "nowhere") is None


def kept(folder) -> list[int]:
    return [open_checkpoint(path).step for path in list_checkpoints(folder)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"keep_last": 2, "keep_every_steps": None, "keep_best": False}, [50, 60]),
        ({"keep_last": 1, "keep_every_steps": 20, "keep_best": False}, [20, 40, 60]),
        ({"keep_last": 1, "keep_every_steps": None, "keep_best": True}, [30, 60]),
        ({"keep_last": 1, "keep_every_steps": 50, "keep_best": True}, [30, 50, 60]),
        ({"keep_last": 9, "keep_every_steps": None, "keep_best": False}, [10, 20, 30, 40, 50, 60]),
    ],
)
def test_the_last_the_best_and_every_so_many_steps_are_kept(tmp_path, settings, expected):
    """The best by the mean over domains; one that was saved without a validation is never the best."""
    losses = {10: (3.0, 3.0), 20: None, 30: (1.0, 1.0), 40: (0.5, 1.6), 50: None, 60: (2.0, 2.0)}
    for step, loss in losses.items():
        state = {"validation_loss": {} if loss is None else dict(zip(("speech", "music"), loss, strict=True))}
        save_checkpoint(tmp_path, step, trained(), state)
    remove_obsolete(tmp_path, **settings)
    assert kept(tmp_path) == expected
    assert names(tmp_path) == sorted([LATEST, *(step_folder(tmp_path, step).name for step in expected)])


def test_of_a_run_without_validation_the_last_are_kept(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, trained(), {})
    (step_folder(tmp_path, 1) / STATE).write_text("no longer JSON")
    remove_obsolete(tmp_path, keep_last=1, keep_every_steps=None, keep_best=True)
    assert kept(tmp_path) == [3]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value):
    weights = trained().weights
    check_finite(1, weights)
    weights["b.weight"][3, 5] = value
    with pytest.raises(BrokenWeights, match=r"after step 7 1 of 2 tensors .* the first is 'b\.weight'"):
        check_finite(7, weights)


class Evil:
    """What a pickle can do."""

    def __reduce__(self):
        return (os.mkdir, ("evil-was-here",))


@pytest.mark.parametrize("file", [WEIGHTS, "exp_avg.safetensors", STATE])
def test_a_pickle_in_place_of_a_file_is_damage_and_is_never_loaded_even_with_right_sums(tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    older, newer = (save_checkpoint(tmp_path, step, trained(step), {}) for step in (1, 2))
    torch.save({"a.weight": Evil()}, newer / file)
    rewrite_sums(newer)
    assert newest_folder(tmp_path) == older
    with pytest.raises(CheckpointError, match="damaged"):
        open_checkpoint(newer)
    assert not (tmp_path / "evil-was-here").exists()
    with pytest.raises(FileExistsError):  # the pickle itself works: loading it twice makes the folder twice
        for _ in range(2):
            torch.load(io.BytesIO((newer / file).read_bytes()), weights_only=False)


@pytest.mark.parametrize("file", [WEIGHTS, "exp_avg.safetensors", "exp_avg_sq.safetensors", STATE])
@pytest.mark.parametrize("place", [0, 100, -1])
def test_one_flipped_byte_is_found_and_the_older_checkpoint_serves(tmp_path, capsys, file, place):
    older, newer = (save_checkpoint(tmp_path, step, trained(step), {"a": "b" * 99}) for step in (1, 2))
    content = bytearray((newer / file).read_bytes())
    content[place] ^= 1
    (newer / file).write_bytes(content)
    assert newest_folder(tmp_path) == older
    assert f"warning: {newer} is damaged ({file}" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="damaged"):
        open_checkpoint(newer)


@pytest.mark.parametrize("file", [WEIGHTS, STATE, SUMS, "exp_avg.safetensors"])
@pytest.mark.parametrize("damage", ["removed", "emptied", "cut"])
def test_a_missing_or_cut_file_is_found(tmp_path, file, damage):
    folder = save_checkpoint(tmp_path, 1, trained(), {})
    path = folder / file
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 0 if damage == "emptied" else -3])
    assert_none_is_sound(tmp_path)


@pytest.mark.parametrize("sums", ["[]", "{}", "null", '{"../outside": "00"}', '{"state.json": 5}'])
def test_sums_that_name_nothing_or_too_much_are_damage(tmp_path, sums):
    folder = save_checkpoint(tmp_path / "checkpoints", 1, trained(), {})
    (folder / SUMS).write_text(sums)
    assert_none_is_sound(tmp_path / "checkpoints")


def test_a_newer_format_is_refused_by_number(tmp_path):
    folder = save_checkpoint(tmp_path, 1, trained(), {})
    state = json.loads((folder / STATE).read_text())
    (folder / STATE).write_text(json.dumps(state | {"format_version": FORMAT_VERSION + 1}))
    rewrite_sums(folder)
    with pytest.raises(CheckpointError, match=f"has format {FORMAT_VERSION + 1}, this whisper-aut reads"):
        open_checkpoint(folder)


def test_a_step_that_is_there_whole_is_not_written_again_and_a_damaged_one_is(tmp_path):
    folder = save_checkpoint(tmp_path, 1, trained(), {})
    before = (folder / WEIGHTS).stat().st_mtime_ns
    assert save_checkpoint(tmp_path, 1, trained(), {}) == folder
    assert (folder / WEIGHTS).stat().st_mtime_ns == before
    (folder / WEIGHTS).write_bytes(b"")
    save_checkpoint(tmp_path, 1, trained(), {})
    assert torch.equal(open_checkpoint(folder).weights()["a.weight"], trained().weights["a.weight"])


def test_leftovers_of_a_killed_save_are_cleared_by_the_next(tmp_path):
    (tmp_path / ".step-00000001.123").mkdir(parents=True)
    (tmp_path / ".step-00000001.123" / WEIGHTS).write_bytes(b"half")
    (tmp_path / ".step-00000001.old.9").mkdir()
    (tmp_path / ".latest.9.partial").write_text("step-0")
    save_checkpoint(tmp_path, 2, trained(), {})
    assert names(tmp_path) == [LATEST, "step-00000002"]


_BOUNDARIES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}


def save_and_die_at(checkpoints, boundary: int) -> bool:
    """Save step 3 and drop step 1 in a process that kills itself before its ``boundary``-th change or sync of a file;
    whether it came so far."""
    child = os.fork()
    if child == 0:
        count = 0

        def reached(event: str, arguments: object = ()) -> None:
            nonlocal count
            if event in _BOUNDARIES and "step-" in str(arguments) + "step-" * (event == "sync"):
                count += 1
                if count == boundary:
                    os.kill(os.getpid(), signal.SIGKILL)

        fsync = os.fsync

        def counted_fsync(handle: int) -> None:
            reached("os.mkdir", "step-")
            fsync(handle)

        os.fsync = counted_fsync
        sys.addaudithook(reached)
        save_checkpoint(checkpoints, 3, trained(3), {})
        remove_obsolete(checkpoints, keep_last=2, keep_every_steps=None, keep_best=False)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_a_kill_at_every_boundary_of_a_save_and_a_removal_leaves_whole_checkpoints_and_the_next_save_mends(tmp_path):
    boundary = 0
    while True:
        boundary += 1
        checkpoints = tmp_path / str(boundary)
        for step in (1, 2):
            save_checkpoint(checkpoints, step, trained(step), {})
        killed = save_and_die_at(checkpoints, boundary)
        found = {checkpoint.step: checkpoint for checkpoint in map(open_checkpoint, list_checkpoints(checkpoints))}
        newest = newest_checkpoint(checkpoints)
        assert newest is not None
        assert newest.step == max(found) >= 2
        assert (checkpoints / LATEST).read_text().strip() in {step_folder(checkpoints, step).name for step in (2, 3)}
        for step, checkpoint in found.items():
            assert torch.equal(checkpoint.weights()["a.weight"], trained(step).weights["a.weight"])
        save_checkpoint(checkpoints, 3, trained(3), {})
        remove_obsolete(checkpoints, keep_last=2, keep_every_steps=None, keep_best=False)
        assert names(checkpoints) == [LATEST, "step-00000002", "step-00000003"]
        assert (checkpoints / LATEST).read_text() == "step-00000003\n"
        shutil.rmtree(checkpoints)
        if not killed:
            break
    assert boundary > 15  # four files and their sums, folders, latest, the removal of an old one


_SAVE_FOR_EVER = """
    import sys, torch
    from pathlib import Path
    from whisper_aut.train.checkpoint import *
    def part(step): return {f"t{i}": torch.full((1 << 18,), float(step)) for i in range(8)}  # 8 MB
    print("ready", flush=True)
    for step in range(1, 10**6):
        trained = TrainedState(part(step), {"exp_avg": part(step), "exp_avg_sq": {}})
        save_checkpoint(Path(sys.argv[1]), step, trained, {})
        remove_obsolete(Path(sys.argv[1]), keep_last=2, keep_every_steps=None, keep_best=False)
"""


@pytest.mark.parametrize("delay_sec", [0.0, 0.05, 0.13, 0.21])
def test_a_kill_in_the_middle_of_saving_leaves_only_whole_checkpoints(tmp_path, delay_sec):
    """The child does nothing but save; wherever the kill falls, what has a checkpoint's name is sound and its own."""
    checkpoints = tmp_path / "checkpoints"
    command = [sys.executable, "-c", textwrap.dedent(_SAVE_FOR_EVER), str(checkpoints)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        deadline_sec = time.monotonic() + 30
        # Two are kept: with both there, and a third under way, the kill falls into a save (or between two).
        while len(list_checkpoints(checkpoints)) < 2 and time.monotonic() < deadline_sec:
            time.sleep(0.005)
        time.sleep(delay_sec)
        os.kill(child.pid, signal.SIGKILL)
    newest = newest_checkpoint(checkpoints)
    assert newest is not None
    for found in map(open_checkpoint, list_checkpoints(checkpoints)):
        assert found.folder == step_folder(checkpoints, found.step)
        assert {float(tensor[0]) for tensor in found.weights().values()} == {float(found.step)}


_SAVE_ON_A_FULL_DISK = """
    import resource, sys
    from pathlib import Path
    from whisper_aut.errors import CheckpointError
    from whisper_aut.train.checkpoint import *
    import torch
    big = {"a": torch.zeros(1 << 20)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    try:
        save_checkpoint(Path(sys.argv[1]), 2, TrainedState(big, {"exp_avg": {}, "exp_avg_sq": {}}), {})
    except CheckpointError as error:
        print(error)
"""


def test_when_the_disk_takes_no_more_the_older_checkpoint_stands_and_nothing_half_is_left(tmp_path):
    """The child may write one megabyte a file: the system refuses the rest, as it does on a full disk."""
    older = save_checkpoint(tmp_path, 1, trained(), {})
    command = [sys.executable, "-c", textwrap.dedent(_SAVE_ON_A_FULL_DISK), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "the checkpoint of step 2 cannot be written" in ran.stdout
    assert "needs 0.00 GB" in ran.stdout and "older checkpoints stand" in ran.stdout
    assert names(tmp_path) == [LATEST, older.name]
    assert newest_folder(tmp_path) == older


def test_a_place_that_cannot_be_written_is_a_users_error(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(tmp_path / "checkpoints", 1, trained(), {})


def test_checkpoints_can_be_moved(tmp_path):
    folder = save_checkpoint(tmp_path / "a", 1, trained(), {})
    shutil.move(folder.parent, tmp_path / "b")
    assert open_checkpoint(step_folder(tmp_path / "b", 1)).step == 1
