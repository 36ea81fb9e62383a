"""Speech kept: word error rates and captions before and after, as ``whisper-aut wer`` measured them, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from whisper_aut.constants import Context
from whisper_aut.probe.results import EncoderRecord, Record
from whisper_aut.speech.results import ALL_SOURCES, HIGHER_IS_BETTER, Metric, Role, Row, SpeechReport

Verdict = Literal["gained", "lost", "within noise", ""]
_FEW_GROUPS = 30


class SpeechRow(Record):
    """A metric of one model on one source at one context, ready to be shown."""

    metric: Metric
    domain: str
    source: str
    context: Context
    role: Role
    value: float
    interval: tuple[float, float]
    delta: float | None = Field(description="Against the base at full context, where heard; None: that base itself")
    delta_interval: tuple[float, float] | None
    verdict: Verdict = Field(description="By the interval of the change; nothing for the base")
    num_clips: int
    num_groups: int
    num_units: int

    def value_text(self) -> str:
        """``12.3`` or, of a loss, ``1.234``."""
        return f"{self.value:.{self._digits}f}"

    def interval_text(self) -> tuple[str, str]:
        """Both ends, in as many digits as the value."""
        return f"{self.interval[0]:.{self._digits}f}", f"{self.interval[1]:.{self._digits}f}"

    def delta_text(self) -> str:
        """With its sign; nothing for the base."""
        return "" if self.delta is None else self._signed(self.delta)

    def delta_interval_text(self) -> tuple[str, str] | None:
        """Both ends, with their signs."""
        return None if self.delta_interval is None else (
            self._signed(self.delta_interval[0]), self._signed(self.delta_interval[1])
        )  # fmt: skip

    @property
    def _digits(self) -> int:
        return 3 if self.metric == "loss" else 1

    def _signed(self, number: float) -> str:
        return f"{number:+.{self._digits}f}".replace("-", "−")


class SpeechSection(Record):
    """What stands in the report."""

    status: Literal["not measured", "measured"] = "not measured"
    sentence: str = Field(
        default="What is kept of Whisper's speech was not measured. `whisper-aut wer RUN` hears held-out clips; give "
        "its speech.json as --speech."
    )
    cautions: list[str] = Field(default_factory=list)
    rows: list[SpeechRow] = Field(default_factory=list)
    how: list[str] = Field(default_factory=list, description="Clips, normaliser, metric, models")
    command: str | None = None

    def by_metric(self) -> list[tuple[Metric, list[SpeechRow]]]:
        """Rows of each metric, word errors first."""
        return [(name, found) for name in HIGHER_IS_BETTER if (found := [r for r in self.rows if r.metric == name])]


def speech_section(measured: SpeechReport | None, encoders: Sequence[EncoderRecord]) -> SpeechSection:
    """What was measured, as the report says it.

    Args:
        measured: None where nothing was.
        encoders: those that were probed; others than these in ``measured`` are said.
    """
    if measured is None:
        return SpeechSection()
    rows = [_row(row) for row in measured.rows]
    unit = "characters" if set(measured.normalisers.values()) == {"characters"} else "words"
    return SpeechSection(
        status="measured",
        sentence=_sentence(rows, unit),
        cautions=_cautions(measured, rows, encoders),
        rows=rows,
        how=[
            f"Clips: {measured.clips_from}; {measured.held_out}.",
            f"Words are counted by jiwer after {measured.normaliser}; captions by {measured.caption_metric}, the mean "
            "over clips. Decoding is greedy; intervals are 95%, bootstrapped over recordings or speakers where the "
            "manifest names them, else over clips; changes are paired, and against the base at full context where that "
            "was heard: at short contexts an unadapted Whisper repeats itself.",
            *([f"Computed in {measured.precision}: {measured.precision_reason}."] if measured.precision else []),
            *(
                f"{model.role}: encoder {model.encoder} ({model.encoder_sha256[:12]}), decoder {model.decoder} "
                f"({model.decoder_sha256[:12]}){f', step {model.step}' if model.step is not None else ''}"
                for model in measured.models
            ),
        ],
        command=f"{measured.command} ({measured.date})",
    )


def _row(row: Row) -> SpeechRow:
    return SpeechRow(**row.model_dump(), verdict=_verdict(row))


def _verdict(row: Row) -> Verdict:
    if row.delta_interval is None:
        return ""
    low, high = row.delta_interval
    if low <= 0 <= high or row.num_groups < 2:
        return "within noise"
    return "gained" if (low > 0) == HIGHER_IS_BETTER[row.metric] else "lost"


def _sentence(rows: Sequence[SpeechRow], unit: str) -> str:
    """Word error rates over all speech, with each decoder at each context."""
    spoken = [row for row in rows if row.metric == "WER" and row.source == ALL_SOURCES]
    before = [row for row in spoken if row.delta is None]
    after = [row for row in spoken if row.role != "base"]
    if not before or not after:
        return "No speech was among the clips: the word error rate was not measured."
    was = " and ".join(f"{row.value_text()}% at {row.context} context" for row in before)
    became = "; ".join(
        f"{row.value_text()}% with the {row.role} at {row.context} context ({row.delta_text()}, 95% interval "
        f"{' to '.join(row.delta_interval_text() or ())})"
        for row in after
    )
    return (
        f"The base's word error rate is {was}, over {before[0].num_clips} clips and {before[0].num_units} {unit}. "
        f"After adaptation: {became}."
    )


def _cautions(measured: SpeechReport, rows: Sequence[SpeechRow], encoders: Sequence[EncoderRecord]) -> list[str]:
    found = []
    probed = {encoder.weights_sha256: encoder.name for encoder in encoders}
    for model in measured.models:
        if model.role != "original decoder" and model.encoder_sha256 not in probed:
            found.append(f"The encoder of '{model.role}' ({model.encoder}) is none of those that were probed.")
    if not measured.held_out.startswith(("held out", "none of these")):
        found.append(f"Whether the clips were trained on: {measured.held_out}.")
    whole = [row for row in rows if row.source == ALL_SOURCES]
    for domain in dict.fromkeys(row.domain for row in whole if row.num_groups < _FEW_GROUPS):
        number = next(row.num_groups for row in whole if row.domain == domain)
        found.append(f"Only {number} recordings of {domain}: the intervals are rough.")
    looping = [
        (model.role, context, count, len(outputs))
        for model in measured.models
        for context in dict.fromkeys(output.context for clip in measured.clips for output in clip.outputs)
        if (
            outputs := [
                one
                for clip in measured.clips
                if clip.domain == "speech"
                for one in clip.outputs
                if (one.role, one.context) == (model.role, context)
            ]
        )
        and (count := sum(not one.ended for one in outputs))
    ]
    found += [
        f"{role} at {context} context ran into the limit of tokens on {count} of {total} spoken clips: it repeated "
        "itself, and each repetition counts as inserted words."
        for role, context, count, total in looping
    ]
    units = set(measured.normalisers.values())
    if "characters" in units and len(units) > 1:
        spaceless = ", ".join(sorted(name for name, kind in measured.normalisers.items() if kind == "characters"))
        found.append(f"In {spaceless} characters are counted, elsewhere words: rows over both add the two.")
    if measured.left_out:
        found.append(f"{len(measured.left_out)} clips could not be heard, the first: {measured.left_out[0]}.")
    return found
