"""What a run says of itself: JSON lines, TensorBoard, and one line on the terminal every few seconds. Rank 0 speaks."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any

from whisper_aut.progress import format_duration

_RECENT_STEPS = 50  # that the time left is estimated from
_STEPS_BEFORE_ESTIMATE = 3


class MetricsLog:
    """Writes ``metrics.jsonl`` and TensorBoard events; does nothing on other ranks.

    Args:
        run_dir: the run's folder.
        enabled: rank 0.
        total_steps: for the time left.
        log_every_sec: seconds between lines on standard error.
    """

    def __init__(self, run_dir: Path, *, enabled: bool, total_steps: int, log_every_sec: float = 10.0) -> None:
        self.enabled, self.total_steps, self.log_every_sec = enabled, total_steps, log_every_sec
        self._last_print_sec = float("-inf")
        self._recent_step_sec: deque[float] = deque(maxlen=_RECENT_STEPS)
        if enabled:
            from torch.utils.tensorboard import SummaryWriter

            self._file = (run_dir / "metrics.jsonl").open("a", encoding="utf-8")
            self._end_torn_line(run_dir / "metrics.jsonl")
            self._board: Any = SummaryWriter(str(run_dir / "tensorboard"))

    def step(self, **values: float) -> None:
        """One finished step; ``step``, ``loss``, ``step_sec`` and more; ``mfu`` where the device's peak is known."""
        if not self.enabled:
            return
        self.event("step", **values)
        self._recent_step_sec.append(values["step_sec"])
        now = time.monotonic()
        number = int(values["step"])
        if now - self._last_print_sec < self.log_every_sec and number < self.total_steps:
            return
        self._last_print_sec = now
        left = self._time_left(number)
        used = f"{values['mfu']:.0%} useful MFU, " if "mfu" in values else ""
        print(
            f"train: step {number}/{self.total_steps}, loss {values['loss']:.3f}, lr {values['lr']:.2e}, "
            f"{values['clips_per_sec']:.3g} clips/s, {values['audio_sec_per_sec']:.3g} s audio/s, {used}"
            f"waited {values['loader_wait_sec']:.2f} s for data, {values['memory_gb']:.1f} GB{left}",
            file=sys.stderr,
            flush=True,
        )

    def _time_left(self, number: int) -> str:
        """Return an estimate from recent steps; nothing in the first ones, which wait for workers and new shapes."""
        if number < self.total_steps and len(self._recent_step_sec) < _STEPS_BEFORE_ESTIMATE:
            return ""
        mean_step_sec = sum(self._recent_step_sec) / len(self._recent_step_sec)
        return f", about {format_duration((self.total_steps - number) * mean_step_sec)} left"

    def event(self, event: str, **values: Any) -> None:
        """Any event, as one JSON line; numbers go to TensorBoard as well."""
        if not self.enabled:
            return
        self._file.write(json.dumps(_without_nan({"event": event, **values}), allow_nan=False) + "\n")
        self._file.flush()
        number = int(values.get("step", 0))
        for name, value in values.items():
            if isinstance(value, dict):
                for part, nested in value.items():
                    self._board.add_scalar(f"{event}/{name}/{part}", nested, number)
            elif isinstance(value, int | float) and name != "step":
                self._board.add_scalar(f"{event}/{name}", value, number)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.enabled:
            self._file.close()
            self._board.close()

    def _end_torn_line(self, path: Path) -> None:
        """A kill can leave half a line; the next one must not be glued to it. Only the half is cut off."""
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)


def _without_nan(value: Any) -> Any:
    """None for what JSON has no number for."""
    if isinstance(value, dict):
        return {name: _without_nan(nested) for name, nested in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
