"""Processes that compute independent calls, each with one thread; results come in order, whatever their number.

A head's products are small: its threads would wait for each other, while whole heads do not. One thread also makes a
result independent of the machine's cores.
"""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from whisper_aut.errors import LoaderLost
from whisper_aut.machine import free_memory_bytes, usable_cores

Result = TypeVar("Result")

_START_SEC = 3.0  # until a process has imported torch and scikit-learn, on a core of its own (docs/benchmarks.md)
_PROCESS_BYTES = 1_000_000_000  # these imports take 0.4 GB, the largest heads that are fitted here nearly as much again
_ORPHAN_SEC = 1.0  # between two looks whether the parent is still there


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for small products, those of torch (its own count) and of NumPy and SciPy (their libraries')."""
    import torch  # it takes seconds, and this module is imported by processes that set their threads at their start

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)


def choose_jobs(asked: int | None, work_sec: float) -> int:
    """Return how many processes compute calls: those asked for, else one a core, or 1 where starting them takes longer
    than they save.

    Args:
        asked: None for as many as the machine's cores and its free memory allow.
        work_sec: of all calls on one core, roughly.
    """
    if asked is not None:
        return asked
    jobs = max(1, min(usable_cores(), free_memory_bytes() // _PROCESS_BYTES))
    return jobs if work_sec * (1 - 1 / jobs) > _START_SEC else 1


class Workers:
    """A context manager: processes that are there until its block ends, by whatever; none with one job.

    Args:
        jobs: how many; 1 computes everything in this process, which a debugger can enter. The numbers are the same.
        module: imported by every process at its start.
    """

    def __init__(self, jobs: int, module: str = __name__) -> None:
        self.jobs = jobs
        self._pending: Any = None  # joblib's generator of results, while there is one
        if jobs > 1:
            # Arrays that are mapped from a file are passed by its name, others from 1 MB on through shared memory.
            with parallel_config(
                backend="loky", inner_max_num_threads=1, initializer=_begin, initargs=(module, os.getpid())
            ):
                self._parallel = Parallel(jobs, return_as="generator", batch_size=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.jobs > 1:
            self._cancel()
            get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)

    def start(self) -> None:
        """Start the processes without waiting until they are ready."""
        if self.jobs > 1 and self._pending is None:
            self._pending = self._parallel(delayed(os.getpid)() for _ in range(self.jobs))

    def wait_ready(self) -> None:
        """Return when the processes could compute a call."""
        self.start()
        for _ in self._pending or ():
            pass
        self._pending = None

    def map(self, calls: Iterable[Callable[[], Result]]) -> Iterator[Result]:
        """Yield what each call returns, in order, each computed with one thread.

        Args:
            calls: of functions of modules, so that other processes can import them.

        Raises:
            LoaderLost: a process was killed.
            Exception: what the first call that failed raised.
        """
        if self.jobs == 1:
            for call in calls:
                with one_thread():
                    result = call()
                yield result
            return
        try:
            self.wait_ready()
            self._pending = self._parallel(delayed(_attempt)(call) for call in calls)
            for found in self._pending:
                if isinstance(found, _Failure):
                    found.error.add_note(f"in another process:\n{found.trace}")
                    raise found.error
                yield found
            self._pending = None
        except BrokenProcessPool:
            raise LoaderLost(
                "a process that fits heads was killed", remedy="look for a lack of memory; try fewer --jobs"
            ) from None
        finally:
            self._cancel()

    def _cancel(self) -> None:
        if self._pending is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # joblib says that calls were cancelled
                self._pending.close()
            self._pending = None


@dataclass(frozen=True)
class _Failure:
    error: Exception
    trace: str


def _attempt(call: Callable[[], Result]) -> Result | _Failure:
    try:
        return call()
    except Exception as error:
        return _Failure(error, traceback.format_exc())


def _begin(module: str, parent: int) -> None:
    """What every process does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal; the parent ends these
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    importlib.import_module(module)


def _end_with(parent: int) -> None:
    """Leave when the parent was killed: nobody else would end this process."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_SEC)
    os._exit(1)
