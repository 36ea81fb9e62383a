"""The clips of several manifests as the rows of one that points into shards."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.data.encode import Encoded
from whisper_aut.data.locate import AudioSource
from whisper_aut.data.manifest import Manifest, duplicates, load_manifest
from whisper_aut.data.other_columns import joined, other_columns
from whisper_aut.data.pack_workers import Job
from whisper_aut.data.row_checks import OPTIONAL, REQUIRED
from whisper_aut.errors import ManifestError

ORIGINAL = "original_audio"  # column: where the clip was before; names of recordings tell of leaks
_MAX_KEY_CHARS = 90  # with its ending, a name fits into the 100 bytes of a plain tar header


class PackSource:
    """The rows of several manifests of one domain, counted through.

    Args:
        paths: of the manifests.

    Raises:
        ManifestError: a manifest is wrong, domains are mixed, or an id stands in two of them.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.manifests = [load_manifest(path) for path in paths]
        domains = {manifest.clip(0).domain: manifest.path for manifest in self.manifests}
        if len(domains) > 1:
            raise ManifestError(
                f"these manifests are of several domains: {', '.join(f'{d} ({p})' for d, p in domains.items())}",
                remedy="pack each domain into a folder of its own",
            )
        sizes = [len(manifest) for manifest in self.manifests]
        self._starts = [0, *accumulate(sizes)]
        for (one, row), (other, other_row) in duplicates(self.manifests):
            raise ManifestError(
                f"id: '{one.id(row)}' is the id of {other.where(other_row)} too",
                where=one.where(row),
                remedy="give every clip an id of its own, or pack the manifests into a folder each",
            )
        self._others = joined([other_columns(manifest) for manifest in self.manifests], sizes)

    def __len__(self) -> int:
        return self._starts[-1]

    def where(self, row: int) -> str:
        """``file:line`` of ``row``."""
        manifest, of_manifest = self._place(row)
        return manifest.where(of_manifest)

    def jobs(self, first_row: int) -> Iterator[Job]:
        """What to encode, from ``first_row`` on."""
        for row in range(first_row, len(self)):
            manifest, of_manifest = self._place(row)
            clip = manifest.clip(of_manifest)
            source: AudioSource | str
            try:
                source = manifest.audio_source(of_manifest)
            except ManifestError as error:
                source = error.what
            yield Job(row, clip.id, source, clip.offset_sec, clip.duration_sec, clip.channels)

    def packed_row(self, row: int, encoded: Encoded) -> dict[str, Any]:
        """The row as the new manifest has it, its ``audio`` still to come."""
        manifest, of_manifest = self._place(row)
        fields = asdict(manifest.clip(of_manifest))
        del fields["channels"]  # what is packed is that channel
        others = self._others.slice(row, 1).to_pylist()[0] if self._others.num_columns else {}
        changed = {"audio": "", "offset_sec": 0.0, "duration_sec": encoded.num_samples / SAMPLE_RATE}
        return fields | changed | {ORIGINAL: fields["audio"]} | others

    def schema(self) -> pa.Schema:
        """Of the new manifest."""
        numbers = ("offset_sec", "duration_sec")
        known = [pa.field(name, pa.float64() if name in numbers else pa.string()) for name in REQUIRED + OPTIONAL]
        others = list(self._others.schema)
        original = [] if ORIGINAL in self._others.column_names else [pa.field(ORIGINAL, pa.string())]
        return pa.schema(known + original + others)

    def _place(self, row: int) -> tuple[Manifest, int]:
        number = bisect_right(self._starts, row) - 1
        return self.manifests[number], row - self._starts[number]


def shard_key(clip_id: str) -> str:
    """The clip's name in a shard: WebDataset ends a key at its first dot, and some ids hold slashes.

    What is not a letter, digit, ``-``, ``_`` or ``~`` is written ``%XX``; a long one is cut, with a hash behind it. The
    id itself stands in the clip's ``.json``.
    """
    key = quote(clip_id, safe="").replace(".", "%2E")
    if key.startswith("_"):  # `datasets` passes over names that begin with two of them
        key = "%5F" + key[1:]
    return key if len(key) <= _MAX_KEY_CHARS else f"{key[:64]}~{hashlib.sha256(clip_id.encode()).hexdigest()[:16]}"
