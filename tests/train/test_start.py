"""The starter of ranks: environment, exit codes; whole runs under it are in tests/integration/test_faults.py."""

import json
import os

import pytest

from whisper_aut.errors import EnvironmentProblem
from whisper_aut.train import start


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


def test_a_rank_that_a_signal_ended_counts_as_lost(ranks_that):
    assert ranks_that("rank == 1 and os.kill(os.getpid(), signal.SIGKILL)") == 1


def test_ranks_that_stay_after_another_failed_are_ended(ranks_that, monkeypatch):
    monkeypatch.setattr(start, "_PATIENCE_SEC", 0.5)
    assert ranks_that("rank == 2 and sys.exit(2); time.sleep(600)") in {1, 2}


def test_under_a_launcher_it_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(EnvironmentProblem, match="this process is rank 3 of a launcher already"):
        start.start_ranks(2, ["train"])
