"""A corpus as its YAML file says it: where it lives, which column is what, its licence, how its texts are cleaned."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from whisper_aut.config import Section
from whisper_aut.constants import Domain
from whisper_aut.data.sources.cleanup import CLEANUPS
from whisper_aut.data.sources.layout import Separated
from whisper_aut.data.sources.pattern import fields_of
from whisper_aut.data.sources.spec_errors import explain
from whisper_aut.errors import SourceError
from whisper_aut.resources import resource

FOLDER = "data_manifests/sources"
Split = Literal["train", "validation"]
Format = Literal["csv", "tsv", "json", "jsonl", "parquet", "transcripts"]
Commercial = Literal["allowed", "forbidden", "by clip", "unclear"]


class Files(Section):
    """Lists of one split."""

    files: Annotated[list[str], Field(min_length=1, description="Paths or globs under the corpus' folder, in order.")]
    set: dict[str, str] = Field(default={}, description="Columns that every row of these lists gets.")
    keep: dict[str, list[str]] = Field(
        default={}, description="Column to the values that are kept; the other rows belong elsewhere."
    )


class HubPart(Section):
    """One split of a data set on the hub."""

    config: str | None = Field(default=None, description="Configuration of the data set.")
    split: str = Field(description="Split on the hub.")
    files: Annotated[
        list[str], Field(min_length=1, description="The same as Parquet or Arrow files under the corpus' folder.")
    ]


class Table(Separated):
    """A second table: columns joined to each row, or the names of labels."""

    file: str = Field(description="Path under the corpus' folder.")
    format: Format = Field(default="csv")
    key: str = Field(description="Its column that is looked up.")


class Join(Table):
    """Columns of another table, looked up for each row."""

    by: str = Field(description="Column of the row that is looked up.")
    take: Annotated[dict[str, str], Field(min_length=1, description="New column to the other table's column.")]
    required: bool = Field(default=True, description="Whether the file must be there; without it columns are empty.")


class Names(Table):
    """Names of labels that are written as ids."""

    value: str = Field(description="Its column with the name.")


class Derive(Section):
    """A column made of another one."""

    name: str
    column: str
    match: str | None = Field(default=None, description="Regular expression; its first group is the new value.")
    pad: Annotated[int, Field(gt=0, le=32)] | None = Field(default=None, description="Zeros in front up to so many.")

    @field_validator("match")
    @classmethod
    def _has_a_group(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        if compiled.groups != 1:
            raise ValueError(f"needs one group in round brackets, has {compiled.groups}")
        return pattern


class ListRead(Separated):
    """Rows of tables that lie beside the audio files."""

    kind: Literal["list"]
    format: Format
    splits: Annotated[dict[Split, list[Files]], Field(min_length=1)]
    columns: list[str] = Field(default=[], description="Names of the columns where the file has no headings.")
    header_rows: Annotated[int, Field(ge=1, le=4)] = Field(
        default=1, description="Lines of headings; those of a column are joined with a dot."
    )
    comment: str = Field(default="", description="Lines that begin so are left out.")
    records: str = Field(default="", description="Key under which a JSON file has its rows.")
    join: list[Join] = Field(default=[])


class HubRead(Section):
    """A data set of the hub: local Parquet or Arrow files, or streamed."""

    kind: Literal["hub"]
    path: str = Field(description="Owner and name on the hub.")
    audio: str = Field(description="The column with the audio's bytes.")
    splits: Annotated[dict[Split, list[HubPart]], Field(min_length=1)]


class NemoRead(Section):
    """NeMo's JSON lines: audio_filepath, duration, text, offset, channel, lang."""

    kind: Literal["nemo"]
    splits: Annotated[dict[Split, list[Files]], Field(min_length=1)]


class LhotseRead(Section):
    """Lhotse's cuts, or supervisions beside recordings, as JSON lines, gzip or not."""

    kind: Literal["lhotse"]
    splits: Annotated[dict[Split, list[Files]], Field(min_length=1)]
    text: str = Field(default="text", description="Where a supervision has its text, dots between the keys.")
    recordings: str = Field(default="", description="recordings.jsonl(.gz) where the lists are supervisions.")


class KaldiRead(Section):
    """Kaldi's data folders: wav.scp, text, and segments, utt2dur, reco2dur, reco2file_and_channel where they are."""

    kind: Literal["kaldi"]
    splits: Annotated[dict[Split, list[Files]], Field(min_length=1)]


Read = Annotated[ListRead | HubRead | NemoRead | LhotseRead | KaldiRead, Field(discriminator="kind")]


class ClipSpec(Section):
    """How a row becomes a clip: patterns with {column}, or names of columns."""

    id: str = Field(default="{id}", description="Pattern; the source's name is put before it.")
    audio: list[str] = Field(
        default=["{folder}/{audio}", "{audio}"],
        description="Patterns of paths under the corpus' folder; the first that is there counts. {folder} is the "
        "list's own folder.",
    )
    text: list[str] = Field(default=["{text}"], description="Patterns; one clip for each that is not empty.")
    offset_sec: str | None = Field(default=None, description="Column: where the clip begins in its file.")
    end_sec: str | None = Field(default=None, description="Column: where it ends, instead of a duration.")
    duration_sec: str | None = Field(default=None, description="Column. Left out: the file's header says it.")
    duration_ms: str | None = Field(default=None, description="Column, in milliseconds.")
    channel: str | None = Field(
        default=None,
        description="Column: the channel of the file that is the clip, from 0, or several to be mixed (0,1). Left out: "
        "all, mixed; Lhotse's, NeMo's and Kaldi's own is read without this.",
    )
    language: str | None = Field(default=None, description="Pattern, instead of the source's own language.")
    license: str | None = Field(default=None, description="Pattern; where empty, the source's own licence.")

    @model_validator(mode="after")
    def _one_length(self) -> ClipSpec:
        given = [name for name in ("end_sec", "duration_sec", "duration_ms") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of {' and '.join(given)}")
        return self


class CaptionField(Section):
    """What one {field} of a caption template says of a clip."""

    column: str
    split: str = Field(default="", description="Separator where the column holds several values in one text.")
    names: Names | None = Field(default=None, description="Table of names where the values are ids.")
    words: dict[str, list[str]] = Field(default={}, description="Wordings of a value, one of which is chosen.")
    skip: list[str] = Field(default=[], description="Values that say nothing.")
    alternatives: str = Field(default="", description="Separator of names for the same thing; one is chosen.")
    max: Annotated[int, Field(gt=0)] = Field(default=4, description="Values that are named at most.")
    lower: bool = Field(default=True, description="Whether values that are not in words are written small.")
    note: bool = Field(default=False, description="Whether the value is a MIDI pitch, to be named as a note.")

    @field_validator("words", mode="before")
    @classmethod
    def _keys_are_texts(cls, words: Any) -> Any:
        """YAML reads 25: as a number, and a single wording needs no list."""
        if not isinstance(words, dict):
            return words
        return {str(key): [value] if isinstance(value, str) else value for key, value in words.items()}


class Captions(Section):
    """Captions of corpora that have labels or attributes only."""

    fields: Annotated[dict[str, CaptionField], Field(min_length=1)]
    templates: Annotated[list[str], Field(min_length=3, description="One is chosen for each clip, by its id.")]

    @model_validator(mode="after")
    def _fields_are_known(self) -> Captions:
        for template in self.templates:
            for name in fields_of(template):
                bare = name.removeprefix("a ")
                if bare not in self.fields:
                    raise ValueError(f"the template '{template}' names {{{name}}}; fields: {', '.join(self.fields)}")
        return self


class SourceSpec(Section):
    """A corpus."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", description="Of the manifest; before every id.")]
    title: str
    domain: Domain
    language: str = Field(default="en", description="Whisper's code.")
    license: Annotated[str, Field(min_length=2, description="SPDX-like where there is such a name.")]
    commercial: Commercial = Field(description="What the licence says of commercial use.")
    homepage: str
    hours: Annotated[float, Field(gt=0)] | None = Field(description="Of all splits that are read, about.")
    folder: Annotated[str, Field(min_length=1, description="Where it is looked for under --data-root.")]
    get: str = Field(description="How to get it, in words.")
    checked: Annotated[str, Field(min_length=40, description="What of this was verified, how, and what was not.")]
    notes: list[str] = Field(default=[], description="What whoever trains on it must know.")
    read: Read
    derive: list[Derive] = Field(default=[], description="Columns that are made of others, in order.")
    clip: ClipSpec = ClipSpec()
    captions: Captions | None = None
    clean: list[str] = Field(default=[], description="Names of text clean-ups, in order.")
    long_audio: Literal["drop", "head"] = Field(
        default="drop",
        description="Clips over 30 s are rejected, or only their beginning is taken (never under a transcript).",
    )

    @field_validator("clean")
    @classmethod
    def _clean_ups_are_known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in CLEANUPS:
                near = difflib.get_close_matches(name, CLEANUPS, n=1, cutoff=0.4)
                hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(CLEANUPS)}"
                raise ValueError(f"there is no clean-up '{name}'; {hint}")
        return names

    @model_validator(mode="after")
    def _consistent(self) -> SourceSpec:
        if self.captions is not None and "text" in self.clip.model_fields_set:
            raise ValueError("a clip's text comes from clip.text or from captions, not from both")
        if self.long_audio == "head" and self.domain == "speech":
            raise ValueError("long_audio: head would cut the audio under a whole transcript")
        if self.read.kind == "list" and "audio" not in self.clip.model_fields_set:
            raise ValueError("clip.audio is missing: the path of a row's audio under the corpus' folder")
        if self.read.kind == "hub" and "audio" in self.clip.model_fields_set:
            raise ValueError("clip.audio is for files; the hub's audio is in the column read.audio")
        return self


def shipped_sources() -> list[str]:
    """Names of the sources that come with the package, in order."""
    return sorted(path.stem for path in resource(FOLDER).glob("*.yaml"))


def load_source(name: str) -> SourceSpec:
    """The source of that name, or of that YAML file.

    Raises:
        SourceError: there is none, or it has mistakes; file, line and key are named.
    """
    path = _find(name)
    try:
        text = path.read_text(encoding="utf-8")
        raw = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the source cannot be read: {error}", where=str(path), remedy="give a YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise SourceError(f"the source is not YAML: {problem}", where=where, remedy="mend the line") from None
    if not isinstance(raw, dict):
        raise SourceError("a source is a mapping with name, read, clip, …", where=str(path), remedy=_REMEDY)
    try:
        return SourceSpec.model_validate(raw)
    except ValidationError as error:
        raise SourceError(
            f"the source {path} has {error.error_count()} mistake(s):\n{explain(error, text, path, SourceSpec)}",
            remedy=_REMEDY,
        ) from None


_REMEDY = "data_manifests/README.md shows an example and every key"


def _find(name: str) -> Path:
    path = Path(name)
    if path.suffix in {".yaml", ".yml"}:
        if path.is_file():
            return path
        raise SourceError(f"there is no source at {name}", remedy="give a YAML file, or a name: " + _names())
    shipped = resource(f"{FOLDER}/{name}.yaml")
    if re.fullmatch(r"[a-z0-9_]+", name) and shipped.is_file():
        return shipped
    near = difflib.get_close_matches(name, shipped_sources(), n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? Others: " if near else "sources: "
    raise SourceError(f"there is no source '{name}'", remedy=f"{hint}{_names()}; or the path of a YAML file")


def _names() -> str:
    return ", ".join(shipped_sources())
