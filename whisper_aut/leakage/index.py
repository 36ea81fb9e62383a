"""An index of landmarks: four bytes each, sorted by hash, on disk, and mapped into memory by those who ask it.

A landmark's hash is its place in the file, and what is stored is one number, the frame at which it stands when all
clips are laid one after the other. A clip that is asked about looks up its landmarks; those of a shared sound agree on
the distance between the two clocks, all others scatter.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from whisper_aut.errors import ManifestError
from whisper_aut.leakage.landmarks import (
    FRAMES_PER_SEC,
    HASH_BITS,
    HOP_SAMPLES,
    SPEEDS,
    Ints,
    Landmarks,
    Peaks,
    query_landmarks,
)

_GAP_FRAMES = 64  # between clips, so that none reaches into the next
_NUM_PARTS = 64  # the index is sorted a part of the hashes at a time
_PART_BITS = HASH_BITS - 6
_MAX_HITS = 2**20  # of one lookup: landmarks that nearly every clip has are left out, the most frequent first
_MIN_VOTES = 4
_MIN_VOTES_STANDING_OUT = 8
# Chance gives the best few clips about as many votes as the next. Several may be true: pieces of one recording.
_CHANCE_RANK, _TIMES_CHANCE = 6, 1.5
MAX_CANDIDATES = 12
_MAX_CANDIDATES_OTHER_SPEED = 4
_MAX_PER_CLIP = 4


@dataclass(frozen=True)
class Candidate:
    """A guess that a query holds audio of a clip.

    Attributes:
        clip: number of the indexed clip.
        offset_sec: the clip's time is the query's time times ``speed`` plus this, within about 16 ms.
        speed: how many times as fast as the clip the query is played.
        votes: landmarks that agree on it.
        stands_out: whether chance is far from giving as many; worth a look at more than the one speed.
    """

    clip: int
    offset_sec: float
    speed: float
    votes: int
    stands_out: bool = False


class IndexWriter:
    """Takes clips one by one in memory that does not grow with them; see :func:`write_index`."""

    def __init__(self, spill: Path, folder: Path) -> None:
        self._spill, self._folder = spill, folder
        self._starts: list[int] = []
        self._next_frame = _GAP_FRAMES
        self._pending: list[npt.NDArray[np.uint64]] = []
        self._num_pending = 0
        self.num_landmarks = 0

    def add(self, landmarks: Landmarks, num_samples: int) -> None:
        """The next clip, with its length."""
        self._starts.append(self._next_frame)
        frames = landmarks.frame + self._next_frame
        self._next_frame += num_samples // HOP_SAMPLES + _GAP_FRAMES
        if self._next_frame >= 2**32:
            hours = 2**32 / FRAMES_PER_SEC / 3600
            raise ManifestError(f"an index holds {hours:.0f} hours at most", remedy="check evaluation sets one by one")
        self._pending.append((landmarks.code.astype(np.uint64) << np.uint64(32)) | frames.astype(np.uint64))
        self._num_pending += len(landmarks)
        self.num_landmarks += len(landmarks)
        if self._num_pending > 2**21:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        entries = np.sort(np.concatenate(self._pending))
        bounds = np.searchsorted(entries, np.arange(_NUM_PARTS + 1, dtype=np.uint64) << np.uint64(32 + _PART_BITS))
        for part in range(_NUM_PARTS):
            with (self._spill / str(part)).open("ab") as file:
                entries[bounds[part] : bounds[part + 1]].tofile(file)
        self._pending, self._num_pending = [], 0

    def finish(self) -> None:
        """Sort the parts one after the other into the index."""
        self._flush()
        counts = np.zeros(2**HASH_BITS, dtype=np.uint32)
        with (self._folder / "frames.bin").open("wb") as out:
            for part in range(_NUM_PARTS):
                path = self._spill / str(part)
                entries = np.sort(np.fromfile(path, dtype=np.uint64)) if path.exists() else np.zeros(0, np.uint64)
                lowest = part << _PART_BITS
                codes = (entries >> np.uint64(32)).astype(np.int64) - lowest
                counts[lowest : lowest + 2**_PART_BITS] = np.bincount(codes, minlength=2**_PART_BITS)
                (entries & np.uint64(2**32 - 1)).astype(np.uint32).tofile(out)
        np.save(self._folder / "counts.npy", counts)
        np.save(self._folder / "starts.npy", np.array(self._starts, dtype=np.int64))
        (self._folder / "index.json").write_text(json.dumps({"landmarks": self.num_landmarks}), encoding="utf-8")


@contextmanager
def write_index(folder: Path) -> Iterator[IndexWriter]:
    """A writer of the index in ``folder``, which is there when the block ends without an error."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".spill") as spill:
        writer = IndexWriter(Path(spill), folder)
        yield writer
        writer.finish()


class LandmarkIndex:
    """An index that :func:`write_index` wrote; its landmarks stay on disk and are shared by all processes that ask."""

    def __init__(self, folder: Path) -> None:
        counts = np.load(folder / "counts.npy")
        self._first = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._starts: Ints = np.load(folder / "starts.npy")
        path = folder / "frames.bin"
        # An empty file cannot be mapped: nothing but silence was indexed.
        self._frames: npt.NDArray[np.uint32] = (
            np.memmap(path, dtype=np.uint32, mode="r") if path.stat().st_size else np.zeros(0, np.uint32)
        )
        self.num_bytes = path.stat().st_size + counts.nbytes + self._starts.nbytes

    def __len__(self) -> int:
        return len(self._frames)

    def candidates(self, peaks: Peaks) -> list[Candidate]:
        """Clips that may share audio with the query, most votes first; the query should last half a minute at most."""
        landmarks_at = query_landmarks(peaks)
        usual = self._asked(landmarks_at(1.0), 1.0, _MIN_VOTES)
        others = [
            candidate
            for speed in SPEEDS
            if speed != 1.0
            for candidate in self._asked(landmarks_at(speed), speed, _MIN_VOTES_STANDING_OUT)
        ]
        best: dict[int, Candidate] = {}
        for candidate in sorted(usual + others, key=lambda candidate: -candidate.votes):
            best.setdefault(candidate.clip, candidate)  # a neighbouring speed agrees in part: the best one stands
        ranked = list(best.values())
        chance = ranked[_CHANCE_RANK - 1].votes if len(ranked) >= _CHANCE_RANK else 0
        enough = max(_MIN_VOTES_STANDING_OUT, _TIMES_CHANCE * chance)
        found = [replace(each, stands_out=each.votes >= enough) for each in usual[:MAX_CANDIDATES]]
        faster = [replace(each, stands_out=True) for each in ranked if each.speed != 1.0 and each.votes >= enough]
        return found + faster[:_MAX_CANDIDATES_OTHER_SPEED]

    def _asked(self, landmarks: Landmarks, speed: float, min_votes: int) -> list[Candidate]:
        frames, clocks = self._hits(landmarks)
        if not len(clocks):
            return []
        distances, votes = np.unique(clocks, return_counts=True)
        # Rounding spreads one distance over two neighbours.
        together = votes.copy()
        beside = np.flatnonzero(np.diff(distances) == 1)
        together[beside] += votes[beside + 1]
        likely = np.flatnonzero(together >= min_votes)
        likely = likely[np.argsort(-together[likely], kind="stable")][: 4 * MAX_CANDIDATES]
        wanted = np.unique(np.concatenate([distances[likely], distances[likely] + 1]))
        among = np.isin(clocks, wanted)  # few of the hits, so that each guess looks at few
        frames, clocks = frames[among], clocks[among]
        found: dict[tuple[int, int], Candidate] = {}
        per_clip: dict[int, int] = {}
        for cell in likely:
            distance = int(distances[cell])
            agree = (clocks == distance) | (clocks == distance + 1)
            clips, counts = np.unique(
                np.searchsorted(self._starts, frames[agree], side="right") - 1, return_counts=True
            )
            clip, num_votes = int(clips[counts.argmax()]), int(counts.max())
            near = any((clip, distance + step) in found for step in (-2, -1, 1, 2))
            if num_votes < min_votes or near or per_clip.get(clip, 0) >= _MAX_PER_CLIP:
                continue
            per_clip[clip] = per_clip.get(clip, 0) + 1
            offset_sec = (distance - int(self._starts[clip])) / FRAMES_PER_SEC
            found[clip, distance] = Candidate(clip, offset_sec, speed, num_votes)
        return sorted(found.values(), key=lambda candidate: -candidate.votes)

    def _hits(self, landmarks: Landmarks) -> tuple[Ints, Ints]:
        """Frame of every landmark of the index with a hash of the query's, and its distance from the query's clock."""
        first = self._first[landmarks.code]
        count = self._first[landmarks.code + 1] - first
        kept = np.flatnonzero(count)
        if count.sum() > _MAX_HITS:
            kept = kept[np.argsort(count[kept], kind="stable")]
            kept = kept[np.cumsum(count[kept]) <= _MAX_HITS]
        first, count, clock = first[kept], count[kept], landmarks.frame[kept]
        places = np.repeat(first - (np.cumsum(count) - count), count) + np.arange(count.sum())
        frames = self._frames[places].astype(np.int64)
        return frames, frames - np.repeat(clock, count)
