"""Asked to stop: SIGTERM, SIGINT and SIGUSR1 set a flag that all ranks look at together between steps.

The flag is set from the start of the program on, so that a signal during start-up ends the run with the exit code that
asks for the same command again. An exception raised by the handler itself would do so sooner, but it can strike inside
a library that swallows it.
"""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """While entered, the signals ask for a stop instead of ending the process; a second one ends it at once."""

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._before: dict[signal.Signals, object] = {}

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self.signal_name is not None

    def __enter__(self) -> StopRequest:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal itself returned

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            os.write(2, b"a second signal: leaving at once, without a checkpoint of this moment\n")
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.signal_name = signal.Signals(number).name
