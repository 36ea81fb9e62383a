"""What a probe found, as data: written by ``whisper-aut probe``, read by ``whisper-aut report``. Scores in percent.

The JSON form (``to_json``/``from_json``) is the contract between the two commands and carries ``schema_version``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from whisper_aut.constants import Context
from whisper_aut.errors import ProbeError
from whisper_aut.probe.tasks.labelled import Metric

SCHEMA_VERSION = 2  # 2: 'accuracy' holds the task's metric, which may be mAP; a task may have a fixed split


class Record(BaseModel):
    """A part of the results; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EncoderRecord(Record):
    """One encoder that was probed."""

    role: str = Field(description="'base' or 'adapted'")
    name: str = Field(description="As given on the command line")
    weights_sha256: str
    num_parameters: int
    width: int = Field(description="D, the size of one state")


class Score(Record):
    """One encoder's score on one task under one protocol: the task's metric, in percent."""

    accuracy: float = Field(description="The task's metric over all tested clips")
    interval: tuple[float, float] = Field(description="95% bootstrap interval over groups of clips")
    per_fold: list[float] = Field(description="One value for a fixed split")
    per_class: dict[str, float]


class Comparison(Record):
    """Adapted minus base, on the same clips."""

    delta: float = Field(description="Points of the task's metric: adapted - base")
    interval: tuple[float, float] = Field(description="95% paired bootstrap interval of delta over groups of clips")
    p_value: float = Field(description="Two-sided, of the named test")
    test: Literal["exact McNemar", "paired permutation"] = "exact McNemar"
    num_gained: int | None = Field(description="Clips that only the adapted encoder gets right; None for mAP")
    num_lost: int | None = Field(description="Clips that only the base gets right; None for mAP")


class ProtocolResult(Record):
    """One task under one protocol at one context, base and adapted side by side."""

    protocol: str = Field(description="'paper' or 'strict'")
    version: int = Field(description="Of the protocol: any change of its rules counts it up")
    context: Context
    rules: str = Field(description="The protocol in one sentence: pooling, standardisation, head, selection")
    base: Score
    adapted: Score
    comparison: Comparison


class TaskResult(Record):
    """One task: what it is made of, and its results by protocol."""

    name: str
    folder: str
    clips_sha256: str = Field(description="Over ids, labels, folds, groups and audio bytes, in order")
    metric: Metric = "accuracy"
    split: Literal["folds", "fixed"] = Field("folds", description="Every fold the test once, or train, valid, test")
    num_clips: int
    num_tested: int | None = Field(None, description="Clips of the test part of a fixed split; None: all are tested")
    num_folds: int = Field(description="How many tests there are; 1 for a fixed split")
    num_groups: int = Field(description="Distinct recordings among the tested clips")
    classes: list[str]
    licenses: list[str]
    chance: float = Field(
        description="Percent without hearing anything: accuracy of the largest class, or mAP of scores at random"
    )
    results: list[ProtocolResult]


class ProbeReport(Record):
    """Everything one call of ``whisper-aut probe`` found."""

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    base: EncoderRecord
    adapted: EncoderRecord
    tasks: list[TaskResult]
    command: str
    versions: dict[str, str] = Field(description="Package name to version, with python and whisper-aut")
    seed: int

    def to_json(self) -> str:
        """Indented JSON; ``from_json`` reads it back equal."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, path: Path) -> ProbeReport:
        """Read a results file.

        Raises:
            ProbeError: missing, not JSON, or written by a newer version.
        """
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ProbeError(
                f"the probe results cannot be read: {error}", where=str(path), remedy="run `whisper-aut probe` first"
            ) from None
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if version != SCHEMA_VERSION:
            raise ProbeError(
                f"the probe results have schema version {version}, this whisper-aut reads {SCHEMA_VERSION}",
                where=str(path),
                remedy="probe again with this version",
            )
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise ProbeError(f"the probe results are damaged: {error}", where=str(path), remedy="probe again") from None
