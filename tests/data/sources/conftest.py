"""Small corpora in the layouts that they are published in, with real audio of about a second."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from whisper_aut.data.sources.build import BuildOptions, build_source
from whisper_aut.data.sources.spec import SourceSpec, load_source


def tone(seconds: float = 1.0, *, rate: int = 16_000, pitch: float = 220.0) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


def write_audio(path: Path, seconds: float = 1.0, *, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(seconds, rate=rate), rate)
    return path


def audio_bytes(form: str = "FLAC", seconds: float = 1.0) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(seconds), 16_000, format=form)
    return buffer.getvalue()


def write_csv(path: Path, rows: Sequence[Sequence[Any]], *, delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL).writerows(rows)
    return path


def write_jsonl(path: Path, rows: Sequence[Any]) -> Path:
    """Objects, or lines as they are; gzip by the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def hub_file(path: Path, columns: dict[str, list[Any]]) -> Path:
    """A Parquet file as ``datasets`` writes one that has an Audio column."""
    from datasets import Audio, Dataset

    num_rows = len(next(iter(columns.values())))
    audio = [{"bytes": audio_bytes(), "path": f"{index}.flac"} for index in range(num_rows)]
    data = Dataset.from_dict({"audio": audio, **columns}).cast_column("audio", Audio(decode=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    if all(row is None or row["bytes"] is not None for row in data.to_dict()["audio"]):
        data.to_parquet(path)
    else:  # files that are named and not there: `datasets` would look at them, to split by size
        pq.write_table(data.data.table.cast(data.features.arrow_schema), path)
    return path


@pytest.fixture(scope="session")
def disk() -> SimpleNamespace:
    """Writers of what corpora are made of."""
    return SimpleNamespace(
        audio=write_audio, csv=write_csv, jsonl=write_jsonl, audio_bytes=audio_bytes, hub_file=hub_file
    )


@pytest.fixture
def data(tmp_path) -> Path:
    """The folder for corpora."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def build(tmp_path, data) -> Callable[..., list[dict[str, Any]]]:
    """Builds a source by name, YAML file or description; the manifest's rows."""

    def build(source: str | SourceSpec, **options: Any) -> list[dict[str, Any]]:
        spec = load_source(source) if isinstance(source, str) else source
        chosen = {"data_root": data, "out": tmp_path / "out"} | options
        build_source(spec, BuildOptions(**chosen))
        return pq.read_table(chosen["out"] / f"{spec.name}.parquet").to_pylist()

    return build


@pytest.fixture
def rejects(tmp_path) -> Callable[[str], list[dict[str, str]]]:
    """The rejected rows of a source."""

    def rejects(name: str) -> list[dict[str, str]]:
        path = tmp_path / "out" / ".build" / name / "rejects.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    return rejects


@pytest.fixture
def make_source() -> Callable[..., SourceSpec]:
    """A description of a corpus of captions in clips.csv with columns name and text; keywords replace keys."""

    def make(**keys: Any) -> SourceSpec:
        spec = {
            "name": "small",
            "title": "Small",
            "domain": "environment",
            "license": "CC0-1.0",
            "commercial": "allowed",
            "homepage": "https://example.org",
            "hours": None,
            "folder": "small",
            "get": "it is made by a test",
            "checked": "It is made by a test, so that nothing had to be looked up.",
            "read": {"kind": "list", "format": "csv", "splits": {"train": [{"files": ["clips.csv"]}]}},
            "clip": {"id": "{name}", "audio": ["{name}.wav"], "text": ["{text}"]},
        }
        return SourceSpec.model_validate(spec | keys)

    return make


@pytest.fixture
def small(data, make_source) -> Callable[..., SourceSpec]:
    """Writes that corpus with some clips and gives its description."""

    def make(num_clips: int = 3, rows: Sequence[Sequence[str]] | None = None, **keys: Any) -> SourceSpec:
        listed = rows if rows is not None else [(f"clip{index}", f"Sound {index}.") for index in range(num_clips)]
        for name, *_ in listed:
            if "/" not in name:
                write_audio(data / "small" / f"{name}.wav")
        write_csv(data / "small" / "clips.csv", [("name", "text"), *listed])
        return make_source(**keys)

    return make
