"""What a training run wrote into its folder, read back: its description, its metrics, its quarantine ledger.

Optional pieces may be missing and are then listed by name; a damaged piece is an error with file and line.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from whisper_aut.errors import CheckpointError


class Logged(BaseModel):
    """Something that training wrote. Keys that the report has no use for are ignored, missing ones are None."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class BaseInfo(Logged):
    """The model that training started from."""

    spec: str
    license: str | None = None
    weights_sha256: str | None = None
    num_parameters: int | None = None


class SourceInfo(Logged):
    """One manifest of a domain."""

    name: str
    clips: int | None = None
    hours: float | None = None
    licenses: list[str] = Field(default_factory=list)
    languages: list[str] = Field(default_factory=list)
    fingerprint: str | None = None
    manifest: str | None = None


class DomainInfo(Logged):
    """One domain of the mixture."""

    weight: float | None = None
    clips: int | None = None
    hours: float | None = None
    held_out: int | None = None
    dropped_long_audio: int | None = None
    dropped_long_text: int | None = None
    sources: list[SourceInfo] = Field(default_factory=list)


class DataInfo(Logged):
    """What was trained on."""

    fingerprint: str | None = None
    domains: dict[str, DomainInfo] = Field(default_factory=dict)


class PlanInfo(Logged):
    """Which clips the steps read, summed up by domain."""

    fingerprint: str | None = None
    window_steps: int | None = None
    padding_fraction: float | None = None
    passes: dict[str, float] = Field(default_factory=dict)
    realised: dict[str, float] = Field(default_factory=dict)
    hours: dict[str, float] = Field(default_factory=dict)


class RunInfo(Logged):
    """``run.json``."""

    name: str | None = None
    description: str | None = None
    base: BaseInfo | None = None
    recipe_sha256: str | None = None
    seed: int | None = None
    steps_planned: int | None = None
    clips_per_step: int | None = None
    world_size: int | None = None
    data: DataInfo | None = None
    plan: PlanInfo | None = None
    command: str | None = None
    started_utc: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)


class StepLine(Logged):
    """One finished optimizer step. A loss that was not finite is None: that step was skipped."""

    step: Annotated[int, Field(ge=0)]
    loss: float | None = None
    lr: float | None = None
    num_clips: int | None = None
    audio_sec: float | None = None
    step_sec: float | None = None
    clips_per_sec: float | None = None
    audio_sec_per_sec: float | None = None
    loader_wait_sec: float | None = None
    quarantined: int | None = None


class ValidationLine(Logged):
    """Validation loss by domain after ``step`` finished steps; step 0 is the base."""

    step: Annotated[int, Field(ge=0)]
    loss: dict[str, float | None]
    wer: float | None = None


class Position(Logged):
    """Any event that says no more than where the run was."""

    step: Annotated[int, Field(ge=0)]
    wall_sec: float | None = None


class QuarantineLine(Logged):
    """One clip that could not be read."""

    id: str
    where: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Metrics:
    """``metrics.jsonl`` with every step once and in order."""

    steps: tuple[StepLine, ...]
    validations: tuple[ValidationLine, ...]
    resumed_at: tuple[int, ...]
    done: Position | None
    torn_lines: int  # lines that a kill cut off; each was the last one of its process


@dataclass(frozen=True, slots=True)
class RunLog:
    """A run folder. None: the file is not there."""

    folder: Path
    info: RunInfo | None
    recipe: str | None
    metrics: Metrics | None
    quarantine: tuple[QuarantineLine, ...] | None
    missing: tuple[str, ...]  # sentences


def read_run(folder: Path) -> RunLog:
    """Read a run folder.

    Raises:
        CheckpointError: there is no run in ``folder``, or a file of it is damaged (file and line are named).
    """
    files = {name: folder / name for name in ("run.json", "metrics.jsonl", "recipe.yaml")}
    if not any(path.is_file() for path in files.values()):
        raise CheckpointError(
            f"there is no training run in {folder}: it has none of {', '.join(files)}",
            remedy="give the folder that `whisper-aut train` wrote, or leave the run out to report the probe alone",
        )
    missing = [f"{name} is not in the run folder" for name, path in files.items() if not path.is_file()]
    info = _read_info(files["run.json"])
    if info is not None:
        missing += [f"run.json does not say: {key}" for key, value in info if value is None or value == {}]
    metrics = _read_metrics(files["metrics.jsonl"])
    if metrics is not None:
        if not metrics.steps:
            missing.append("metrics.jsonl has no step")
        if not metrics.validations:
            missing.append("metrics.jsonl has no validation")
    ledger = folder / "quarantine.jsonl"
    return RunLog(
        folder=folder,
        info=info,
        recipe=_text(files["recipe.yaml"]),
        metrics=metrics,
        quarantine=_read_quarantine(ledger),
        missing=tuple(missing),
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"a file of the run cannot be read: {error}", where=str(path)) from None


def _read_info(path: Path) -> RunInfo | None:
    text = _text(path)
    if text is None:
        return None
    try:
        return RunInfo.model_validate(json.loads(text, parse_constant=lambda _: None))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"run.json is not JSON: {error.msg}", where=f"{path}:{error.lineno}") from None
    except ValidationError as error:
        raise CheckpointError(f"run.json is damaged: {_first_mistake(error)}", where=str(path)) from None


def _read_metrics(path: Path) -> Metrics | None:
    """A resume at step N takes back every later line before it: those steps are run again, the later line counts."""
    if not path.is_file():
        return None
    steps: dict[int, StepLine] = {}
    validations: dict[int, ValidationLine] = {}
    resumed_at: list[int] = []
    done: Position | None = None
    torn = 0
    for where, raw in _json_lines(path):
        if raw is None:
            torn += 1
            continue
        match raw.get("event"):
            case "step":
                step = _parse(StepLine, raw, where)
                steps[step.step] = step
            case "validation":
                validation = _parse(ValidationLine, raw, where)
                validations[validation.step] = validation
            case "resume":
                position = _parse(Position, raw, where)
                resumed_at.append(position.step)
                steps = {number: line for number, line in steps.items() if number <= position.step}
                validations = {number: line for number, line in validations.items() if number <= position.step}
                done = None
            case "done":
                done = _parse(Position, raw, where)
            case str():
                pass  # an event of a newer version that this report does not show
            case _:
                raise CheckpointError("this line of the metrics names no event", where=where)
    return Metrics(
        steps=tuple(steps[number] for number in sorted(steps)),
        validations=tuple(validations[number] for number in sorted(validations)),
        resumed_at=tuple(resumed_at),
        done=done,
        torn_lines=torn,
    )


def _read_quarantine(path: Path) -> tuple[QuarantineLine, ...] | None:
    """Entries by clip, the later one counts: a step that is run again meets the same broken clips."""
    if not path.is_file():
        return None
    entries: dict[tuple[str, str], QuarantineLine] = {}
    for where, raw in _json_lines(path):
        if raw is not None:
            entry = _parse(QuarantineLine, raw, where)
            entries[entry.id, entry.where] = entry
    return tuple(entries.values())


def quarantine_by_reason(entries: tuple[QuarantineLine, ...]) -> dict[str, int]:
    """How many clips for which reason, most frequent first."""
    return dict(Counter(entry.reason or "no reason recorded" for entry in entries).most_common())


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """(``file:line``, object) for each line; None for a line that a kill cut off.

    A line is cut off when it is not JSON and either ends the file without a line break, or stands right before the
    ``resume`` of the next process. Anything else that is not a JSON object is damage.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise CheckpointError(f"a file of the run cannot be read: {error}", where=str(path)) from None
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        value = _object(line)
        if value is None:
            before_resume = number < len(lines) and (_object(lines[number]) or {}).get("event") == "resume"
            if number < len(lines) and not before_resume:
                raise CheckpointError(
                    f"line {number} of {path.name} is not a JSON object",
                    where=where,
                    remedy="remove the line if you know what happened to it; the report does not guess",
                )
        yield where, value


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        # NaN and infinities become None: JSON has no such numbers, and a report draws none.
        value = json.loads(line, parse_constant=lambda _: None)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) else None


LineT = TypeVar("LineT", bound=Logged)


def _parse(kind: type[LineT], raw: dict[str, Any], where: str) -> LineT:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise CheckpointError(f"this line of the run is damaged: {_first_mistake(error)}", where=where) from None


def _first_mistake(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'line'}: {first['msg']}"
