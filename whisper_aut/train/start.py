"""Starts the ranks of one machine and stays their parent: signals reach every rank once, exit codes come back.

``deepspeed`` and ``torchrun`` start ranks as well, but after SIGTERM they give them 30 s, less than a checkpoint of
large-v3 may take, and leave with 1 whatever the ranks leave with. Here ranks have the time that they need.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from types import FrameType

from whisper_aut.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_RANK_LOST, EnvironmentProblem
from whisper_aut.machine import count_oom_kills, explain_kill, threads_per_process

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# The watchdog of every rank ends it within a minute after another's death; who is still there then is ended here.
_PATIENCE_SEC = 90.0
_POLL_SEC = 0.2
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def start_ranks(num_ranks: int, arguments: Sequence[str]) -> int:
    """Run ``whisper-aut ARGUMENTS`` on ``num_ranks`` processes of this machine and wait for all of them.

    Returns:
        0 if all ranks are done; 75 if they were interrupted; else the code of the first that failed, 1 for one that
        a signal ended.

    Raises:
        EnvironmentProblem: a launcher has started this process as a rank already.
    """
    if "RANK" in os.environ:
        raise EnvironmentProblem(
            f"--ranks {num_ranks}, but this process is rank {os.environ['RANK']} of a launcher already",
            remedy="leave --ranks out under deepspeed, torchrun or srun; or unset RANK",
        )
    port, oom_kills_before = free_port(), count_oom_kills()
    ranks = [_start(rank, num_ranks, port, arguments) for rank in range(num_ranks)]

    def forward(number: int, frame: FrameType | None) -> None:
        for process in ranks:
            if process.poll() is None:
                process.send_signal(number)

    for number in _FORWARDED:
        signal.signal(number, forward)
    failed_sec: float | None = None
    going = True
    while going:
        # Asked before failures are looked at, so that one of the last rank is said, too.
        going = any(process.poll() is None for process in ranks)
        if failed_sec is None and any(process.poll() not in (None, EXIT_DONE, EXIT_INTERRUPTED) for process in ranks):
            failed_sec = time.monotonic()
            for rank, process in enumerate(ranks):
                if process.poll() not in (None, EXIT_DONE, EXIT_INTERRUPTED):
                    how = _say_how(process.returncode, oom_kills_before)
                    others = "; the others end" if num_ranks > 1 else ""
                    print(f"train: rank {rank} (process {process.pid}) ended by {how}{others}", file=sys.stderr)
        if failed_sec is not None and time.monotonic() - failed_sec > _PATIENCE_SEC:
            for process in ranks:
                process.kill()
        if going:
            time.sleep(_POLL_SEC)
    return _common(process.returncode for process in ranks)


def _start(rank: int, num_ranks: int, port: int, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    launched = {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num_ranks), "LOCAL_WORLD_SIZE": str(num_ranks),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(threads_per_process(num_ranks)),
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "whisper_aut", *arguments],
        env=os.environ | launched,
        # Else Ctrl-C reaches a rank twice, from the terminal and from here, and a second signal ends at once.
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )


def _say_how(code: int, oom_kills_before: int) -> str:
    if code >= 0:
        return f"code {code}"
    reason = explain_kill(oom_kills_before) if code == -signal.SIGKILL else ""
    return f"signal {-code}" + (f", {reason} (lower train.micro_batch_clips or data.num_workers)" if reason else "")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent is gone, however it goes: the rank then saves and leaves."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _common(codes: Iterable[int]) -> int:
    found = [code if code >= 0 else EXIT_RANK_LOST for code in codes]
    failures = [code for code in found if code not in (EXIT_DONE, EXIT_INTERRUPTED)]
    return failures[0] if failures else max(found)
