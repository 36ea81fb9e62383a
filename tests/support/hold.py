"""Holds a training run between two steps: those of a small model are sooner over than a test can send a signal.

What is held is the program as it is; every rank waits where the line of a step has just been written, until the test
lets it go or a signal asks it to stop.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

VARIABLE = "WHISPER_AUT_TEST_HOLD"
_LOG = "whisper_aut.train.metrics"
_LIMIT_SEC = 900.0  # a test that failed lets nobody go


@dataclass(frozen=True)
class Hold:
    """Where a run waits, and the word to go on.

    Attributes:
        folder: of the marks that both sides leave.
        after_step: number of the step; 0 is before the first validation.
    """

    folder: Path
    after_step: int

    @property
    def environment(self) -> dict[str, str]:
        """For the processes to hold."""
        support = str(Path(__file__).parent)  # sitecustomize.py is here, for processes that are no forks
        path = os.pathsep.join([support, *filter(None, [os.environ.get("PYTHONPATH")])])
        return {VARIABLE: f"{self.after_step} {self.folder}", "PYTHONPATH": path}

    def release(self) -> None:
        """Let all ranks go on."""
        (self.folder / "released").touch()

    def wait(self) -> None:
        """In the run: wait for the release, or for a signal that asks for a stop."""
        deadline_sec = time.monotonic() + _LIMIT_SEC
        while not ((self.folder / "released").exists() or _asked_to_stop()) and time.monotonic() < deadline_sec:
            time.sleep(0.005)


def _asked_to_stop() -> bool:
    """Whether the run's ``StopRequest``, whose method handles signals, has received one."""
    return bool(getattr(getattr(signal.getsignal(signal.SIGTERM), "__self__", None), "asked", False))


def install() -> None:
    """In a process that may become a run: hold it where the environment says so."""
    if VARIABLE not in os.environ:
        return
    after_step, _, folder = os.environ[VARIABLE].partition(" ")
    hold = Hold(Path(folder), int(after_step))
    if _LOG in sys.modules:
        _patch(sys.modules[_LOG], hold)
    else:
        sys.meta_path.insert(0, _Finder(hold))


class _Finder(importlib.abc.MetaPathFinder):
    """Patches the module when it is imported: imported any earlier, the program would start in another order."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _LOG:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_patch(module: ModuleType) -> None:
            execute(module)
            _patch(module, self._hold)

        spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec


def _patch(metrics: ModuleType, hold: Hold) -> None:
    log = metrics.MetricsLog
    enter, write_step = log.__enter__, log.step

    def held_enter(self: Any) -> Any:
        if hold.after_step == 0:
            hold.wait()
        return enter(self)

    def held_step(self: Any, **values: float) -> None:
        write_step(self, **values)
        if values["step"] == hold.after_step:
            hold.wait()

    log.__enter__, log.step = held_enter, held_step
