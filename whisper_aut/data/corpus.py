"""The corpus: manifests of a recipe as one training pool and one validation pool per domain, every clip fit to use."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whisper_aut.config import DataConfig
from whisper_aut.constants import DOMAINS, SAMPLE_RATE, Domain
from whisper_aut.data.captions import TextEncoder
from whisper_aut.data.manifest import load_manifest
from whisper_aut.data.pool import Pool
from whisper_aut.data.select import Dropped, select


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
                    "hours": _hours(int(pool.num_samples.sum(dtype=np.int64))),
                    "held_out": len(self.validation[domain]),
                    "dropped_long_audio": self.dropped[domain].long_audio,
                    "dropped_long_text": self.dropped[domain].long_text,
                    "dropped_other_split": self.dropped[domain].other_split,
                    "sources": _sources(pool),
                }
                for domain, pool in self.train.items()
            },
        }

    def manifests(self) -> dict[str, str]:
        """Fingerprints of the manifests by domain and name as the recipe has it."""
        return {
            f"{domain}/{name}": manifest.fingerprint
            for domain, pool in self.train.items()
            for name, manifest in zip(self.data.mixture[domain].manifests, pool.manifests, strict=True)
        }

    def source_weights(self) -> dict[Domain, list[tuple[int, float]]]:
        """(clips, relative weight) of each manifest of the domains whose manifests have weights."""
        weighted = {}
        for domain, pool in self.train.items():
            weights = self.data.mixture[domain].manifest_weights
            if weights is not None:
                counts = np.diff(pool.starts()).tolist()
                names = self.data.mixture[domain].manifests
                weighted[domain] = [(count, weights[name]) for count, name in zip(counts, names, strict=True)]
        return weighted

    def mean_text_bytes(self) -> float:
        """Mean length of the training texts in UTF-8 bytes, each domain counted by its weight."""
        return sum(
            self.data.mixture[domain].weight * _text_bytes(pool) / len(pool) for domain, pool in self.train.items()
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
        manifests = tuple(load_manifest(data.root / name) for name in data.mixture[domain].manifests)
        digest.update("\x1f".join([domain, *(manifest.fingerprint for manifest in manifests)]).encode())
        train[domain], validation[domain], dropped[domain] = select(domain, manifests, data, seed, text_encoder)
    return Corpus(data, train, validation, digest.hexdigest(), dropped)


def _hours(num_samples: int) -> float:
    return num_samples / SAMPLE_RATE / 3600


def _text_bytes(pool: Pool) -> int:
    return sum(int(table.numbers["text_bytes"][rows].sum(dtype=np.int64)) for _, table, rows in pool.parts())


def _sources(pool: Pool) -> list[dict[str, Any]]:
    """One entry per manifest and source, in the order in which they come."""
    found: dict[tuple[int, int], dict[str, Any]] = {}  # (manifest, code of the source): what is known so far
    for index, table, rows in pool.parts():
        codes, samples = table.numbers["source"][rows], table.numbers["num_samples"][rows]
        for code in np.unique(codes).tolist():
            mine = rows[codes == code]
            entry = found.setdefault((index, code), {"clips": 0, "samples": 0, "license": set(), "language": set()})
            entry["clips"] += len(mine)
            entry["samples"] += int(samples[codes == code].sum(dtype=np.int64))
            for name in ("license", "language"):
                entry[name] |= set(np.unique(table.numbers[name][mine]).tolist())
    return [
        {
            "name": (manifest := pool.manifests[index]).table.values["source"][code],
            "clips": entry["clips"],
            "hours": _hours(entry["samples"]),
            "licenses": sorted(manifest.table.values["license"][value] for value in entry["license"]),
            "languages": sorted(manifest.table.values["language"][value] for value in entry["language"]),
            "fingerprint": manifest.fingerprint,
            "manifest": manifest.path.name,
        }
        for (index, code), entry in found.items()
    ]
