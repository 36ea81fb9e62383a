"""The gate: a task on which an adapted encoder lost too much, or gained too little, turns into exit code 3.

Floors and references are never gated.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args
from xml.etree import ElementTree

from pydantic import Field

from whisper_aut.errors import GateFailed, ProbeError, RecipeError
from whisper_aut.probe.results import Record
from whisper_aut.report.verdict import BELIEVED, Row, p_relation, several_encoders, signed

# Scores are shares of a few thousand clips: a drop of exactly the allowance must pass whatever its float says.
TOLERANCE_POINTS = 1e-9

# What is held against a bound: the change itself; the upper end of its 95% interval, so that only a proven breach
# fails; the lower end, so that only what rules a breach out passes (a test of non-inferiority).
GateRule = Literal["estimate", "lenient", "strict"]
GATE_RULES: tuple[GateRule, ...] = get_args(GateRule)


@dataclass(frozen=True)
class Gate:
    """What was asked for: by task, in points."""

    max_drop: Mapping[str, float] = field(default_factory=dict)
    min_gain: Mapping[str, float] = field(default_factory=dict)
    rule: GateRule = "estimate"

    def bounds(self) -> list[tuple[str, str, float]]:
        """(option, task, least change that passes)."""
        return [("--max-drop", task, -points) for task, points in self.max_drop.items()] + [
            ("--min-gain", task, points) for task, points in self.min_gain.items()
        ]


class GateCheck(Record):
    """One task's change against what is allowed, in points, under strict/trimmed."""

    option: str = Field(description="--max-drop or --min-gain")
    task: str
    encoder: str | None = Field(default=None, description="Named where there is more than one to judge")
    delta: float
    interval: tuple[float, float]
    p_value: float
    least: float = Field(description="Least change that passes: minus the allowed drop, or the gain asked for")
    rule: GateRule
    passed: bool

    def text(self) -> str:
        """The check in one line, with the numbers that it rests on."""
        low, high = (signed(bound, 2) for bound in self.interval)
        moved = f"dropped {-self.delta:.2f}" if self.delta < 0 else f"gained {self.delta:.2f}"
        of = f" ({self.encoder})" if self.encoder else ""
        asked = (
            f"a drop of {-self.least:.2f} is allowed"
            if self.option == "--max-drop"
            else f"a gain of {self.least:.2f} is asked for"
        )
        how = {
            "estimate": "",
            "lenient": f"; lenient: fails where all of the interval is below {signed(self.least, 2)}",
            "strict": f"; strict: passes where all of the interval is above {signed(self.least, 2)}",
        }[self.rule]
        return (
            f"{self.task}{of} {moved} points, {asked} (95% interval {low} to {high}, p {p_relation(self.p_value)}){how}"
        )


class GateVerdict(Record):
    """All checks; passed where each of them is, also where there is none."""

    checks: list[GateCheck]

    @property
    def passed(self) -> bool:
        """Whether no task lost more than it may, and each gained what it should."""
        return all(check.passed for check in self.checks)

    def raise_if_failed(self, report: Path | None = None) -> None:
        """Turn a failed check into exit code 3. Called after the report is written, so that it can be read.

        Raises:
            GateFailed: names each task that failed with its change, what is allowed, the interval and p.
        """
        failed = [check for check in self.checks if not check.passed]
        if failed:
            lines = "".join(f"\n  {check.text()}" for check in failed)
            options = " or ".join(sorted({check.option for check in failed}))
            raise GateFailed(
                f"the gate failed on {len(failed)} of {len(self.checks)} checks, under {'/'.join(BELIEVED)}:{lines}",
                where=str(report) if report else None,
                remedy="look at the per-class figure of the task; give its domain more weight, train with a lower lr, "
                f"or ask for less with {options}",
            )

    def junit(self) -> str:
        """The checks as JUnit XML, one test case each, for the test page of a CI system."""
        failed = sum(not check.passed for check in self.checks)
        suite = ElementTree.Element(
            "testsuite", name="whisper-aut gate", tests=str(len(self.checks)), failures=str(failed), errors="0"
        )
        for check in self.checks:
            of = f", {check.encoder}" if check.encoder else ""
            case = ElementTree.SubElement(
                suite, "testcase", classname="whisper_aut.gate", name=f"{check.task}{of} {check.option}"
            )
            if not check.passed:
                ElementTree.SubElement(case, "failure", message=check.text()).text = check.text()
        ElementTree.indent(suite)
        return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def parse_points(
    specs: Sequence[str], option: str = "--max-drop", tasks: Collection[str] | None = None
) -> dict[str, float]:
    """Read ``["speech_commands=0.5", ...]``: task to points.

    Args:
        specs: as given on the command line.
        option: that they were given to, for messages.
        tasks: names that exist; None checks the syntax alone (``build_report`` checks the names again).

    Raises:
        RecipeError: not ``task=points``, not a number of points from 0 up, or a task given twice.
        ProbeError: a task that was not probed; the nearest name is given.
    """
    found: dict[str, float] = {}
    for spec in specs:
        task, equals, value = (part.strip() for part in spec.rpartition("="))
        if not equals or not task:
            raise RecipeError(
                f"'{spec}' does not name a task and points",
                where=option,
                remedy=f"write task=points, e.g. {option} speech_commands=0.5",
            )
        try:
            points = float(value)
        except ValueError:
            points = math.nan
        if not (math.isfinite(points) and 0 <= points <= 100):
            raise RecipeError(
                f"'{value}' in '{spec}' is not a number of points",
                where=option,
                remedy="give points between 0 and 100, e.g. 0.5",
            )
        if task in found:
            raise RecipeError(f"the task '{task}' is given twice", where=option, remedy="give it once")
        found[task] = points
    if tasks is not None:
        check_tasks(found, option, tasks)
    return found


def check_tasks(named: Collection[str], option: str, tasks: Collection[str]) -> None:
    """Raise ``ProbeError`` for a task that was not probed, naming the nearest one that was."""
    for task in named:
        if task not in tasks:
            near = difflib.get_close_matches(task, list(tasks), n=1, cutoff=0.5)
            known = f"probed: {', '.join(tasks) or 'nothing'}"
            raise ProbeError(
                f"no task '{task}' was probed",
                where=option,
                remedy=f"did you mean '{near[0]}'? ({known})" if near else known,
            )


def judge(rows: Sequence[Row], gate: Gate) -> GateVerdict:
    """Hold each named task's strict/trimmed change against its bounds, for every adapted encoder.

    Raises:
        ProbeError: a task that was not probed, or not under strict/trimmed: a gate that cannot look must not pass.
    """
    checks: list[GateCheck] = []
    several = several_encoders([row for row in rows if row.role == "adapted"])
    for option, task, least in gate.bounds():
        check_tasks([task], option, list(dict.fromkeys(row.task for row in rows)))
        judged = [
            row
            for row in rows
            if row.task == task and (row.protocol, row.context) == BELIEVED and row.role == "adapted"
        ]
        if not judged:
            raise ProbeError(
                f"the gate looks at {'/'.join(BELIEVED)}, and '{task}' was not probed so",
                where=option,
                remedy=f"probe an adapted encoder with protocol {BELIEVED[0]} and context {BELIEVED[1]}",
            )
        checks += [
            GateCheck(
                option=option,
                task=task,
                encoder=row.encoder if several else None,
                delta=row.delta,
                interval=row.interval,
                p_value=row.p_value,
                least=least,
                rule=gate.rule,
                passed=_held(row, gate.rule) >= least - TOLERANCE_POINTS,
            )
            for row in judged
        ]
    return GateVerdict(checks=checks)


def _held(row: Row, rule: GateRule) -> float:
    low, high = row.interval
    return {"estimate": row.delta, "lenient": high, "strict": low}[rule]
