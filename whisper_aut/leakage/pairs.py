"""A pair of clips that should not both be there: by audio, a leak; by the id in their names alone, a suspicion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from whisper_aut.leakage.search import Match
from whisper_aut.leakage.sides import Segment

By = Literal["audio", "id"]


@dataclass(frozen=True)
class Pair:
    """A training clip, an evaluation clip, and what links them.

    Attributes:
        train: the training clip.
        eval: the evaluation clip.
        match: what landmarks and waveforms say; None where only the names agree.
    """

    train: Segment
    eval: Segment
    match: Match | None

    @property
    def by(self) -> By:
        """``audio`` for a leak, ``id`` for a suspicion."""
        return "id" if self.match is None else "audio"

    @property
    def same_recording(self) -> list[str]:
        """Ids that both names carry."""
        return sorted(self.train.recordings & self.eval.recordings)

    def row(self) -> dict[str, Any]:
        """As a line of pairs.jsonl. The evaluation clip's time is the training clip's, times speed, plus offset_sec."""
        named = {
            "by": self.by,
            "train_manifest": self.train.side,
            "train_row": self.train.row,
            "train_id": self.train.id,
            "eval_task": self.eval.side,
            "eval_id": self.eval.id,
            "same_recording_id": self.same_recording,
        }
        if self.match is None:
            return named
        found = self.match.found
        return named | {
            "offset_sec": round(found.offset_sec, 4),
            "speed": round(found.speed, 5),
            "correlation": round(found.correlation, 4),
            "confidence": round(found.confidence, 2),
            "margin": round(found.margin, 2),
            "support": round(found.support, 2),
            "landmarks": self.match.votes,
            "train_start_sec": round(found.start_sec, 3),
            "eval_start_sec": round(self.eval_start_sec, 3),
            "overlap_sec": round(found.overlap_sec, 3),
        }

    @property
    def eval_start_sec(self) -> float:
        """Where in the evaluation clip the shared part begins."""
        assert self.match is not None
        found = self.match.found
        return max(0.0, found.start_sec * found.speed + found.offset_sec)
