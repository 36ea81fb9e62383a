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
from whisper_aut.probe.results import EncoderRecord, ProbeReport, ProtocolResult, Record, Role, TaskResult, Test
from whisper_aut.probe.tasks.labelled import Metric

ALPHA = 0.05
FEW_GROUPS = 10  # fewer recordings or speakers than this make a bootstrap over them coarse
BELIEVED: tuple[str, Context] = ("strict", "trimmed")

Verdict = Literal["gained", "lost", "within noise"]
_P_OF: dict[Test, str] = {
    "mcnemar": "the exact McNemar p",
    "sign-flip": "the p of a sign-flip test over recordings",
    "permutation": "the p of a permutation test over recordings",
}


class Row(Record):
    """One encoder on one task under one protocol at one context. Scores in percent, changes in points."""

    task: str
    encoder: str = Field(description="Name of the encoder that is held against the base")
    encoder_number: int = Field(description="Its place in the probe's list of encoders, where 0 is the base")
    role: Role
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
    test: Test
    p_value: float
    p_holm: float = Field(description="Holm-corrected over the tasks of the same encoder, protocol and context")
    num_gained: int | None = Field(description="None for mAP, and so the next two")
    num_lost: int | None
    effect_size: float | None = Field(description="Cohen's g, or the paired d where runs are averaged")
    detectable: float = Field(description="Least change in points that these clips show with 80% power")
    base_runs: list[float] = Field(description="Score by seed or draw; empty for one run")
    adapted_runs: list[float]
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
    """Every comparison as a row: tasks as probed, within a task the rows to believe first, then their protocol."""
    families: dict[tuple[str, Context], list[tuple[TaskResult, ProtocolResult]]] = {}
    for task in probe.tasks:
        for result in task.results:
            families.setdefault((result.protocol, result.context), []).append((task, result))
    basis = _basis(families.keys())
    rows: list[Row] = []
    for family, members in families.items():
        for number, encoder in enumerate(probe.encoders[1:], start=1):
            corrected = holm([result.comparisons[number - 1].p_value for _, result in members])
            believed = family == basis and encoder.role == "adapted"
            rows += [
                _row(task, result, encoder, number, p_holm, believed)
                for (task, result), p_holm in zip(members, corrected, strict=True)
            ]
    order = {task.name: number for number, task in enumerate(probe.tasks)}
    return sorted(
        rows,
        key=lambda row: (
            order[row.task],
            not row.believed,
            (row.protocol, row.context) != basis,
            row.protocol != BELIEVED[0],
        ),
    )


def _basis(families: Collection[tuple[str, Context]]) -> tuple[str, Context] | None:
    """The protocol and context that the verdict rests on: the one to believe, or else the nearest to it."""
    wanted: list[tuple[str, Context]] = [BELIEVED, ("strict", "full"), *families]
    return next((family for family in wanted if family in families), None)


def several_encoders(rows: Sequence[Row]) -> bool:
    """Whether each row must name its encoder: there are several, or one that is no adaptation of the base."""
    return len({row.encoder_number for row in rows}) > 1 or any(row.role != "adapted" for row in rows)


def _row(
    task: TaskResult, result: ProtocolResult, encoder: EncoderRecord, number: int, p_holm: float, believed: bool
) -> Row:
    comparison, base, score = result.comparisons[number - 1], result.scores[0], result.scores[number]
    return Row(
        task=task.name,
        encoder=encoder.name,
        encoder_number=number,
        role=encoder.role,
        metric=task.metric,
        num_clips=task.num_tested,
        num_classes=len(task.classes),
        num_folds=task.num_folds,
        num_groups=task.num_groups,
        chance=task.chance,
        protocol=result.protocol,
        version=result.version,
        context=result.context,
        base=base.value,
        base_interval=base.interval,
        adapted=score.value,
        adapted_interval=score.interval,
        delta=comparison.delta,
        interval=comparison.interval,
        test=comparison.test,
        p_value=comparison.p_value,
        p_holm=p_holm,
        num_gained=comparison.num_gained,
        num_lost=comparison.num_lost,
        effect_size=comparison.effect_size,
        detectable=comparison.detectable,
        base_runs=base.per_run,
        adapted_runs=score.per_run,
        verdict=verdict_of(comparison.delta, comparison.interval, p_holm),
        believed=believed,
    )


def summarise(probe: ProbeReport, rows: Sequence[Row]) -> Summary:
    """The sentence of verdict and everything that a reader must know to weigh it."""
    believed = [row for row in rows if row.believed]
    if not believed:
        what = "No adapted encoder was probed, only floors and references" if rows else "No task was probed"
        return Summary(
            sentence=f"{what}: nothing can be said about {'an adaptation' if rows else 'this encoder'}.",
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
        sentence=f"{lead}, {_sentence(believed)}.",
        basis=_significance(believed),
        protocol=protocol,
        context=context,
        cautions=_cautions(probe, rows, believed, fallback),
    )


def _sentence(rows: Sequence[Row]) -> str:
    """One clause an adapted encoder, which is named only where there are several."""
    if not several_encoders(rows):
        return _clauses(rows, "the adapted encoder")
    numbers = sorted({row.encoder_number for row in rows})
    of_each = [[row for row in rows if row.encoder_number == number] for number in numbers]
    return "; ".join(f"for {_called(own[0])}: {_clauses(own, 'it')}" for own in of_each)


def _called(row: Row) -> str:
    return f"“{row.encoder}”"


def _clauses(rows: Sequence[Row], subject: str) -> str:
    gained = [row for row in rows if row.verdict == "gained"]
    lost = [row for row in rows if row.verdict == "lost"]
    worst = min(rows, key=lambda row: row.delta)
    best = max(rows, key=lambda row: row.delta)
    num = len(rows)
    if gained:
        gain = _moves("gains", gained, num, best=True)
        if lost:
            return f"{subject} {gain}, but {_moves('loses', lost, num, best=False)}"
        if num == 1:
            return f"{subject} {gain}"
        if worst.delta < 0:
            tail = (
                f"the worst change, {signed(worst.delta)} points on {worst.task} ({_span(worst)}), is within the noise"
            )
            return f"{subject} {gain}; no task loses significantly: {tail}"
        return f"{subject} {gain}, and no task goes down"
    if lost:
        tail = "" if num == 1 else ", and no task gains significantly"
        return f"{subject} {_moves('loses', lost, num, best=False)}{tail}"
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
    """Rows of one protocol: their test is one, but for tasks that are scored by mAP."""
    tests = list(dict.fromkeys(row.test for row in sorted(believed, key=lambda row: row.metric == "mAP")))
    p = _P_OF[tests[0]] + (f" (for mAP {_P_OF[tests[1]]})" if len(tests) > 1 else "")
    num_tasks = len({row.task for row in believed})
    if num_tasks > 1:
        p = f"{p}, Holm-corrected over {num_tasks} tasks,"
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
    named = several_encoders(believed)
    for encoder in probe.adapted:
        if encoder.weights_sha256 == probe.base.weights_sha256:
            which = f"“{encoder.name}”" if named else "adapted"
            cautions.append(f"Base and {which} are the same weights (equal SHA-256): there is nothing to compare.")
    left_out = [task.name for task in probe.tasks if task.name not in {row.task for row in believed}]
    if left_out:
        cautions.append(
            f"{', '.join(left_out)}: no {believed[0].protocol}/{believed[0].context} result, not part of the verdict."
        )
    for row in {row.task: row for row in believed}.values():
        if row.num_groups < FEW_GROUPS:
            cautions.append(
                f"{row.task} comes from only {row.num_groups} recordings or speakers: its interval is coarse and its "
                "p-value counts clips that are not independent."
            )
    noisy = [row for row in believed if row.verdict == "within noise" and row.interval[0] < 0]
    if noisy:
        row = min(noisy, key=lambda row: row.interval[0])
        cautions.append(
            f"“Within noise” is not “unchanged”: {row.num_clips} clips show a change of {row.detectable:.1f} points or "
            f"more in four of five cases, and here cannot rule out a loss of up to {-row.interval[0]:.1f} points on "
            f"{row.task}{f' by {_called(row)}' if named else ''}."
        )
    lost = {(row.task, row.encoder_number) for row in believed if row.verdict == "lost"}
    opposed = sorted(
        {
            f"{row.task} ({_called(row)})" if named else row.task
            for row in rows
            if row.verdict == "lost" and row.role == "adapted" and (row.task, row.encoder_number) not in lost
        }
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
