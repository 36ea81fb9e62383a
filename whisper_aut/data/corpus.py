"""The corpus: manifests of a recipe as one training pool and one validation pool per domain, every clip fit to use."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whisper_aut.config import DataConfig, DomainConfig
from whisper_aut.constants import DOMAINS, MAX_TOKENS, SAMPLE_RATE, Domain, num_samples_of
from whisper_aut.data.captions import TextEncoder, too_long_text
from whisper_aut.data.locate import AudioSource
from whisper_aut.data.manifest import Clip, Manifest, duplicate_rows, load_manifest
from whisper_aut.errors import ManifestError


@dataclass(frozen=True)
class Pool:
    """Some clips of one domain, numbered from 0, over one or more manifests.

    Attributes:
        manifests: where the clips come from.
        manifest_index: [N] which of the manifests.
        manifest_row: [N] which of its rows.
        num_samples: int64 [N], length of each clip at 16 kHz.
    """

    domain: Domain
    manifests: tuple[Manifest, ...]
    manifest_index: npt.NDArray[np.int64]
    manifest_row: npt.NDArray[np.int64]
    num_samples: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.manifest_row)

    def clip(self, row: int) -> Clip:
        """The clip numbered ``row``."""
        manifest, manifest_row = self._locate(row)
        return manifest.clip(manifest_row)

    def audio_source(self, row: int) -> AudioSource:
        """Where the clip's audio lies.

        Raises:
            ManifestError: it leaves the manifest's folder.
        """
        manifest, manifest_row = self._locate(row)
        return manifest.audio_source(manifest_row)

    def where(self, row: int) -> str:
        """``file:line`` of the clip."""
        manifest, manifest_row = self._locate(row)
        return manifest.where(manifest_row)

    def subset(self, rows: npt.NDArray[np.int64]) -> Pool:
        """The pool of these rows alone, numbered anew."""
        return Pool(
            self.domain, self.manifests, self.manifest_index[rows], self.manifest_row[rows], self.num_samples[rows]
        )

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of all clips, in the pool's order."""
        whole = pa.chunked_array(
            [chunk for manifest in self.manifests for chunk in manifest.table[name].chunks],
            self.manifests[0].table.schema.field(name).type,
        )
        starts = np.cumsum([0, *(len(manifest) for manifest in self.manifests)])[:-1]
        return whole.take(pa.array(starts[self.manifest_index] + self.manifest_row))

    def _locate(self, row: int) -> tuple[Manifest, int]:
        return self.manifests[self.manifest_index[row]], int(self.manifest_row[row])


@dataclass(frozen=True)
class Dropped:
    """How many clips of a domain are in neither pool, and why."""

    long_audio: int = 0
    long_text: int = 0
    other_split: int = 0


@dataclass(frozen=True)
class Corpus:
    """All clips of a recipe.

    Attributes:
        train: pools that the plan draws from.
        validation: clips that no step reads.
        fingerprint: SHA-256 over domains and manifests' fingerprints, in order.
    """

    data: DataConfig
    train: dict[Domain, Pool]
    validation: dict[Domain, Pool]
    fingerprint: str
    dropped: dict[Domain, Dropped] = field(default_factory=dict)

    def composition(self) -> dict[str, Any]:
        """What the training pools are made of, for ``run.json`` and the report."""
        return {
            "fingerprint": self.fingerprint,
            "domains": {
                domain: {
                    "weight": self.data.mixture[domain].weight,
                    "clips": len(pool),
                    "hours": _hours(pool),
                    "held_out": len(self.validation[domain]),
                    "dropped_long_audio": self.dropped[domain].long_audio,
                    "dropped_long_text": self.dropped[domain].long_text,
                    "dropped_other_split": self.dropped[domain].other_split,
                    "sources": _sources(pool),
                }
                for domain, pool in self.train.items()
            },
        }

    def mean_text_bytes(self) -> float:
        """Mean length of the training texts in UTF-8 bytes, each domain counted by its weight."""
        return sum(
            self.data.mixture[domain].weight * float(pc.mean(pc.binary_length(pool.column("text"))).as_py())
            for domain, pool in self.train.items()
        )


def load_corpus(data: DataConfig, seed: int, text_encoder: TextEncoder) -> Corpus:
    """Read all manifests of ``data`` and sort their clips into training and validation pools.

    Args:
        data: section of the recipe.
        seed: decides which clips are held out for validation.
        text_encoder: counts the tokens of texts.

    Raises:
        ManifestError: a manifest or a row cannot be used; file, line and clip are named.
    """
    train: dict[Domain, Pool] = {}
    validation: dict[Domain, Pool] = {}
    dropped: dict[Domain, Dropped] = {}
    digest = hashlib.sha256()
    for domain in DOMAINS:
        if domain not in data.mixture:
            continue
        pool = _load_pool(domain, data.mixture[domain], data.root)
        digest.update("\x1f".join([domain, *(manifest.fingerprint for manifest in pool.manifests)]).encode())
        pool, dropped[domain] = _usable(pool, data, text_encoder)
        train[domain], validation[domain] = _hold_out(pool, data.holdout_clips, seed)
    return Corpus(data, train, validation, digest.hexdigest(), dropped)


def _load_pool(domain: Domain, config: DomainConfig, root: Path) -> Pool:
    manifests = tuple(load_manifest(root / name) for name in config.manifests)
    sizes = [len(manifest) for manifest in manifests]
    pool = Pool(
        domain,
        manifests,
        np.repeat(np.arange(len(manifests)), sizes),
        np.concatenate([np.arange(size) for size in sizes]),
        np.concatenate([np.rint(m.table["duration_sec"].to_numpy() * SAMPLE_RATE) for m in manifests]).astype(np.int64),
    )
    strangers = np.flatnonzero(pc.not_equal(pool.column("domain"), domain).to_numpy())
    if len(strangers):
        row = int(strangers[0])
        raise ManifestError(
            f"domain: clip {pool.clip(row).id} is '{pool.clip(row).domain}', but its manifest is listed under {domain}",
            where=pool.where(row),
            remedy="one manifest holds one domain: split the file, or move it to its own section of data.mixture",
        )
    for row, first in duplicate_rows([manifest.table["id"] for manifest in manifests]):
        raise ManifestError(
            f"id: '{pool.clip(row).id}' is the id of {pool.where(first)} too",
            where=pool.where(row),
            remedy="give every clip of a domain an id of its own, or remove the repeated row",
        )
    return pool


def _usable(pool: Pool, data: DataConfig, text_encoder: TextEncoder) -> tuple[Pool, Dropped]:
    """The clips that fit encoder and decoder, and how many were dropped because the recipe says so."""
    wanted = pc.is_in(pool.column("split"), value_set=pa.array(["train", "validation"], pa.large_string())).to_numpy()
    pool, num_other = pool.subset(np.flatnonzero(wanted)), int((~wanted).sum())
    long_audio = pool.num_samples > num_samples_of(data.max_duration_sec)
    if long_audio.any() and data.long_audio == "error":
        row = int(np.flatnonzero(long_audio)[0])
        raise ManifestError(
            f"duration_sec: clip {pool.clip(row).id} lasts {pool.num_samples[row] / SAMPLE_RATE:.3f} s, more than "
            f"{data.max_duration_sec:g} s; {int(long_audio.sum())} of {len(pool)} clips do",
            where=pool.where(row),
            remedy="split the clips, raise data.max_duration_sec (at most 30), or set data.long_audio=drop",
        )
    pool = pool.subset(np.flatnonzero(~long_audio))
    long_text = _long_texts(pool, text_encoder, stop=data.long_text == "error")
    pool = pool.subset(np.setdiff1d(np.arange(len(pool)), long_text))
    num_samples = np.maximum(pool.num_samples, 1)
    pool = Pool(pool.domain, pool.manifests, pool.manifest_index, pool.manifest_row, num_samples)
    return pool, Dropped(int(long_audio.sum()), len(long_text), num_other)


def _long_texts(pool: Pool, text_encoder: TextEncoder, *, stop: bool) -> npt.NDArray[np.int64]:
    """Rows whose text is over the decoder's positions; with ``stop``, the first of them is an error."""
    languages = pool.column("language")
    for language in pc.unique(languages).to_pylist():
        try:
            text_encoder.language_id(language)
        except ManifestError as error:
            row = int(np.flatnonzero(pc.equal(languages, language).to_numpy())[0])
            what = f"language: {error.what} (clip {pool.clip(row).id})"
            raise ManifestError(what, where=pool.where(row), remedy=error.remedy) from None
    num_bytes = pc.binary_length(pool.column("text")).to_numpy()
    too_long: list[int] = []
    for row in np.flatnonzero(num_bytes > text_encoder.max_sure_bytes(pool.domain)).tolist():
        clip = pool.clip(row)
        num_tokens = text_encoder.num_tokens(clip.text, pool.domain, clip.language)
        if num_tokens > MAX_TOKENS and stop:
            raise too_long_text(num_tokens, clip_id=clip.id, where=pool.where(row))
        if num_tokens > MAX_TOKENS:
            too_long.append(row)
    return np.array(too_long, dtype=np.int64)


def _hold_out(pool: Pool, holdout_clips: int, seed: int) -> tuple[Pool, Pool]:
    """Training and validation clips: those marked ``split: validation``, else the ``holdout_clips`` smallest hashes."""
    marked = pc.equal(pool.column("split"), "validation").to_numpy()
    if not marked.any() and holdout_clips:
        hashes = [hashlib.sha256(f"{seed}/{clip_id}".encode()).digest() for clip_id in pool.column("id").to_pylist()]
        marked = np.zeros(len(pool), dtype=np.bool_)
        marked[sorted(range(len(pool)), key=hashes.__getitem__)[:holdout_clips]] = True
    if marked.all():
        raise ManifestError(
            f"domain {pool.domain} has {len(pool)} usable clip(s), and none is left to train on",
            where=", ".join(str(manifest.path) for manifest in pool.manifests),
            remedy=f"add clips, or lower data.holdout_clips (now {holdout_clips})",
        )
    return pool.subset(np.flatnonzero(~marked)), pool.subset(np.flatnonzero(marked))


def _hours(pool: Pool) -> float:
    return float(pool.num_samples.sum()) / SAMPLE_RATE / 3600


def _sources(pool: Pool) -> list[dict[str, Any]]:
    """One entry per manifest and source, in the order in which they come."""
    names = np.array(pool.column("source").to_pylist(), dtype=object)
    entries = []
    for index, manifest in enumerate(pool.manifests):
        of_manifest = pool.manifest_index == index
        for name in dict.fromkeys(names[of_manifest]):
            part = pool.subset(np.flatnonzero(of_manifest & (names == name)))
            entries.append(
                {
                    "name": name,
                    "clips": len(part),
                    "hours": _hours(part),
                    "licenses": sorted(pc.unique(part.column("license")).to_pylist()),
                    "languages": sorted(pc.unique(part.column("language")).to_pylist()),
                    "fingerprint": manifest.fingerprint,
                    "manifest": manifest.path.name,
                }
            )
    return entries
