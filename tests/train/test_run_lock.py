"""One process at a time trains into a folder."""

import subprocess
import sys
import textwrap

import pytest

from whisper_aut.errors import CheckpointError
from whisper_aut.train.run_folder import held_run_dir

_HOLD = """
    import os, sys, time
    from pathlib import Path
    from whisper_aut.train.run_folder import held_run_dir
    with held_run_dir(Path(sys.argv[1])):
        if os.fork() == 0:  # a loader process, which may outlive its parent by seconds
            time.sleep(60)
        print("held", flush=True)
        time.sleep(60)
"""


def test_a_second_process_is_refused_by_the_first_ones_name_until_that_one_is_gone(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(_HOLD), str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with (
            pytest.raises(CheckpointError, match=rf"another process trains into the folder: process {holder.pid} on"),
            held_run_dir(tmp_path / "run"),
        ):
            pass
        holder.kill()
        holder.wait()
        with held_run_dir(tmp_path / "run"):
            pass
        subprocess.run(["pkill", "-9", "-s", str(holder.pid)], check=False)


def test_a_folder_can_be_held_again_and_again(tmp_path):
    for _ in range(2):
        with held_run_dir(tmp_path / "run"):
            assert (tmp_path / "run" / "lock").read_text().startswith("process ")


def test_a_place_that_cannot_be_a_folder_is_a_users_error(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(CheckpointError, match="cannot be made"), held_run_dir(tmp_path / "run"):
        pass
