"""Real processes that die, hang or fail: the others end soon and say which rank it was and where."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest
from fork_server import Forked
from torch.distributed import HashStore

from whisper_aut.errors import EnvironmentProblem
from whisper_aut.train.start import free_port
from whisper_aut.train.watchdog import Watchdog

_SCRIPT = Path(__file__).with_name("watchdog_script.py")


@pytest.fixture
def start(forks):
    """Starts a rank for each deed and waits until all have met."""

    def start(*deeds: str, patient: bool = False) -> list[Forked]:
        port = free_port()
        ranks = [
            forks.start(
                [_SCRIPT, rank, len(deeds), port, deed, *["p"] * patient],
                env=os.environ | {"WHISPER_AUT_DEAD_SEC": "6"},
            )
            for rank, deed in enumerate(deeds)
        ]
        for rank in ranks:
            while rank.said() != "ready\n":
                assert rank.poll() is None, rank.communicate()[1]
                time.sleep(0.01)
        return ranks

    return start


def end(rank: Forked) -> tuple[int, str]:
    errors = rank.communicate(timeout=300)[1]
    assert rank.returncode is not None
    return rank.returncode, errors


@pytest.mark.parametrize("dying", [0, 1])
def test_a_rank_that_is_killed_is_named_by_the_other(start, dying):
    ranks = start("wait", "wait", patient=True)
    ranks[dying].kill()
    code, errors = end(ranks[1 - dying])
    assert code == 1
    if dying == 1:
        assert f"error (rank 0): rank 1 (process {ranks[1].pid} on {socket.gethostname()}) has not been heard" in errors
        assert "it was last waiting for other ranks in step 3" in errors
    else:
        assert "error (rank 1): rank 0, which holds the common store, cannot be reached" in errors
    assert "remedy: begin again" in errors
    end(ranks[dying])


def test_a_machine_that_freezes_is_noticed_by_the_others(start):
    """Rank 0 holds the store: asked while its process is stopped, it never answers."""
    ranks = start("wait", "wait", "wait", patient=True)
    os.kill(ranks[0].pid, signal.SIGSTOP)
    try:
        for rank in ranks[1:]:
            code, errors = end(rank)
            assert code == 1
            assert "rank 0, which holds the common store, cannot be reached" in errors
    finally:
        ranks[0].kill()
        end(ranks[0])


def test_a_rank_that_hangs_is_told_from_those_that_wait_for_it_and_all_show_their_stacks(start):
    ranks = start("wait", "hang", "wait")
    for number, rank in enumerate(ranks):
        code, errors = end(rank)
        assert code == 1
        assert f"error (rank {number}): rank 1 (process {ranks[1].pid}" in errors
        assert "waiting for the data of step 3: clips a, b; rank(s) 0, 2 wait for it" in errors
        assert "Thread" in errors and "File" in errors


def test_a_lonely_rank_that_hangs_ends_too(start):
    (rank,) = start("hang")
    code, errors = end(rank)
    assert code == 1
    assert errors.startswith("error: rank 0 (process ")
    assert "hangs for" in errors and "clips a, b" in errors


def test_where_nobody_can_say_how_long_it_takes_nothing_hangs(start):
    (rank,) = start("be patient")
    assert end(rank) == (0, "")


@pytest.mark.parametrize(
    ("failing", "deed", "code", "reason", "remedy"),
    [(1, "fail", 2, "clip x is broken", "mend x"), (0, "crash", 1, "KeyError: 'bug'", "begin again")],
)
def test_an_error_on_one_rank_ends_all_with_its_reason_its_remedy_and_its_exit_code(
    start, failing, deed, code, reason, remedy
):
    ranks = start(*("wait" if rank != failing else deed for rank in range(2)), patient=True)
    other_code, errors = end(ranks[1 - failing])
    assert other_code == code
    assert f"error (rank {1 - failing}): rank {failing} ended with an error: {reason}\n  remedy: {remedy}" in errors
    assert end(ranks[failing])[0] == code


def test_a_stop_that_all_agree_on_is_nobodys_fault(start):
    ranks = start("stop", "stop")
    assert [end(rank) for rank in ranks] == [(75, ""), (75, "")]


@pytest.mark.parametrize("asked", ["soon", "0", "nan", "inf"])
def test_a_time_of_death_that_is_no_number_of_seconds_is_refused(monkeypatch, asked):
    monkeypatch.setenv("WHISPER_AUT_DEAD_SEC", asked)
    with pytest.raises(EnvironmentProblem, match=f"WHISPER_AUT_DEAD_SEC is '{asked}'"):
        Watchdog(HashStore(), rank=0, world_size=1, stall_sec=1.0, advice="")
