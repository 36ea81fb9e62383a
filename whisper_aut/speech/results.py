"""What ``whisper-aut wer`` found, as data: every clip with its texts, and what they add up to.

``speech.json`` is the contract with ``whisper-aut report`` and carries ``schema_version``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from whisper_aut.constants import Context, Domain
from whisper_aut.records import read_versioned

SCHEMA_VERSION = 1

# The model before; the adapted encoder with the decoder trained beside it; the adapted encoder under the base's one.
Role = Literal["base", "adapted decoder", "original decoder"]
Metric = Literal["WER", "loss", "chrF"]
HIGHER_IS_BETTER: dict[Metric, bool] = {"WER": False, "loss": False, "chrF": True}
UNITS: dict[Metric, str] = {"WER": "% of words", "loss": "nats per token", "chrF": "of 100"}
ALL_SOURCES = "all"


class Record(BaseModel):
    """A part of the results; unknown keys are refused, NaN cannot stand in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Model(Record):
    """An encoder and a decoder that were heard together."""

    role: Role
    encoder: str = Field(description="Where the encoder is from")
    encoder_sha256: str
    decoder: str = Field(description="Where the decoder is from")
    decoder_sha256: str
    step: int | None = Field(default=None, description="Of the run's checkpoint")
    suppressed_tokens: int = Field(description="Tokens that greedy decoding never chooses")


class Output(Record):
    """What one model made of one clip at one context."""

    role: Role
    context: Context
    text: str = Field(description="Greedy, as the decoder wrote it")
    ended: bool = Field(description="Whether the decoder ended the text itself; else it ran into the limit of tokens")
    substitutions: int | None = Field(default=None, description="Words; of speech only, as the next two")
    deletions: int | None = None
    insertions: int | None = None
    chrf: float | None = Field(default=None, description="Of captions only, 0 to 100")
    loss: float = Field(description="Summed negative log-likelihood of the reference's tokens, nats")


class ClipResult(Record):
    """One clip that was heard."""

    id: str
    source: str
    domain: Domain
    language: str
    group: str = Field(description="Recording or speaker where the manifest names one, else the clip itself")
    duration_sec: float
    reference: str
    num_words: int | None = Field(
        description="Of the normalised reference, characters in languages without spaces; of speech only"
    )
    num_tokens: int = Field(description="Of the reference and its end, which the loss is over")
    outputs: list[Output]


class Row(Record):
    """A number, with 95% bootstrap intervals over groups: the metric itself, and its change against the base."""

    metric: Metric
    domain: Domain
    source: str = Field(description=f"One source of the domain, or '{ALL_SOURCES}'")
    context: Context
    role: Role
    value: float
    interval: tuple[float, float]
    delta: float | None = Field(
        description="Minus the value of the base at full context (where that was heard, else at the same context) on "
        "the same clips; None: that base itself"
    )
    delta_interval: tuple[float, float] | None
    num_clips: int
    num_groups: int
    num_units: int = Field(description="Words for WER, tokens for the loss, clips for chrF")


class SpeechReport(Record):
    """Everything of one call."""

    schema_version: int = SCHEMA_VERSION
    command: str
    date: str = Field(description="UTC")
    versions: dict[str, str]
    clips_from: str = Field(description="The run, or the manifests")
    held_out: str = Field(description="What is known of whether the clips were trained on, as a sentence")
    normaliser: str = Field(description="What texts went through before words were counted, in words")
    normalisers: dict[str, str] = Field(
        default={}, description="By language of the speech; 'characters' counts these in place of words"
    )
    caption_metric: str = Field(description="Name and version, as its library signs it")
    seed: int = Field(description="Of the bootstrap")
    precision: str | None = Field(
        default=None, description="Arithmetic of encoding and decoding, as torch calls it; None: not recorded (float32)"
    )
    precision_reason: str | None = Field(default=None, description="Why it was taken")
    models: list[Model]
    rows: list[Row]
    left_out: list[str] = Field(description="Clips that could not be heard, and why")
    clips: list[ClipResult]

    def to_json(self) -> str:
        """Indented JSON; ``from_json`` reads it back equal."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, path: Path) -> SpeechReport:
        """Read a ``speech.json``.

        Raises:
            ProbeError: missing, damaged, or written by another version.
        """
        return read_versioned(
            path,
            cls.model_validate,
            SCHEMA_VERSION,
            what="the word errors have",
            again="whisper-aut wer",
            remedy="give speech.json in the folder that `whisper-aut wer --out` named",
        )
