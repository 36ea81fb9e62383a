"""What a report says, as data: HTML and Markdown are two renderings of it, ``report.json`` is it.

``schema_version`` counts up with any change of meaning; ``Report.from_json`` reads back what ``to_json`` wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from pydantic import Field

from whisper_aut.probe.results import ProbeReport, Record
from whisper_aut.records import read_versioned
from whisper_aut.report.gate import GateVerdict
from whisper_aut.report.leakage import LeakageVerdict
from whisper_aut.report.runlog import Metrics, QuarantineLine, RunInfo, RunLog, StepLine, quarantine_by_reason
from whisper_aut.report.speech import SpeechSection
from whisper_aut.report.verdict import Row, Summary

SCHEMA_VERSION = 5  # 5: speech kept
MAX_CURVE_POINTS = 600  # a curve is a few hundred pixels wide; a run may have a million steps

Points = list[tuple[float, float]]


class Curves(Record):
    """What training measured, as (finished steps, value); step 0 is the base."""

    loss: Points = Field(description="Every step, or the least and the greatest loss of each bin of steps")
    loss_smoothed: Points
    smoothing_steps: int = Field(description="Time constant of the exponential average, in steps")
    lr: Points
    validation: dict[str, Points] = Field(description="Loss by domain")
    wer: Points = Field(description="Word error rate of held-out speech in percent; empty where none was measured")


class Throughput(Record):
    """How fast it went: medians over steps, sums over the run."""

    clips_per_sec: float | None
    audio_sec_per_sec: float | None
    step_sec: float | None
    loader_wait_sec: float | None
    audio_hours: float | None
    training_sec: float | None = Field(description="Sum of the steps; without validation and checkpoints")
    wall_sec: float | None = Field(description="Of the last process, as it said when it was done")


class Quarantine(Record):
    """Clips that could not be read and were replaced."""

    num_clips: int
    by_reason: dict[str, int]
    examples: list[str] = Field(description="The first few, as 'id: reason'")


class RunSection(Record):
    """The training run behind the adapted encoder."""

    info: RunInfo | None
    recipe: str | None = Field(description="recipe.yaml, word for word")
    last_step: int | None
    finished: bool = Field(description="The log ends with 'done'")
    num_skipped: int = Field(description="Steps without a finite loss")
    resumed_at: list[int]
    torn_lines: int
    curves: Curves | None
    throughput: Throughput | None
    quarantine: Quarantine | None = Field(description="None: not recorded")
    noncommercial: list[str] = Field(description="Sources with a licence that forbids commercial use")
    unlicensed: list[str] = Field(description="Sources whose licence is not known")


class Report(Record):
    """Everything that the page shows."""

    schema_version: int = SCHEMA_VERSION
    title: str
    summary: Summary
    rows: list[Row]
    gate: GateVerdict
    leakage: LeakageVerdict
    speech: SpeechSection
    notes: list[str]
    missing: list[str] = Field(description="What a full report would have and this one has not")
    probe: ProbeReport
    run: RunSection | None

    def to_json(self) -> str:
        """Indented JSON without NaN; ``from_json`` reads it back equal."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, path: Path) -> Report:
        """Read a ``report.json``.

        Raises:
            ProbeError: missing, damaged, or written by another version.
        """
        return read_versioned(
            path, cls.model_validate, SCHEMA_VERSION, what="the report has", again="whisper-aut report"
        )


def run_section(log: RunLog) -> RunSection:
    """Sum a run folder up for the report."""
    metrics, info = log.metrics, log.info
    steps = metrics.steps if metrics else ()
    sources = [
        (f"{source.name} ({', '.join(source.licenses) or 'none stated'})", source.licenses)
        for domain in (info.data.domains.values() if info and info.data else ())
        for source in domain.sources
    ]
    return RunSection(
        info=info,
        recipe=log.recipe,
        last_step=steps[-1].step if steps else None,
        finished=metrics is not None and metrics.done is not None,
        num_skipped=sum(line.loss is None for line in steps),
        resumed_at=list(metrics.resumed_at) if metrics else [],
        torn_lines=metrics.torn_lines if metrics else 0,
        curves=_curves(metrics) if metrics else None,
        throughput=_throughput(metrics) if metrics and steps else None,
        quarantine=_quarantine(log.quarantine, steps),
        noncommercial=[name for name, licenses in sources if any(is_noncommercial(text) for text in licenses)],
        unlicensed=[name for name, licenses in sources if not licenses or any(is_unknown(text) for text in licenses)],
    )


def is_noncommercial(license_name: str) -> bool:
    """Whether a licence's name says that commercial use is forbidden: ``CC BY-NC 3.0``, ``cc-by-nc-sa-4.0``, …"""
    return re.search(r"(?<![a-z])(nc|non[\s_-]?commercial)(?![a-z])", license_name.lower()) is not None


def is_unknown(license_name: str) -> bool:
    """Whether a licence's name says nothing."""
    return license_name.strip().lower() in {"", "unknown", "none", "other", "n/a", "?"}


def _quarantine(entries: tuple[QuarantineLine, ...] | None, steps: Sequence[StepLine]) -> Quarantine | None:
    if entries is None:
        counted = [line.quarantined for line in steps if line.quarantined is not None]
        if not counted:
            return None
        # A run that met no broken clip may never have opened its ledger; the steps have counted all the same.
        reasons = {"no ledger in the run folder": sum(counted)} if sum(counted) else {}
        return Quarantine(num_clips=sum(counted), by_reason=reasons, examples=[])
    return Quarantine(
        num_clips=len(entries),
        by_reason=quarantine_by_reason(entries),
        examples=[f"{entry.id}: {entry.reason}" for entry in entries[:5]],
    )


def _throughput(metrics: Metrics) -> Throughput:
    def values(field: str) -> list[float]:
        return [value for line in metrics.steps if (value := getattr(line, field)) is not None]

    def middle(field: str) -> float | None:
        found = values(field)
        return median(found) if found else None

    audio_sec, step_sec = values("audio_sec"), values("step_sec")
    return Throughput(
        clips_per_sec=middle("clips_per_sec"),
        audio_sec_per_sec=middle("audio_sec_per_sec"),
        step_sec=middle("step_sec"),
        loader_wait_sec=middle("loader_wait_sec"),
        audio_hours=sum(audio_sec) / 3600 if audio_sec else None,
        training_sec=sum(step_sec) if step_sec else None,
        wall_sec=metrics.done.wall_sec if metrics.done else None,
    )


def _curves(metrics: Metrics) -> Curves:
    loss = [(float(line.step), line.loss) for line in metrics.steps if line.loss is not None]
    lr = [(float(line.step), line.lr) for line in metrics.steps if line.lr is not None]
    smoothing_steps = max(1, round(len(loss) / 40))
    validation: dict[str, Points] = {}
    for line in metrics.validations:
        for domain, value in line.loss.items():
            if value is not None:
                validation.setdefault(domain, []).append((float(line.step), value))
    return Curves(
        loss=_envelope(loss),
        loss_smoothed=_every_nth(_smooth(loss, smoothing_steps)),
        smoothing_steps=smoothing_steps,
        lr=_every_nth(lr),
        validation=validation,
        wer=[(float(line.step), line.wer) for line in metrics.validations if line.wer is not None],
    )


def _smooth(points: Points, constant_steps: int) -> Points:
    """Exponential average with the start's bias corrected (Kingma and Ba 2015): the first value is the first loss."""
    decay = 1 - 1 / constant_steps if constant_steps > 1 else 0.0
    average, weight = 0.0, 0.0
    smoothed: Points = []
    for step, value in points:
        average, weight = decay * average + (1 - decay) * value, decay * weight + (1 - decay)
        smoothed.append((step, average / weight))
    return smoothed


def _envelope(points: Points) -> Points:
    """The least and greatest value of each bin, in the order they came: a spike of one step stays visible."""
    if len(points) <= MAX_CURVE_POINTS:
        return points
    size = -(-len(points) // (MAX_CURVE_POINTS // 2))
    kept: Points = []
    for start in range(0, len(points), size):
        chunk = points[start : start + size]
        kept += sorted({min(chunk, key=lambda point: point[1]), max(chunk, key=lambda point: point[1])})
    return kept


def _every_nth(points: Points) -> Points:
    if len(points) <= MAX_CURVE_POINTS:
        return points
    stride = -(-len(points) // MAX_CURVE_POINTS)
    return [*points[:-1:stride], points[-1]]
