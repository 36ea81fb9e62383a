"""Which clips of a domain's manifests are trained on, which are held out for validation, and which fit neither."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whisper_aut.config import DataConfig
from whisper_aut.constants import MAX_TOKENS, SAMPLE_RATE, Domain, num_samples_of
from whisper_aut.data.captions import TextEncoder, too_long_text
from whisper_aut.data.manifest import Manifest, duplicates
from whisper_aut.data.permutation import derive_key, mix
from whisper_aut.data.pool import Pool, places
from whisper_aut.data.table_cache import is_remembered, remember
from whisper_aut.errors import ManifestError

_CHECKED_ONCE_ROWS = 1_000_000  # looking for ids that manifests share takes seconds from here on


@dataclass(frozen=True)
class Dropped:
    """How many clips of a domain are in neither pool, and why."""

    long_audio: int = 0
    long_text: int = 0
    other_split: int = 0


def select(
    domain: Domain, manifests: tuple[Manifest, ...], data: DataConfig, seed: int, text_encoder: TextEncoder
) -> tuple[Pool, Pool, Dropped]:
    """Training pool, validation pool and what is in neither.

    Validation clips are those marked ``split: validation``, else the ``data.holdout_clips`` with the smallest keyed
    hashes of their ids, so that they stay the same ones when rows change places.

    Raises:
        ManifestError: clips that cannot be used, or none that is left to train on.
    """
    for manifest in manifests:
        found = manifest.table.values["domain"]
        if found != (domain,):
            raise ManifestError(
                f"domain: clip {manifest.id(0)} is '{found[0]}', but its manifest is listed under {domain}",
                where=manifest.where(0),
                remedy="one manifest holds one domain: split the file, or move it to its own section of data.mixture",
            )
    _check_shared_ids(manifests)
    usable = _Usable(domain, manifests, data, text_encoder)
    total = sum(map(len, manifests))
    rows = np.empty(total, dtype=np.uint32)  # memory that is not written is not taken
    marked: list[npt.NDArray[np.int64]] = []
    best = _Smallest(data.holdout_clips)
    key = derive_key(seed, "holdout")
    num_rows = 0
    for kept, is_validation, hashes in usable.chunks():
        marked.append(kept[is_validation])
        kept, hashes = kept[~is_validation], hashes[~is_validation]
        rows[num_rows : num_rows + len(kept)] = kept
        num_rows += len(kept)
        if data.holdout_clips:
            best.look_at(mix(hashes, key), kept)
    held_out = np.concatenate(marked)
    num_usable = num_rows + len(held_out)
    train = rows[:num_rows]
    if not len(held_out) and data.holdout_clips:
        held_out = np.sort(best.rows)
        train = np.delete(train, places(train, held_out))
    if not len(train):
        raise ManifestError(
            f"domain {domain} has {num_usable} usable clip(s), and none is left to train on",
            where=", ".join(str(manifest.path) for manifest in manifests),
            remedy=f"add clips, or lower data.holdout_clips (now {data.holdout_clips})",
        )
    validation = held_out.astype(np.uint32)
    return (
        Pool(domain, manifests, train, _num_samples(manifests, train), data.silent_clips),
        Pool(domain, manifests, validation, _num_samples(manifests, validation), data.silent_clips),
        usable.dropped(),
    )


class _Usable:
    """Goes through the rows of manifests, a chunk at a time, and keeps those that fit encoder and decoder."""

    def __init__(
        self, domain: Domain, manifests: tuple[Manifest, ...], data: DataConfig, text_encoder: TextEncoder
    ) -> None:
        self._domain, self._manifests, self._data, self._text_encoder = domain, manifests, data, text_encoder
        self._max_samples = num_samples_of(data.max_duration_sec)
        self._sure_bytes = text_encoder.max_sure_bytes(domain)
        self._num_long_audio = self._num_long_text = self._num_other_split = 0
        self._first_long: tuple[Manifest, int] | None = None

    def chunks(self) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.uint64]]]:
        """(rows that are kept, counted through all manifests; which are marked for validation; hashes of their ids)."""
        offset = 0
        for manifest in self._manifests:
            table = manifest.table
            train, validation = (_code(table.values["split"], name) for name in ("train", "validation"))
            self._check_languages(manifest)
            for start, (samples, text_bytes, split, hashes) in table.chunks(
                "num_samples", "text_bytes", "split", "id_hash"
            ):
                wanted = (split == train) | (split == validation)
                self._num_other_split += int((~wanted).sum())
                long_audio = wanted & (samples > self._max_samples)
                if long_audio.any():
                    self._num_long_audio += int(long_audio.sum())
                    self._first_long = self._first_long or (manifest, start + int(np.argmax(long_audio)))
                fitting = wanted & ~long_audio
                for row in np.flatnonzero(fitting & (text_bytes > self._sure_bytes)).tolist():
                    if self._is_long_text(manifest, start + row):
                        fitting[row] = False
                kept = np.flatnonzero(fitting)
                yield kept + start + offset, split[kept] == validation, hashes[kept]
            offset += len(manifest)
        if self._first_long is not None and self._data.long_audio == "error":
            manifest, row = self._first_long
            duration_sec = manifest.table.numbers["num_samples"][row] / SAMPLE_RATE
            num_wanted = offset - self._num_other_split
            raise ManifestError(
                f"duration_sec: clip {manifest.id(row)} lasts {duration_sec:.3f} s, more than "
                f"{self._data.max_duration_sec:g} s; {self._num_long_audio} of {num_wanted} clips do",
                where=manifest.where(row),
                remedy="split the clips, raise data.max_duration_sec (at most 30), or set data.long_audio=drop",
            )

    def dropped(self) -> Dropped:
        """What was left out so far."""
        return Dropped(self._num_long_audio, self._num_long_text, self._num_other_split)

    def _is_long_text(self, manifest: Manifest, row: int) -> bool:
        clip = manifest.clip(row)
        num_tokens = self._text_encoder.num_tokens(clip.text, self._domain, clip.language)
        if num_tokens > MAX_TOKENS and self._data.long_text == "error":
            raise too_long_text(num_tokens, clip_id=clip.id, where=manifest.where(row))
        self._num_long_text += num_tokens > MAX_TOKENS
        return num_tokens > MAX_TOKENS

    def _check_languages(self, manifest: Manifest) -> None:
        for code, language in enumerate(manifest.table.values["language"]):
            try:
                self._text_encoder.language_id(language)
            except ManifestError as error:
                row = next(
                    start + int(np.argmax(codes == code))
                    for start, (codes,) in manifest.table.chunks("language")
                    if (codes == code).any()
                )
                what = f"language: {error.what} (clip {manifest.id(row)})"
                raise ManifestError(what, where=manifest.where(row), remedy=error.remedy) from None


class _Smallest:
    """The rows with the smallest hashes of all that were looked at."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._hashes = np.empty(0, np.uint64)
        self.rows = np.empty(0, np.int64)

    def look_at(self, hashes: npt.NDArray[np.uint64], rows: npt.NDArray[np.int64]) -> None:
        """Keep of these rows, and of those kept so far, the ones with the smallest hashes."""
        hashes, rows = np.concatenate([self._hashes, hashes]), np.concatenate([self.rows, rows])
        if len(hashes) > self._count:
            smallest = np.argpartition(hashes, self._count - 1)[: self._count]
            hashes, rows = hashes[smallest], rows[smallest]
        self._hashes, self.rows = hashes, rows


def _code(values: tuple[str, ...], name: str) -> int:
    """What stands for ``name`` in a column; a number that nothing has where it does not occur."""
    return values.index(name) if name in values else 65_535


def _num_samples(manifests: tuple[Manifest, ...], rows: npt.NDArray[np.uint32]) -> npt.NDArray[np.int32]:
    """Lengths of these rows, counted through all manifests, ascending."""
    lengths = np.empty(len(rows), dtype=np.int32)
    offset = 0
    for manifest in manifests:
        for start, (samples,) in manifest.table.chunks("num_samples"):
            first = offset + start
            begin, end = places(rows, [first, first + len(samples)])
            lengths[begin:end] = samples[rows[begin:end].astype(np.int64) - first]
        offset += len(manifest)
    return np.maximum(lengths, 1, out=lengths)


def _check_shared_ids(manifests: tuple[Manifest, ...]) -> None:
    """Refuse an id that two manifests share; where that takes seconds, remember that none is."""
    if len(manifests) == 1:
        return  # was looked at when it was read
    prints = hashlib.sha256("".join(manifest.fingerprint for manifest in manifests).encode()).hexdigest()
    many = sum(map(len, manifests)) > _CHECKED_ONCE_ROWS
    if many and is_remembered("ids", prints):
        return
    for (one, row), (other, other_row) in duplicates(manifests):
        raise ManifestError(
            f"id: '{one.id(row)}' is the id of {other.where(other_row)} too",
            where=one.where(row),
            remedy="give every clip of a domain an id of its own, or remove the repeated row",
        )
    if many:
        remember("ids", prints)
