"""Which steps are believed: a loss that is not finite, or far above its recent range, does not change the weights.

The rule is that of OLMo-core's skip-step optimizer (github.com/allenai/OLMo-core, optim/skip_step_optimizer.py): the
mean of the last 128 losses plus six standard deviations. What it remembers is part of a checkpoint, so that a resumed
run skips the very steps that an unbroken one skips.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

HISTORY_STEPS = 128
MIN_HISTORY_STEPS = 16  # before that there is no recent range
# A run that has settled may vary by less than a new batch can honestly differ.
_LEAST_RELATIVE_SPREAD = 0.02


class StepGuard:
    """Judges the loss of every step before the weights change.

    Args:
        sigma: standard deviations above the mean of recent losses from where on a loss is a spike; 0 lets spikes pass.
        max_skipped: steps in a row that may be skipped.
    """

    def __init__(self, sigma: float, max_skipped: int) -> None:
        self._sigma, self._max_skipped = sigma, max_skipped
        self._losses: list[float] = []
        self._skipped_in_a_row = 0

    def refusal(self, loss: float) -> str | None:
        """Why a step with this loss (nats per token) must be skipped; None where it may change the weights."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if self._sigma and len(self._losses) >= MIN_HISTORY_STEPS:
            mean = statistics.fmean(self._losses)
            spread = max(statistics.pstdev(self._losses, mean), _LEAST_RELATIVE_SPREAD * mean)
            if loss > mean + self._sigma * spread:
                return f"the loss is {loss:.3f}, the last {len(self._losses)} were {mean:.3f} ± {spread:.3f}"
        return None

    def record(self, loss: float, *, skipped: bool) -> None:
        """Remember how a step ended."""
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if skipped else 0
        if not skipped:
            self._losses = [*self._losses[-HISTORY_STEPS + 1 :], loss]

    @property
    def exhausted(self) -> bool:
        """Whether more steps in a row were skipped than the recipe allows."""
        return self._skipped_in_a_row > self._max_skipped

    @property
    def skipped_in_a_row(self) -> int:
        """Number of skipped steps since the last that counted."""
        return self._skipped_in_a_row

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold of it; JSON keeps every bit of a float."""
        return {"losses": self._losses, "skipped_in_a_row": self._skipped_in_a_row}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self._losses, self._skipped_in_a_row = list(state["losses"]), int(state["skipped_in_a_row"])
