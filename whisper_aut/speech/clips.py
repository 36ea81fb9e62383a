"""Which clips are heard: those that a run held out, or the rows of given manifests; and what is known of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from whisper_aut.config import load_recipe
from whisper_aut.data.captions import TextEncoder, prompts_of
from whisper_aut.data.clip_table import id_hashes
from whisper_aut.data.corpus import Corpus, load_corpus
from whisper_aut.data.json_lines import json_texts, parse_object
from whisper_aut.data.locate import AudioSource
from whisper_aut.data.manifest import Clip, Manifest, load_manifest
from whisper_aut.errors import CheckpointError, ManifestError, WhisperAutError

_GROUPS = ("group", "recording", "speaker")  # columns that may name what clips share; the first that a row has counts


@dataclass(frozen=True)
class HeldClip:
    """A clip to hear.

    Attributes:
        group: recording or speaker where the manifest names one, else the clip's own id.
    """

    clip: Clip
    audio: AudioSource
    where: str
    group: str


@dataclass(frozen=True)
class Selection:
    """The clips, where they are from, and what is known of whether they were trained on."""

    clips: tuple[HeldClip, ...]
    origin: str
    held_out: str


def text_encoder_of(tokenizer: Any, run_dir: Path | None) -> TextEncoder:
    """Tokens as the run made them, its prompts included; without a run, with the prompts that recipes start from.

    Raises:
        RecipeError: the run's recipe cannot be read.
    """
    if run_dir is None:
        return TextEncoder(tokenizer)
    return TextEncoder(tokenizer, prompts_of(load_recipe(run_dir / "recipe.yaml").data.mixture))


def clips_of_run(run_dir: Path, text_encoder: TextEncoder) -> Selection:
    """The validation clips of a run, none of which any step has read.

    Raises:
        CheckpointError: the manifests are no longer those that the run was begun with.
        WhisperAutError: recipe or manifests cannot be read.
    """
    corpus = _corpus(run_dir, text_encoder)
    if corpus.fingerprint != _fingerprint(run_dir):
        raise CheckpointError(
            "the manifests are no longer those that the run was begun with: which clips it held out is not known",
            where=str(run_dir / "recipe.yaml"),
            remedy="put the manifests back, or name clips that were not trained on with --manifest",
        )
    found: list[HeldClip] = []
    for pool in corpus.validation.values():
        for index, _, rows in pool.parts():
            found += _held(pool.manifests[index], rows.tolist())
    if not found:
        raise CheckpointError(
            "the run held no clips out",
            where=str(run_dir),
            remedy="name clips that were not trained on with --manifest; set data.holdout_clips for the next run",
        )
    return Selection(tuple(found), str(run_dir), "held out by the run: no step of it has read them")


def clips_of_manifests(
    paths: Sequence[Path], split: str | None, run_dir: Path | None, text_encoder: TextEncoder
) -> Selection:
    """The rows of manifests, those of one ``split`` where one is named.

    Raises:
        ManifestError: a manifest cannot be used, or no row is of the split.
    """
    found: list[HeldClip] = []
    for path in paths:
        manifest = load_manifest(path)
        codes = [code for code, name in enumerate(manifest.table.values["split"]) if split in (None, name)]
        found += _held(manifest, np.flatnonzero(np.isin(manifest.table.numbers["split"], codes)).tolist())
    where = ", ".join(map(str, paths))
    if not found:
        raise ManifestError(f"no row is of split '{split}'", where=where, remedy="name another split, or none")
    held_out = _trained_on([held.clip.id for held in found], run_dir, text_encoder)
    return Selection(tuple(found), where + (f", split {split}" if split else ""), held_out)


def limited(clips: Iterable[HeldClip], max_clips: int | None) -> tuple[HeldClip, ...]:
    """At most so many clips of each source, the same ones each time: those with the smallest hashes of their ids."""
    sources: dict[tuple[str, str], list[HeldClip]] = {}
    for held in clips:
        sources.setdefault((held.clip.domain, held.clip.source), []).append(held)
    return tuple(
        held
        for members in sources.values()
        for held in sorted(members, key=lambda one: hashlib.sha256(one.clip.id.encode()).digest())[:max_clips]
    )


def _corpus(run_dir: Path, text_encoder: TextEncoder) -> Corpus:
    recipe = load_recipe(run_dir / "recipe.yaml")
    return load_corpus(recipe.data, recipe.seed, text_encoder)


def _fingerprint(run_dir: Path) -> str | None:
    try:
        return str(json.loads((run_dir / "run.json").read_text("utf-8"))["data"]["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError(
            "run.json does not say what the run was trained on",
            where=str(run_dir),
            remedy="copy the run's folder again",
        ) from None


def _trained_on(ids: Sequence[str], run_dir: Path | None, text_encoder: TextEncoder) -> str:
    if run_dir is None:
        return "not known: no run was given that these clips could have been trained on in"
    try:
        corpus = _corpus(run_dir, text_encoder)
    except WhisperAutError as error:
        return f"not known: the run's manifests cannot be read ({error.what})"
    if corpus.fingerprint != _fingerprint(run_dir):
        return "not known: the run's manifests have changed since it began"
    asked = id_hashes(ids)
    seen = np.zeros(len(asked), dtype=bool)
    for pool in corpus.train.values():
        for _, table, rows in pool.parts():
            seen |= np.isin(asked, table.numbers["id_hash"][rows])
    if not seen.any():
        return "none of these clips is among those that the run was trained on, by their ids"
    return f"{int(seen.sum())} of {len(ids)} clips were trained on, by their ids: what they show is no generalisation"


def _held(manifest: Manifest, rows: Sequence[int]) -> Iterator[HeldClip]:
    groups = _groups(manifest, {manifest.id(row) for row in rows})
    for row in rows:
        clip = manifest.clip(row)
        yield HeldClip(clip, manifest.audio_source(row), manifest.where(row), groups.get(clip.id, clip.id))


def _groups(manifest: Manifest, wanted: set[str]) -> dict[str, str]:
    """Group of each wanted clip that names one."""
    found: dict[str, str] = {}
    for row in _parquet_rows(manifest.path) if manifest.path.suffix == ".parquet" else _jsonl_rows(manifest.path):
        if row["id"] in wanted:
            named = next((row[name] for name in _GROUPS if row.get(name) not in (None, "")), None)
            if named is not None:
                found[str(row["id"])] = f"{row.get('source') or ''}/{named}"
    return found


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path, memory_map=True) as file:
        names = [name for name in ("id", "source", *_GROUPS) if name in file.schema_arrow.names]
        if any(name in names for name in _GROUPS):
            for batch in file.iter_batches(columns=names):
                yield from batch.to_pylist()


def _jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in json_texts(path):
        if any(f'"{name}"' in line for name in _GROUPS):
            try:
                yield parse_object(line)
            except ValueError as error:
                raise ManifestError(str(error), where=f"{path}:{number}", remedy="mend the row") from None
