"""What a probe found, as data: written by ``whisper-aut probe``, read by ``whisper-aut report``. Scores in percent.

The JSON form (``to_json``/``from_json``) is the contract between the two commands and carries ``schema_version``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from whisper_aut.constants import Context
from whisper_aut.errors import ProbeError
from whisper_aut.probe.packed import unpack
from whisper_aut.probe.tasks.labelled import Metric

SCHEMA_VERSION = 3  # 3: metrics and fixed splits; a score is a ``value`` of the task's metric

# Exact over clips; by permutation over groups where runs are averaged; by permutation of scores over groups, for mAP.
Test = Literal["mcnemar", "sign-flip", "permutation"]
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
    made_by: str = Field(default="", description="The command that wrote it, where an export says so")
    num_layers: int = Field(default=1, description="States to choose from, the first block's input included")
    notes: list[str] = Field(default_factory=list, description="What the reader of a result must know of the encoder")


class Score(Record):
    """One encoder's score on one task under one protocol: the task's metric, in percent."""

    value: float = Field(description="Over all tested clips")
    interval: tuple[float, float] = Field(description="95% bootstrap interval over groups of clips")
    per_fold: list[float] = Field(description="By test: one value for a fixed split")
    per_class: dict[str, float] = Field(description="Accuracy by class; for mAP average precision")
    per_run: list[float] = Field(
        default_factory=list,
        description="By seed of the head (the first is the value) or by draw (the mean is); empty for one run",
    )
    num_counted: int = Field(default=1, description="Runs that the value is made of: 1, or all draws")
    answers: str = Field(
        default="",
        description="Packed (whisper_aut.probe.packed): class numbers [num_counted, tested clips]; empty for mAP",
    )

    def answer_ids(self, num_tested: int) -> np.ndarray:
        """The answers as class numbers, int [num_counted, ``num_tested``].

        Raises:
            ProbeError: they are damaged, or not of so many clips.
        """
        return unpack(self.answers, (self.num_counted, num_tested))


class Comparison(Record):
    """One encoder minus the base, on the same clips."""

    delta: float = Field(description="Points: the encoder's value - the base's")
    interval: tuple[float, float] = Field(description="95% paired bootstrap interval of delta over groups of clips")
    test: Test = "mcnemar"
    p_value: float
    num_gained: int | None = Field(description="Clips that only the encoder gets right; None for mAP")
    num_lost: int | None = Field(description="Clips that only the base gets right; None for mAP")
    effect_size: float | None = Field(
        description="Cohen's g of McNemar's test, Cohen's paired d of the sign-flip test; None for mAP"
    )
    detectable: float = Field(
        description="Least difference in points that this test set would show with 80% power at p < 0.05, given how "
        "often the two encoders disagree (for mAP the bootstrap's spread) and how clips hang together in groups"
    )


class ProtocolResult(Record):
    """One task under one protocol at one context, all encoders side by side."""

    protocol: str = Field(description="Its name; 'strict [max, layer 3]' where pooling or layer are not its own")
    version: int = Field(description="Of the protocol: any change of its rules counts it up")
    context: Context
    pooling: str = Field(description="Statistic and positions, e.g. 'mean over real positions'")
    layer: str = Field(description="'last', a number from 0 (the first block's input), or 'weighted'")
    rules: str = Field(description="The protocol in one sentence: pooling, standardisation, head, selection")
    scores: list[Score] = Field(description="One an encoder, in the report's order: the base first")
    comparisons: list[Comparison] = Field(description="One an encoder but the base, in the same order")


class TaskResult(Record):
    """One task: what it is made of, and its results by protocol."""

    name: str
    folder: str
    clips_sha256: str = Field(description="Over ids, labels, folds, groups and audio bytes, in order")
    audio_sha256: str = Field(default="", description="Over audio bytes alone, in any order; empty in older files")
    metric: Metric = Field(description="Accuracy; mAP, mean average precision, where clips may have several labels")
    split: Literal["folds", "fixed"] = Field(description="Every fold the test once, or train, valid, test")
    num_clips: int
    num_tested: int = Field(description="Fewer than num_clips where the split is fixed")
    num_folds: int = Field(description="How many tests there are; 1 for a fixed split")
    num_groups: int = Field(description="Distinct recordings among the tested clips")
    classes: list[str]
    licenses: list[str]
    truth: str = Field(default="", description="Packed: class number of each tested clip; empty for mAP")
    groups: str = Field(default="", description="Packed: recording of each tested clip; empty for mAP")
    chance: float = Field(
        description="Percent without hearing anything: accuracy of the largest class, or mAP of scores at random"
    )
    results: list[ProtocolResult]

    def truth_ids(self) -> np.ndarray:
        """Class number of each tested clip, int [N]. Raises ``ProbeError`` where they are damaged."""
        return unpack(self.truth, (self.num_tested,))

    def group_ids(self) -> np.ndarray:
        """Recording of each tested clip, int [N]. Raises ``ProbeError`` where they are damaged."""
        return unpack(self.groups, (self.num_tested,))


class LayerCurve(Record):
    """One encoder over its depth, in percent; entry 0 is the input of the first block."""

    name: str
    encoder: int | None = Field(description="Its place in the report's encoders; None for a floor that is not there")
    knn: list[float] = Field(description="Macro-F1 of the nearest neighbours")
    network: list[float] = Field(description="Macro-F1 of the small network")
    nmi: list[float] = Field(description="Normalised mutual information of classes and clusters")


class EmbeddingMap(Record):
    """A picture of one layer: clips in the plane, each axis from 0 to 1."""

    name: str
    encoder: int
    layer: int
    points: list[tuple[float, float]]


class LayerTask(Record):
    """One task layer by layer."""

    name: str
    num_clips: int = Field(description="Of the task, as many as were looked at")
    classes: list[str]
    curves: list[LayerCurve]
    map_classes: list[int] = Field(description="Class number of each point of the maps")
    maps: list[EmbeddingMap]


class LayerAnalysis(Record):
    """What every layer knows of every task."""

    version: int = Field(description="Of the rules")
    context: Context
    rules: str
    tasks: list[LayerTask]
    left_out: list[str] = Field(default_factory=list, description="Tasks whose clips have several labels")


class ProbeReport(Record):
    """Everything one call of ``whisper-aut probe`` found."""

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    encoders: list[EncoderRecord] = Field(description="The base first, then in the order given", min_length=1)
    tasks: list[TaskResult]
    layers: LayerAnalysis | None = Field(default=None, description="Only where it was asked for")
    command: str
    versions: dict[str, str] = Field(description="Package name to version, with python and whisper-aut")
    seed: int
    precision: str | None = Field(
        default=None, description="Arithmetic of the encoders: float32 or bfloat16; None: not recorded"
    )
    precision_reason: str | None = Field(default=None, description="Why it was taken")

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
            ProbeError: missing, not JSON, or written by another version.
        """
        if path.is_dir():
            raise ProbeError("this is a folder", where=str(path), remedy=f"give the file, e.g. {path / 'probe.json'}")
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ProbeError(
                f"the probe results cannot be read: {error}", where=str(path), remedy="run `whisper-aut probe` first"
            ) from None
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ProbeError(
                f"the probe results are damaged: {error}", where=str(path), remedy="probe again, or copy the file again"
            ) from None
        if isinstance(raw, dict) and "probe" in raw and "summary" in raw:
            raise ProbeError(
                "this is a report, not a probe's results", where=str(path), remedy="give the probe.json that it is of"
            )
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
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ProbeError(
                f"the probe results are damaged: {field}: {first['msg'].removeprefix('Value error, ')}",
                where=str(path),
                remedy="probe again, or copy the file again",
            ) from None
