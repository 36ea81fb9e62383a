"""Real processes that die, hang or fail: the others end soon and say which rank it was and where."""

import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

from whisper_aut.train.start import free_port

# A rank that meets the others, says so, and then does what its word asks for.
_RANK = """
    import os, sys, time
    from datetime import timedelta
    import torch.distributed as dist
    from whisper_aut.errors import Interrupted, ManifestError, WhisperAutError
    from whisper_aut.train import watchdog
    watchdog.BEAT_SEC, watchdog.DEAD_SEC = 0.2, 6.0
    rank, world, port, deed = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    store = dist.TCPStore("127.0.0.1", port, world, rank == 0, timeout=timedelta(seconds=60))
    try:
        with watchdog.Watchdog(store, rank=rank, world_size=world, stall_sec=1.5, advice="begin again") as dog:
            dog.at("loading", patient=True)
            store.set(f"here/{rank}", "yes")
            store.wait([f"here/{other}" for other in range(world)])
            if deed == "wait":
                dog.at("waiting for other ranks in step 3", patient=len(sys.argv) > 5, waits_for_ranks=True)
            time.sleep(1)
            print("ready", flush=True)
            if deed == "wait":
                time.sleep(60)
            elif deed == "hang":
                dog.at(lambda: "waiting for the data of step 3: clips a, b")
                time.sleep(60)
            elif deed == "be patient":
                dog.at("saving a checkpoint", patient=True)
                time.sleep(4)
            elif deed == "fail":
                raise ManifestError("clip x is broken", remedy="mend x")
            elif deed == "crash":
                raise KeyError("bug")
            elif deed == "stop":
                raise Interrupted("stopped")
    except WhisperAutError as error:
        sys.exit(error.exit_code)
"""


def start(*deeds: str, patient: bool = False) -> list[subprocess.Popen[str]]:
    port = str(free_port())
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_RANK), str(rank), str(len(deeds)), port, deed, *["p"] * patient],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, deed in enumerate(deeds)
    ]
    for rank in ranks:
        assert rank.stdout is not None
        assert rank.stdout.readline() == "ready\n", rank.communicate()[1]
    return ranks


def end(rank: subprocess.Popen[str]) -> tuple[int, str]:
    errors = rank.communicate(timeout=300)[1]
    return rank.returncode, errors


@pytest.mark.parametrize("dying", [0, 1])
def test_a_rank_that_is_killed_is_named_by_the_other(dying):
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


def test_a_machine_that_freezes_is_noticed_by_the_others():
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


def test_a_rank_that_hangs_is_told_from_those_that_wait_for_it_and_all_show_their_stacks():
    ranks = start("wait", "hang", "wait")
    for number, rank in enumerate(ranks):
        code, errors = end(rank)
        assert code == 1
        assert f"error (rank {number}): rank 1 (process {ranks[1].pid}" in errors
        assert "waiting for the data of step 3: clips a, b; rank(s) 0, 2 wait for it" in errors
        assert "Thread" in errors and "File" in errors


def test_a_lonely_rank_that_hangs_ends_too():
    (rank,) = start("hang")
    code, errors = end(rank)
    assert code == 1
    assert errors.startswith("error: rank 0 (process ")
    assert "hangs for" in errors and "clips a, b" in errors


def test_where_nobody_can_say_how_long_it_takes_nothing_hangs():
    (rank,) = start("be patient")
    assert end(rank) == (0, "")


@pytest.mark.parametrize(
    ("failing", "deed", "code", "reason", "remedy"),
    [(1, "fail", 2, "clip x is broken", "mend x"), (0, "crash", 1, "KeyError: 'bug'", "begin again")],
)
def test_an_error_on_one_rank_ends_all_with_its_reason_its_remedy_and_its_exit_code(
    failing, deed, code, reason, remedy
):
    ranks = start(*("wait" if rank != failing else deed for rank in range(2)), patient=True)
    other_code, errors = end(ranks[1 - failing])
    assert other_code == code
    assert f"error (rank {1 - failing}): rank {failing} ended with an error: {reason}\n  remedy: {remedy}" in errors
    assert end(ranks[failing])[0] == code


def test_a_stop_that_all_agree_on_is_nobodys_fault():
    ranks = start("stop", "stop")
    assert [end(rank) for rank in ranks] == [(75, ""), (75, "")]
