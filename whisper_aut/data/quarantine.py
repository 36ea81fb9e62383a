"""The ledger of clips that turned out unreadable: one JSON line each, and an end to the run when they get too many."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from whisper_aut.data.containers.ffmpeg import advice as ffmpeg_advice
from whisper_aut.errors import ManifestError

MIN_CLIPS_READ = 100  # before that, a rate says little
_NUM_NAMED = 3


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """One unreadable clip.

    Attributes:
        id: of the clip.
        where: ``file:line`` of its row.
        reason: why it could not be read.
    """

    id: str
    where: str
    reason: str


class Quarantine:
    """Counts and writes down unreadable clips; appends, so that a resumed run goes on with its ledger.

    Args:
        path: the ledger, JSON lines; created with the first entry.
        max_rate: share of clips read that may be unreadable.
        option: what a user changes to set it.
    """

    def __init__(self, path: Path, max_rate: float, *, option: str = "data.max_quarantine_rate") -> None:
        self.path, self.max_rate, self._option = path, max_rate, option
        self.num_read = 0
        self.num_unreadable = 0
        self.silent_path = path.with_name("silent.jsonl")
        self.num_silent = 0
        self._first: list[QuarantineEntry] = []
        self._advised = False

    def record_silent(self, entries: Sequence[QuarantineEntry], *, write: bool = True) -> None:
        """Count clips in which nothing is heard and that were used all the same; name them in a ledger of their own."""
        if entries and write:
            if not self.num_silent:
                first = entries[0]
                what = f"{first.reason} (clip {first.id}, {first.where}); it is trained on, as data.silent_clips says"
                print(f"warning: {what}; more of its kind are named in {self.silent_path}", file=sys.stderr, flush=True)
            _append(self.silent_path, entries)
        self.num_silent += len(entries)

    def silent_summary(self) -> str:
        """One sentence on the silent clips that were used, for the end of the run; empty where there were none."""
        if not self.num_silent:
            return ""
        return f"in {self.num_silent} of {self.num_read} clips nothing is heard; {self.silent_path} names them"

    def summary(self) -> str:
        """One sentence on the unreadable clips for the end of the run; empty where there were none."""
        if not self.num_unreadable:
            return ""
        rate = self.num_unreadable / self.num_read
        over = (
            f"; more than {self._option}={self.max_rate:g}, which holds from {MIN_CLIPS_READ} clips on"
            if rate > self.max_rate
            else ""
        )
        return (
            f"{self.num_unreadable} of {self.num_read} clips were unreadable and replaced by others "
            f"({rate:.1%}{over}); {self.path} names them"
        )

    def record(self, entries: Sequence[QuarantineEntry], num_read: int, *, write: bool = True) -> None:
        """Count ``num_read`` clips read, ``entries`` of them unreadable, and write these down.

        ``write`` is False on all ranks but one, where every rank counts the entries of all.

        Raises:
            ManifestError: more than ``max_rate`` of at least ``MIN_CLIPS_READ`` clips were unreadable.
        """
        self.num_read += num_read
        self.num_unreadable += len(entries)
        self._first += entries[: _NUM_NAMED - len(self._first)]
        if write and not self._advised and (advice := ffmpeg_advice(entry.reason for entry in entries)):
            print(f"warning: {advice}", file=sys.stderr, flush=True)
            self._advised = True
        if entries and write:
            _append(self.path, entries)
        if self.num_read >= MIN_CLIPS_READ:
            self.check()

    def check(self) -> None:
        """Hold the rate over all that was read, however little: for the end, when no more comes.

        Raises:
            ManifestError: more than ``max_rate`` of the clips were unreadable.
        """
        if self.num_unreadable > self.max_rate * self.num_read:
            named = "; ".join(f"{entry.id} ({entry.where}): {entry.reason}" for entry in self._first)
            raise ManifestError(
                f"{self.num_unreadable} of {self.num_read} clips are unreadable, more than "
                f"{self._option}={self.max_rate:g} allows; the first: {named}",
                where=str(self.path),
                remedy=f"mend or remove the clips that the ledger lists, or raise {self._option}",
            )


def _append(path: Path, entries: Sequence[QuarantineEntry]) -> None:
    with path.open("a", encoding="utf-8") as ledger:
        ledger.writelines(json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in entries)
