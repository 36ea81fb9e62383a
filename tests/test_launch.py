"""The launch scripts say what they would run, and check a run for its ranks, where there is no GPU."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from whisper_aut.resources import resource

LAUNCH = Path(__file__).resolve().parents[1] / "launch"
SCRIPTS = sorted(path.name for path in LAUNCH.glob("train*"))


@pytest.fixture
def launch():
    """Runs a script with this interpreter's programs first on the path: exit code, standard output, standard error."""

    def launch(script: str, *arguments: object, **environment: str) -> tuple[int, str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "WORLD_SIZE"))}
        done = subprocess.run(
            ["bash", str(LAUNCH / script), *map(str, arguments)],
            env=kept | {"PATH": path} | environment, capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return launch


@pytest.fixture
def recipe(small_base, make_corpus, make_recipe) -> Path:
    return make_recipe(make_corpus(clips_per_domain=4), base=small_base)


@pytest.fixture
def hostfile(tmp_path) -> Path:
    path = tmp_path / "hosts"
    path.write_text("# two machines\nnode-1 slots=1\n\nnode-2.local slots=1\n")
    return path


def test_every_script_is_here_and_begins_with_its_own_manual():
    assert SCRIPTS == ["train.slurm", "train_1gpu.sh", "train_8gpu.sh", "train_multinode.sh"]
    for script in SCRIPTS:
        lines = (LAUNCH / script).read_text().splitlines()
        assert lines[0] == "#!/usr/bin/env bash" and lines[1].startswith("# Train ")
        assert any(f"launch/{script}" in line for line in lines[:5])


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_arguments_a_script_shows_its_manual(launch, script):
    code, _, errors = launch(script)
    assert code == 2
    assert f"launch/{script} " in errors and not errors.startswith("#")


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_sound_for_bash(script):
    subprocess.run(["bash", "-n", str(LAUNCH / script)], check=True)


@pytest.mark.parametrize(
    ("script", "environment", "command"),
    [
        ("train_1gpu.sh", {}, "whisper-aut train"),
        ("train_8gpu.sh", {"NUM_GPUS": "2"}, "whisper-aut train"),
        ("train.slurm", {"NUM_RANKS": "2"}, "srun --wait=60 bash -c "),
    ],
)
def test_a_dry_run_prints_the_command_and_the_plan_of_its_ranks(launch, recipe, tmp_path, script, environment, command):
    code, out, errors = launch(script, recipe, "--out", tmp_path / "a run", "--dry-run", **environment)
    assert code == 0, errors
    first, *plan = out.splitlines()
    words = shlex.split(first)
    assert first.startswith(f"+ {command}") and "--dry-run" not in words
    at = words.index(str(recipe))
    assert words[at : at + 3] == [str(recipe), "--out", str(tmp_path / "a run")]
    assert words[at + 3 :] == (["--ranks", "2"] if script == "train_8gpu.sh" else [])
    ranks = (environment or {"NUM": "1"}).popitem()[1]
    assert any(f"memory per rank of {ranks}," in line for line in plan)
    assert not (tmp_path / "a run").exists()


def test_several_machines_count_their_gpus(launch, recipe, hostfile, tmp_path):
    code, out, errors = launch("train_multinode.sh", hostfile, recipe, "--out", tmp_path / "run", "--dry-run")
    assert code == 0, errors
    assert out.startswith(f"+ deepspeed --hostfile {hostfile} --module whisper_aut train {recipe}")
    assert "memory per rank of 2," in out


def test_a_step_that_the_ranks_cannot_share_is_refused_before_a_gpu_is_asked_for(launch, recipe, tmp_path):
    code, _, errors = launch("train_8gpu.sh", recipe, "--out", tmp_path / "run", "--dry-run", NUM_GPUS="3")
    assert code == 2
    assert "error" in errors and "3" in errors and "Traceback" not in errors


@pytest.mark.parametrize("line", ["node-1", "node-1 slots=0", "node-1 slots=x", "node 1 slots=2", "; rm -rf x slots=1"])
def test_a_hostfile_that_says_something_else_is_refused(launch, recipe, tmp_path, line):
    (tmp_path / "hosts").write_text(f"{line}\n")
    code, _, errors = launch("train_multinode.sh", tmp_path / "hosts", recipe, "--dry-run")
    assert code == 2 and line in errors


def test_a_hostfile_that_is_missing_or_empty_is_refused(launch, recipe, tmp_path):
    assert "no hostfile" in launch("train_multinode.sh", tmp_path / "hosts", recipe, "--dry-run")[2]
    (tmp_path / "hosts").write_text("# nobody\n")
    assert "names no machine" in launch("train_multinode.sh", tmp_path / "hosts", recipe, "--dry-run")[2]


def test_strategies_of_the_manuals_exist():
    for name in ("zero1", "zero2", "zero3"):
        assert resource(f"ds_configs/{name}.json").is_file()
