"""The starter of ranks: environment, exit codes; whole runs under it are in tests/integration/test_faults.py."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from whisper_aut.errors import EnvironmentProblem
from whisper_aut.train import start

_spec = importlib.util.spec_from_file_location("control_groups", Path(__file__).parents[1] / "control_groups.py")
assert _spec is not None and _spec.loader is not None
_groups = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_groups)


@pytest.fixture
def ranks_that(monkeypatch, tmp_path):
    """Runs a line of Python on each rank in place of whisper-aut."""
    monkeypatch.delenv("RANK", raising=False)
    package = tmp_path / "path" / "whisper_aut"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(package.parent))

    def run(line: str, num_ranks: int = 3, *arguments: str) -> int:
        (package / "__main__.py").write_text(
            f"import json, os, signal, sys, time\nrank = int(os.environ['RANK'])\n{line}\n"
        )
        return start.start_ranks(num_ranks, arguments)

    return run


def test_every_rank_gets_its_place_and_the_words(ranks_that, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    line = f"json.dump([dict(os.environ), sys.argv[1:]], open(r'{tmp_path}/' + str(rank), 'w'))"
    assert ranks_that(line, 2, "train", "a recipe.yaml", "--out", "x y") == 0
    told = [json.loads((tmp_path / str(rank)).read_text()) for rank in range(2)]
    for rank, (environment, words) in enumerate(told):
        assert words == ["train", "a recipe.yaml", "--out", "x y"]
        assert (environment["RANK"], environment["LOCAL_RANK"], environment["WORLD_SIZE"]) == (
            str(rank),
            str(rank),
            "2",
        )
        assert environment["MASTER_ADDR"] == "127.0.0.1"
        assert 1 <= int(environment["OMP_NUM_THREADS"]) <= (os.cpu_count() or 1)
    assert told[0][0]["MASTER_PORT"] == told[1][0]["MASTER_PORT"]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([0, 0, 0], 0), ([75, 75, 75], 75), ([0, 75, 75], 75), ([2, 1, 2], 2), ([75, 2, 75], 2), ([1, 2, 2], 1)],
)
def test_the_code_is_the_first_failure_else_75_else_0(ranks_that, codes, expected):
    assert ranks_that(f"sys.exit({codes}[rank])") == expected


def test_a_rank_that_a_signal_ended_counts_as_lost(ranks_that, capsys):
    assert ranks_that("rank == 1 and os.kill(os.getpid(), signal.SIGKILL)") == 1
    assert "ended by signal 9; the others end" in capsys.readouterr().err  # nothing speaks for a lack of memory


def test_the_last_rank_s_failure_is_said_as_well(ranks_that, capsys):
    assert ranks_that("sys.exit(2)", 1) == 2
    assert capsys.readouterr().err.endswith(") ended by code 2\n")


def test_a_rank_that_was_killed_for_memory_is_explained(ranks_that):
    ranks_that("held = bytearray(2_000_000_000) if rank == 1 and 'hold' in sys.argv else None", 1)  # writes the line
    code = "import sys; from whisper_aut.train.start import start_ranks; sys.exit(start_ranks(2, ['hold']))"
    with _groups.limited_group(memory_bytes=300_000_000) as enter:
        # This process finds the real package, its ranks the one that was written.
        here = f"import os, sys; sys.path.insert(0, r'{Path(start.__file__).parents[2]}'); {code}"
        done = subprocess.run(
            [sys.executable, "-P", "-c", here], preexec_fn=enter, capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert "train: rank 1 (process " in done.stderr
    assert ") ended by signal 9, most likely out of memory: 0." in done.stderr
    assert "GB free of 0.3 GB after its end (lower train.micro_batch_clips or data.num_workers)" in done.stderr


def test_ranks_that_stay_after_another_failed_are_ended(ranks_that, monkeypatch):
    monkeypatch.setattr(start, "_PATIENCE_SEC", 0.5)
    assert ranks_that("rank == 2 and sys.exit(2); time.sleep(600)") in {1, 2}


def test_under_a_launcher_it_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(EnvironmentProblem, match="this process is rank 3 of a launcher already"):
        start.start_ranks(2, ["train"])
