"""Processes that take turns on one machine, so that its other work falls on all sides of a ratio alike.

Every side is a child with its own model in memory. The parent lets one run while the others wait for their pipe.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from whisper_aut.errors import EnvironmentProblem, WhisperAutError
from whisper_aut.train.environment import peak_memory_gb

_END_SEC = 10.0  # for a child to leave when asked


@dataclass(frozen=True)
class Step:
    """One finished step of a side: mean loss per token, and which clips it read in which context."""

    loss: float
    ids: tuple[str, ...]
    num_micro_batches: int
    num_full: int


@dataclass(frozen=True)
class Turn:
    """Consecutive steps of one side; peak memory in GB (10^9 bytes) since its start."""

    steps: tuple[Step, ...]
    taken_sec: float
    peak_gb: float
    peak_device_gb: float | None

    @property
    def num_clips(self) -> int:
        """Clips in all steps."""
        return sum(len(step.ids) for step in self.steps)


class Finished(Exception):  # no error: how a side is told that no turn comes any more
    """The parent wants no more turns."""


class Baton:
    """What a side holds: it says when it is ready and what every step gave; calls return when it may go on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._wanted, self._steps, self._begun_sec = 0, list[Step](), 0.0

    def ready(self) -> None:
        """Everything before the first step is done."""
        self._connection.send("ready")
        self._wait()

    def step_done(self, step: Step) -> None:
        """A step is done; the last one of a turn waits for the next turn.

        Raises:
            Finished: there is none.
        """
        self._steps.append(step)
        if len(self._steps) < self._wanted:
            return
        on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
        if on_gpu:
            torch.cuda.synchronize()
        taken_sec = time.perf_counter() - self._begun_sec
        device_gb = peak_memory_gb("cuda") if on_gpu else None
        self._connection.send(Turn(tuple(self._steps), taken_sec, peak_memory_gb(), device_gb))
        self._wait()

    def _wait(self) -> None:
        self._steps = []
        wanted = self._connection.recv()
        if wanted is None:
            raise Finished
        self._wanted, self._begun_sec = int(wanted), time.perf_counter()


class Side:
    """One child as its parent sees it."""

    def __init__(self, name: str, connection: Connection, process: Any) -> None:
        self.name, self._connection, self._process = name, connection, process

    def wait_ready(self) -> None:
        """Return when the side could begin.

        Raises:
            WhisperAutError: what the side said of the user's mistake.
            EnvironmentProblem: it died.
        """
        self._answer()

    def turn(self, num_steps: int) -> Turn:
        """Let it run; errors as for :meth:`wait_ready`."""
        self._connection.send(num_steps)
        answer = self._answer()
        assert isinstance(answer, Turn)
        return answer

    def end(self) -> None:
        """Let it leave; one that does not is killed."""
        with contextlib.suppress(OSError):
            self._connection.send(None)
        self._process.join(_END_SEC)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()

    def _answer(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            raise EnvironmentProblem(
                f"the side '{self.name}' died with exit code {self._process.exitcode}",
                remedy="memory may be short: give fewer --micro-batch-clips, or measure fewer sides at a time",
            ) from None
        if isinstance(answer, WhisperAutError):
            raise answer
        if isinstance(answer, str) and answer != "ready":
            raise RuntimeError(f"the side '{self.name}' failed:\n{answer}")
        return answer


@contextlib.contextmanager
def side(name: str, run: Callable[[Baton, Any], None], job: Any, *, device: str) -> Iterator[Side]:
    """A child that runs ``run(baton, job)``, ended with the block.

    Args:
        name: for messages.
        run: a function of a module, so that the child can import it.
        job: its argument, pickled.
        device: ``cpu`` hides GPUs from it, ``cuda`` all but the first.
    """
    # A fresh process: a fork would copy the parent's threads' locks (torch's among them).
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, run, job, device), name=name)
    process.start()
    theirs.close()
    child = Side(name, ours, process)
    try:
        yield child
    finally:
        child.end()


def _serve(connection: Connection, run: Callable[[Baton, Any], None], job: Any, device: str) -> None:
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    else:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # Hugging Face's trainer would take all GPUs it sees
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.simplefilter("ignore", FutureWarning)  # between libraries; none is ours to mend
    try:
        run(Baton(connection), job)
    except (Finished, KeyboardInterrupt):
        pass
    except WhisperAutError as error:
        connection.send(error)
    except Exception:
        connection.send(traceback.format_exc())
