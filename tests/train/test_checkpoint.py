"""Checkpoints: whole or not at all, verified, kept to a number. Kills and full disks are real."""

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
    STATE,
    SUMS,
    WEIGHTS,
    TrainedState,
    keep_newest,
    list_checkpoints,
    newest_checkpoint,
    read_moments,
    read_state,
    read_weights,
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


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    state = trained()
    folder = save_checkpoint(tmp_path / "checkpoints", 5, state, {"identity": {"x": 1}})
    assert folder == step_folder(tmp_path / "checkpoints", 5)
    assert read_state(folder) == {"format_version": FORMAT_VERSION, "step": 5, "identity": {"x": 1}}
    for found, expected in [
        (read_weights(folder), state.weights),
        (read_moments(folder)["exp_avg"], state.moments["exp_avg"]),
        (read_moments(folder)["exp_avg_sq"], state.moments["exp_avg_sq"]),
    ]:
        assert set(found) == set(expected)
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_nothing_but_the_checkpoint_is_left_behind(tmp_path):
    save_checkpoint(tmp_path, 1, trained(), {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_the_newest_is_by_number_and_other_names_are_not_checkpoints(tmp_path):
    for step in (9, 10, 100):
        save_checkpoint(tmp_path, step, trained(), {})
    (tmp_path / "step-00000200.tmp").mkdir()
    (tmp_path / ".step-00000300.77").mkdir()
    (tmp_path / "step-00000400").write_text("a file")
    assert newest_checkpoint(tmp_path) == step_folder(tmp_path, 100)
    assert newest_checkpoint(tmp_path / "nowhere") is None


def test_only_the_newest_are_kept(tmp_path):
    for step in (1, 2, 3, 4):
        save_checkpoint(tmp_path, step, trained(), {})
        keep_newest(tmp_path, 2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000003", "step-00000004"]


@pytest.mark.parametrize("file", [WEIGHTS, "exp_avg.safetensors", "exp_avg_sq.safetensors", STATE])
@pytest.mark.parametrize("place", [0, 100, -1])
def test_one_flipped_byte_is_found_and_the_older_checkpoint_serves(tmp_path, capsys, file, place):
    older, newer = (save_checkpoint(tmp_path, step, trained(step), {"a": "b" * 99}) for step in (1, 2))
    content = bytearray((newer / file).read_bytes())
    content[place] ^= 1
    (newer / file).write_bytes(content)
    assert newest_checkpoint(tmp_path) == older
    assert f"warning: {newer} is damaged ({file}" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="damaged"):
        read_weights(newer)


@pytest.mark.parametrize("file", [WEIGHTS, STATE, SUMS, "exp_avg.safetensors"])
@pytest.mark.parametrize("damage", ["removed", "emptied", "cut"])
def test_a_missing_or_cut_file_is_found(tmp_path, file, damage):
    folder = save_checkpoint(tmp_path, 1, trained(), {})
    path = folder / file
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 0 if damage == "emptied" else -3])
    assert newest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("sums", ["[]", "{}", "null", '{"../outside": "00"}', '{"state.json": 5}'])
def test_sums_that_name_nothing_or_too_much_are_damage(tmp_path, sums):
    folder = save_checkpoint(tmp_path / "checkpoints", 1, trained(), {})
    (folder / SUMS).write_text(sums)
    assert newest_checkpoint(tmp_path / "checkpoints") is None


def test_a_newer_format_is_refused_by_number(tmp_path):
    folder = save_checkpoint(tmp_path, 1, trained(), {})
    state = json.loads((folder / STATE).read_text())
    (folder / STATE).write_text(json.dumps(state | {"format_version": FORMAT_VERSION + 1}))
    rewrite_sums(folder)
    with pytest.raises(CheckpointError, match=f"has format {FORMAT_VERSION + 1}, this whisper-aut reads"):
        read_state(folder)


def test_a_step_that_is_there_whole_is_not_written_again_and_a_damaged_one_is(tmp_path):
    folder = save_checkpoint(tmp_path, 1, trained(), {})
    before = (folder / WEIGHTS).stat().st_mtime_ns
    assert save_checkpoint(tmp_path, 1, trained(), {}) == folder
    assert (folder / WEIGHTS).stat().st_mtime_ns == before
    (folder / WEIGHTS).write_bytes(b"")
    save_checkpoint(tmp_path, 1, trained(), {})
    assert torch.equal(read_weights(folder)["a.weight"], trained().weights["a.weight"])


def test_leftovers_of_a_killed_save_are_cleared_by_the_next(tmp_path):
    (tmp_path / ".step-00000001.123").mkdir(parents=True)
    (tmp_path / ".step-00000001.123" / WEIGHTS).write_bytes(b"half")
    save_checkpoint(tmp_path, 2, trained(), {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


_SAVE_FOR_EVER = """
    import sys, torch
    from pathlib import Path
    from whisper_aut.train.checkpoint import *
    def part(step): return {f"t{i}": torch.full((1 << 18,), float(step)) for i in range(8)}  # 8 MB
    print("ready", flush=True)
    for step in range(1, 10**6):
        trained = TrainedState(part(step), {"exp_avg": part(step), "exp_avg_sq": {}})
        save_checkpoint(Path(sys.argv[1]), step, trained, {})
        keep_newest(Path(sys.argv[1]), 2)
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
    for folder in list_checkpoints(checkpoints)[-1:]:  # an older one may be half removed, the newest never
        step = read_state(folder)["step"]
        assert folder == step_folder(checkpoints, step)
        assert {float(tensor[0]) for tensor in read_weights(folder).values()} == {float(step)}


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
    assert [path.name for path in tmp_path.iterdir()] == [older.name]
    assert newest_checkpoint(tmp_path) == older


def test_a_place_that_cannot_be_written_is_a_users_error(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(tmp_path / "checkpoints", 1, trained(), {})


def test_checkpoints_can_be_moved(tmp_path):
    folder = save_checkpoint(tmp_path / "a", 1, trained(), {})
    shutil.move(folder.parent, tmp_path / "b")
    assert read_state(step_folder(tmp_path / "b", 1))["step"] == 1
