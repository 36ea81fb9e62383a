"""What the numbers allow one to say: corrected p-values, a verdict for each row, one sentence for them all.

The word "significant" is kept for a change whose p-value, Holm-corrected over the tasks that stand side by side, is
below ``ALPHA`` *and* whose 95% interval leaves zero out on the side of the change. The p-value counts clips as
independent, the interval draws whole recordings: each guards against what the other overlooks.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Literal

from pydantic import Field

from whisper_aut.constants import Context
from whisper_aut.probe.results import ProbeReport, ProtocolResult, Record, TaskResult
from whisper_aut.probe.tasks.labelled import Metric

ALPHA = 0.05
FEW_GROUPS = 10  # fewer recordings or speakers than this make a bootstrap over them coarse
BELIEVED: tuple[str, Context] = ("strict", "trimmed")

Verdict = Literal["gained", "lost", "within noise"]


class Row(Record):
    """One task under one protocol at one context. Scores of the task's metric in percent, changes in points."""

    task: str
    metric: Metric
    num_clips: int = Field(description="That are tested")
    num_classes: int
    num_folds: int
    num_groups: int
    chance: float
    protocol: str
    version: int
    context: Context
    base: float
    base_interval: tuple[float, float]
    adapted: float
    adapted_interval: tuple[float, float]
    delta: float
    interval: tuple[float, float]
    p_value: float = Field(description="Two-sided: exact McNemar test, for mAP a paired permutation test")
    p_holm: float = Field(description="Holm-corrected over the tasks under the same protocol and context")
    num_gained: int | None
    num_lost: int | None
    verdict: Verdict
    believed: bool = Field(description="One of the rows that the sentence of verdict speaks of")


class Summary(Record):
    """The verdict in words and what it rests on."""

    sentence: str
    basis: str = Field(description="What 'significant' means here")
    protocol: str | None
    context: Context | None
    cautions: list[str]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scand. J. Statist. 6, 1979): p-values that may be held against ``ALPHA`` at once."""
    corrected = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = running
    return corrected


def verdict_of(delta: float, interval: tuple[float, float], p_holm: float) -> Verdict:
    """``gained`` or ``lost`` only where the p-value and the interval both say so."""
    if p_holm < ALPHA and delta > 0 and interval[0] > 0:
        return "gained"
    if p_holm < ALPHA and delta < 0 and interval[1] < 0:
        return "lost"
    return "within noise"


def make_rows(probe: ProbeReport) -> list[Row]:
    """Every result as a row: tasks as probed, within a task the row to believe first, then its protocol."""
    families: dict[tuple[str, Context], list[tuple[TaskResult, ProtocolResult]]] = {}
    for task in probe.tasks:
        for result in task.results:
            families.setdefault((result.protocol, result.context), []).append((task, result))
    basis = _basis(families.keys())
    rows: list[Row] = []
    for family, members in families.items():
        corrected = holm([result.comparison.p_value for _, result in members])
        rows += [
            _row(task, result, p_holm, family == basis)
            for (task, result), p_holm in zip(members, corrected, strict=True)
        ]
    order = {task.name: number for number, task in enumerate(probe.tasks)}
    return sorted(rows, key=lambda row: (order[row.task], not row.believed, row.protocol != BELIEVED[0]))


def _basis(families: Collection[tuple[str, Context]]) -> tuple[str, Context] | None:
    """The protocol and context that the verdict rests on: the one to believe, or else the nearest to it."""
    wanted: list[tuple[str, Context]] = [BELIEVED, ("strict", "full"), *families]
    return next((family for family in wanted if family in families), None)


def _row(task: TaskResult, result: ProtocolResult, p_holm: float, believed: bool) -> Row:
    comparison = result.comparison
    return Row(
        task=task.name,
        metric=task.metric,
        num_clips=task.num_clips if task.num_tested is None else task.num_tested,
        num_classes=len(task.classes),
        num_folds=task.num_folds,
        num_groups=task.num_groups,
        chance=task.chance,
        protocol=result.protocol,
        version=result.version,
        context=result.context,
        base=result.base.accuracy,
        base_interval=result.base.interval,
        adapted=result.adapted.accuracy,
        adapted_interval=result.adapted.interval,
        delta=comparison.delta,
        interval=comparison.interval,
        p_value=comparison.p_value,
        p_holm=p_holm,
        num_gained=comparison.num_gained,
        num_lost=comparison.num_lost,
        verdict=verdict_of(comparison.delta, comparison.interval, p_holm),
        believed=believed,
    )


def summarise(probe: ProbeReport, rows: Sequence[Row]) -> Summary:
    """The sentence of verdict and everything that a reader must know to weigh it."""
    believed = [row for row in rows if row.believed]
    if not believed:
        return Summary(
            sentence="No task was probed: nothing can be said about this encoder.",
            basis="There is no result to test.",
            protocol=None,
            context=None,
            cautions=[],
        )
    protocol, context = believed[0].protocol, believed[0].context
    where = f"the {protocol} protocol at {context} context"
    fallback = (protocol, context) != BELIEVED
    lead = f"{BELIEVED[0]}/{BELIEVED[1]} was not probed; under {where}" if fallback else f"Under {where}"
    return Summary(
        sentence=f"{lead}, {_clauses(believed)}.",
        basis=_significance(believed),
        protocol=protocol,
        context=context,
        cautions=_cautions(probe, rows, believed, fallback),
    )


def _clauses(rows: Sequence[Row]) -> str:
    gained = [row for row in rows if row.verdict == "gained"]
    lost = [row for row in rows if row.verdict == "lost"]
    worst = min(rows, key=lambda row: row.delta)
    best = max(rows, key=lambda row: row.delta)
    num = len(rows)
    if gained:
        gain = _moves("gains", gained, num, best=True)
        if lost:
            return f"the adapted encoder {gain}, but {_moves('loses', lost, num, best=False)}"
        if num == 1:
            return f"the adapted encoder {gain}"
        if worst.delta < 0:
            tail = (
                f"the worst change, {signed(worst.delta)} points on {worst.task} ({_span(worst)}), is within the noise"
            )
            return f"the adapted encoder {gain}; no task loses significantly: {tail}"
        return f"the adapted encoder {gain}, and no task goes down"
    if lost:
        tail = "" if num == 1 else ", and no task gains significantly"
        return f"the adapted encoder {_moves('loses', lost, num, best=False)}{tail}"
    if num == 1:
        return (
            f"nothing significant changed: {best.task} moves by {signed(best.delta)} points "
            f"({_span(best)}, {_p(best, num)}), within the noise"
        )
    return (
        f"nothing significant changed on {num} tasks: the changes run from {signed(worst.delta)} points "
        f"({worst.task}) to {signed(best.delta)} points ({best.task}), all within the noise"
    )


def _moves(verb: str, rows: Sequence[Row], num_tasks: int, *, best: bool) -> str:
    row = (max if best else min)(rows, key=lambda row: row.delta)
    points = f"{abs(row.delta):.1f}"
    metric = "" if row.metric == "accuracy" else f" {row.metric}"
    detail = f"{row.base:.1f} → {row.adapted:.1f}%{metric}, {_span(row)}, {_p(row, num_tasks)}"
    if len(rows) == 1:
        return f"{verb} {points} points on {row.task} ({detail})"
    return f"{verb} significantly on {len(rows)} of {num_tasks} tasks, most on {row.task}: {points} points ({detail})"


def _span(row: Row) -> str:
    return f"95% interval {signed(row.interval[0])} to {signed(row.interval[1])}"


def _p(row: Row, num_tasks: int) -> str:
    return f"{'p' if num_tasks == 1 else 'Holm-corrected p'} {p_relation(row.p_holm)}"


def _significance(believed: Sequence[Row]) -> str:
    metrics = {row.metric for row in believed}
    p = "the exact McNemar p"
    if "mAP" in metrics:
        p = "the p of a paired permutation test" if len(metrics) == 1 else f"{p} (for mAP that of a permutation test)"
    if len(believed) > 1:
        p = f"{p}, Holm-corrected over {len(believed)} tasks,"
    return (
        f"“Significant” means here: {p} is below {ALPHA} and the 95% interval of the change, "
        "bootstrapped over recordings, leaves zero out."
    )


def _cautions(probe: ProbeReport, rows: Sequence[Row], believed: Sequence[Row], fallback: bool) -> list[str]:
    cautions = []
    if fallback:
        cautions.append(
            f"{BELIEVED[0]}/{BELIEVED[1]} is the result to believe and was not probed; the verdict rests on "
            f"{believed[0].protocol}/{believed[0].context}."
        )
    if probe.base.weights_sha256 == probe.adapted.weights_sha256:
        cautions.append("Base and adapted are the same weights (equal SHA-256): there is nothing to compare.")
    left_out = [task.name for task in probe.tasks if task.name not in {row.task for row in believed}]
    if left_out:
        cautions.append(
            f"{', '.join(left_out)}: no {believed[0].protocol}/{believed[0].context} result, not part of the verdict."
        )
    for row in believed:
        if row.num_groups < FEW_GROUPS:
            cautions.append(
                f"{row.task} comes from only {row.num_groups} recordings or speakers: its interval is coarse and its "
                "p-value counts clips that are not independent."
            )
    noisy = [row for row in believed if row.verdict == "within noise" and row.interval[0] < 0]
    if noisy:
        row = min(noisy, key=lambda row: row.interval[0])
        cautions.append(
            f"“Within noise” is not “unchanged”: {row.num_clips} clips cannot rule out a loss of up to "
            f"{-row.interval[0]:.1f} points on {row.task}."
        )
    opposed = sorted(
        {row.task for row in rows if row.verdict == "lost"} - {row.task for row in believed if row.verdict == "lost"}
    )
    if opposed:
        cautions.append(
            f"{', '.join(opposed)}: significantly lost under another protocol or context of the table, not under the "
            "one that the verdict rests on."
        )
    return cautions


def signed(points: float, decimals: int = 1) -> str:
    """A change with its sign, a real minus and never a minus zero: ``+9.9``, ``−0.4``, ``0.0``."""
    text = f"{points:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def p_text(p_value: float) -> str:
    """Two digits where they say something: ``0.34``, ``0.012``, ``9e-10``, ``1``."""
    if p_value >= 0.995:
        return "1"
    if p_value >= 0.1:
        return f"{p_value:.2f}"
    if p_value >= 0.001:
        # Rounded away from a significance it does not have: 0.0499 must not become 0.05, nor 0.0501.
        digits = 2 if not math.isclose(p_value, ALPHA, rel_tol=0.02) else 4
        return f"{p_value:.{digits}g}"
    return f"{p_value:.0e}".replace("e-0", "e-") if p_value > 0 else "0"


def p_relation(p_value: float) -> str:
    """``= 0.012``, or ``< 1e-15`` where the number of digits would only pretend."""
    return "< 1e-15" if p_value < 1e-15 else f"= {p_text(p_value)}"
