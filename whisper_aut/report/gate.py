"""The gate: a task that an adapted encoder lost too much on turns into exit code 3. Floors are never gated."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from whisper_aut.errors import GateFailed, ProbeError, RecipeError
from whisper_aut.probe.results import Record
from whisper_aut.report.verdict import BELIEVED, Row, p_relation, several_encoders, signed

# Scores are shares of a few thousand clips: a drop of exactly the allowance must pass whatever its float says.
TOLERANCE_POINTS = 1e-9


class GateCheck(Record):
    """One task's change against what is allowed, in points, under strict/trimmed."""

    task: str
    encoder: str | None = Field(default=None, description="Named where there is more than one to judge")
    delta: float
    interval: tuple[float, float]
    p_value: float
    max_drop: float
    passed: bool

    def text(self) -> str:
        """The check in one line, with the numbers that it rests on."""
        low, high = (signed(bound, 2) for bound in self.interval)
        moved = f"dropped {-self.delta:.2f}" if self.delta < 0 else f"gained {self.delta:.2f}"
        of = f" ({self.encoder})" if self.encoder else ""
        return (
            f"{self.task}{of} {moved} points, a drop of {self.max_drop:.2f} is allowed "
            f"(95% interval {low} to {high}, p {p_relation(self.p_value)})"
        )


class GateVerdict(Record):
    """All checks; passed where each of them is, also where there is none."""

    checks: list[GateCheck]

    @property
    def passed(self) -> bool:
        """Whether no task lost more than it may."""
        return all(check.passed for check in self.checks)

    def raise_if_failed(self, report: Path | None = None) -> None:
        """Turn a failed check into exit code 3. Called after the report is written, so that it can be read.

        Raises:
            GateFailed: names each task that failed with its drop, the allowed drop, the interval and p.
        """
        failed = [check for check in self.checks if not check.passed]
        if failed:
            lines = "".join(f"\n  {check.text()}" for check in failed)
            raise GateFailed(
                f"the gate failed on {len(failed)} of {len(self.checks)} checks, under {'/'.join(BELIEVED)}:{lines}",
                where=str(report) if report else None,
                remedy="look at the per-class figure of the task; give its domain more weight, train with a lower lr, "
                "or allow more with --max-drop",
            )


def parse_max_drop(specs: Sequence[str], tasks: Collection[str] | None = None) -> dict[str, float]:
    """Read ``["speech_commands=0.5", ...]``: task to allowed drop in points.

    Args:
        specs: as given on the command line.
        tasks: names that exist; None checks the syntax alone (``build_report`` checks the names again).

    Raises:
        RecipeError: not ``task=points``, not a number of points from 0 up, or a task given twice.
        ProbeError: a task that was not probed; the nearest name is given.
    """
    allowed: dict[str, float] = {}
    for spec in specs:
        task, equals, value = (part.strip() for part in spec.rpartition("="))
        if not equals or not task:
            raise RecipeError(
                f"'{spec}' does not say how much which task may drop",
                where="--max-drop",
                remedy="write task=points, e.g. --max-drop speech_commands=0.5",
            )
        try:
            points = float(value)
        except ValueError:
            points = math.nan
        if not (math.isfinite(points) and 0 <= points <= 100):
            raise RecipeError(
                f"'{value}' in '{spec}' is not an allowed drop",
                where="--max-drop",
                remedy="give points between 0 and 100, e.g. 0.5",
            )
        if task in allowed:
            raise RecipeError(f"the task '{task}' is given twice", where="--max-drop", remedy="give it once")
        allowed[task] = points
    if tasks is not None:
        check_tasks(allowed, tasks)
    return allowed


def check_tasks(max_drop: Mapping[str, float], tasks: Collection[str]) -> None:
    """Raise ``ProbeError`` for a task that was not probed, naming the nearest one that was."""
    for task in max_drop:
        if task not in tasks:
            near = difflib.get_close_matches(task, list(tasks), n=1, cutoff=0.5)
            known = f"probed: {', '.join(tasks) or 'nothing'}"
            raise ProbeError(
                f"no task '{task}' was probed",
                where="--max-drop",
                remedy=f"did you mean '{near[0]}'? ({known})" if near else known,
            )


def judge(rows: Sequence[Row], max_drop: Mapping[str, float]) -> GateVerdict:
    """Hold each named task's strict/trimmed change against its allowed drop, for every adapted encoder.

    Raises:
        ProbeError: a task that was not probed, or not under strict/trimmed: a gate that cannot look must not pass.
    """
    check_tasks(max_drop, list(dict.fromkeys(row.task for row in rows)))
    checks: list[GateCheck] = []
    several = several_encoders([row for row in rows if row.role == "adapted"])
    for task, allowed in max_drop.items():
        judged = [
            row
            for row in rows
            if row.task == task and (row.protocol, row.context) == BELIEVED and row.role == "adapted"
        ]
        if not judged:
            raise ProbeError(
                f"the gate looks at {'/'.join(BELIEVED)}, and '{task}' was not probed so",
                where="--max-drop",
                remedy=f"probe an adapted encoder with protocol {BELIEVED[0]} and context {BELIEVED[1]}",
            )
        checks += [
            GateCheck(
                task=task,
                encoder=row.encoder if several else None,
                delta=row.delta,
                interval=row.interval,
                p_value=row.p_value,
                max_drop=allowed,
                passed=row.delta >= -allowed - TOLERANCE_POINTS,
            )
            for row in judged
        ]
    return GateVerdict(checks=checks)
