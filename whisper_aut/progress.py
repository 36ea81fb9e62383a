"""One line that says how far long work has come, how fast it goes and how long it will take."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

T = TypeVar("T")


def format_duration(seconds: float) -> str:
    """Seconds as a person says them: ``42 s``, ``3 min 05 s``, ``7 h 12 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Progress of ``total`` items, written to ``stream`` (standard error): a live line on a terminal, else one line
    every ``log_every_sec`` seconds, so that a log file stays readable.

    Args:
        label: what is being done.
        total: number of items; None where it is known at the end only (:meth:`end`).
        unit: what an item is, plural.
        enabled: False on every rank but 0.
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        *,
        unit: str,
        enabled: bool = True,
        log_every_sec: float = 15.0,
        stream: TextIO | None = None,
    ) -> None:
        self.label, self.total, self.unit, self.enabled = label, total, unit, enabled
        self.log_every_sec = log_every_sec
        self.stream = stream or sys.stderr
        self.done = 0
        self.start_sec = time.monotonic()
        self._last_sec = float("-inf")

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count ``count`` more items done and show it where it is time to."""
        self.done += count
        now = time.monotonic()
        live = self.stream.isatty()
        # The first items carry the start-up of processes and caches; a time left made from them alone alarms people.
        due = now - self.start_sec >= 2.0 and now - self._last_sec >= (0.2 if live else self.log_every_sec)
        finished = self.total is not None and self.done >= self.total
        if not self.enabled or not (due or finished):
            return
        self._last_sec = now
        rate = self.done / max(now - self.start_sec, 1e-9)
        tail = f", {note}" if note else ""
        if self.total is None:
            line = f"{self.label}: {self.done} {self.unit}, {rate:.3g} {self.unit}/s{tail}"
        else:
            left = format_duration((self.total - self.done) / max(rate, 1e-9))
            line = f"{self.label}: {self.done}/{self.total} {self.unit}, {rate:.3g} {self.unit}/s, {left} left{tail}"
        end = "\r" if live and not finished else "\n"
        self.stream.write(("\x1b[2K" if live else "") + line + end)
        self.stream.flush()

    def end(self, note: str = "") -> None:
        """All is done that there is: for work whose total was not known."""
        self.total = self.done
        self.advance(0, note)


def track(items: Iterable[T], label: str, *, total: int, unit: str, enabled: bool = True) -> Iterator[T]:
    """Yield ``items`` and show progress over them."""
    progress = Progress(label, total, unit=unit, enabled=enabled)
    for item in items:
        yield item
        progress.advance()
