"""What a probe found, as data: written by ``whisper-aut probe``, read by ``whisper-aut report``. Accuracies in percent.

The JSON form (``to_json``/``from_json``) is the contract between the two commands and carries ``schema_version``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from whisper_aut.constants import Context
from whisper_aut.errors import ProbeError

SCHEMA_VERSION = 2

# base: what the others are compared with; adapted: the verdict and the gate speak of it; floor: what needs no training
# to reach (random weights, MFCC); reference: another kind of encoder, to compare with.
Role = Literal["base", "adapted", "floor", "reference"]


class Record(BaseModel):
    """A part of the results; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EncoderRecord(Record):
    """One encoder that was probed."""

    role: Role
    name: str = Field(description="As given on the command line")
    weights_sha256: str
    num_parameters: int
    width: int = Field(description="D, the size of one state")


class Score(Record):
    """One encoder's accuracy on one task under one protocol, in percent."""

    accuracy: float
    interval: tuple[float, float] = Field(description="95% bootstrap interval over groups of clips")
    per_fold: list[float]
    per_class: dict[str, float]


class Comparison(Record):
    """One encoder minus the base, on the same clips."""

    delta: float = Field(description="Points: the encoder's accuracy - the base's")
    interval: tuple[float, float] = Field(description="95% paired bootstrap interval of delta over groups of clips")
    p_value: float = Field(description="Exact two-sided McNemar test")
    num_gained: int = Field(description="Clips that only the encoder gets right")
    num_lost: int = Field(description="Clips that only the base gets right")


class ProtocolResult(Record):
    """One task under one protocol at one context, all encoders side by side."""

    protocol: str = Field(description="'paper' or 'strict'")
    version: int = Field(description="Of the protocol: any change of its rules counts it up")
    context: Context
    rules: str = Field(description="The protocol in one sentence: pooling, standardisation, head, selection")
    scores: list[Score] = Field(description="One an encoder, in the report's order: the base first")
    comparisons: list[Comparison] = Field(description="One an encoder but the base, in the same order")


class TaskResult(Record):
    """One task: what it is made of, and its results by protocol."""

    name: str
    folder: str
    clips_sha256: str = Field(description="Over ids, labels, folds, groups and audio bytes, in order")
    num_clips: int
    num_folds: int
    num_groups: int = Field(description="Distinct recordings; equals num_clips where the manifest names no group")
    classes: list[str]
    licenses: list[str]
    chance: float = Field(description="Accuracy of always answering the largest class, in percent")
    results: list[ProtocolResult]


class ProbeReport(Record):
    """Everything one call of ``whisper-aut probe`` found."""

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    encoders: list[EncoderRecord] = Field(description="The base first, then in the order given", min_length=1)
    tasks: list[TaskResult]
    command: str
    versions: dict[str, str] = Field(description="Package name to version, with python and whisper-aut")
    seed: int

    @model_validator(mode="after")
    def _check_encoders(self) -> ProbeReport:
        roles = [encoder.role for encoder in self.encoders]
        if roles[0] != "base" or "base" in roles[1:]:
            raise ValueError(f"the first encoder, and no other, is the base; the roles are {', '.join(roles)}")
        for task in self.tasks:
            for result in task.results:
                if len(result.scores) != len(roles) or len(result.comparisons) != len(roles) - 1:
                    raise ValueError(f"{task.name}, {result.protocol}/{result.context}: not one score an encoder")
        return self

    @property
    def base(self) -> EncoderRecord:
        """The encoder that the others are compared with."""
        return self.encoders[0]

    @property
    def adapted(self) -> list[EncoderRecord]:
        """The encoders that the verdict and the gate speak of."""
        return [encoder for encoder in self.encoders if encoder.role == "adapted"]

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
