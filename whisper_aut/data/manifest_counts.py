"""What is in a manifest, counted as it streams by: clips, hours, tokens, languages, licences, histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whisper_aut.constants import WINDOW_SEC
from whisper_aut.data.row_checks import DEFAULTS

TALLIED = ("domain", "source", "language", "split", "license")


@dataclass
class Histogram:
    """Counts between edges; what lies at or beyond the last edge is counted in ``over``."""

    unit: str
    edges: tuple[float, ...]
    counts: npt.NDArray[np.int64]
    over: int = 0

    @classmethod
    def of(cls, unit: str, edges: Sequence[float]) -> Histogram:
        """Nothing counted yet."""
        return cls(unit, tuple(edges), np.zeros(len(edges) - 1, dtype=np.int64))

    def add(self, values: npt.NDArray[np.float64]) -> None:
        """Count values; those below the first edge go into the first bin."""
        bins = np.searchsorted(self.edges, values, side="right") - 1
        self.over += int((bins >= len(self.counts)).sum())
        self.counts += np.bincount(np.clip(bins[bins < len(self.counts)], 0, None), minlength=len(self.counts))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"unit": self.unit, "edges": list(self.edges), "counts": self.counts.tolist(), "over": self.over}


def duration_histogram() -> Histogram:
    """Of clips, by the second."""
    # Clips of exactly 30 s are many (whole windows, cut recordings): they have a bin of their own.
    return Histogram.of("s", [*range(WINDOW_SEC), float(WINDOW_SEC), math.nextafter(WINDOW_SEC, 99.0)])


def text_histogram() -> Histogram:
    """Of texts, by 25 characters."""
    return Histogram.of("characters", range(0, 525, 25))


@dataclass
class ManifestCounts:
    """Sums over rows; ``tokens`` stays None where the rows do not say their number.

    ``mixed_channels`` counts clips of files with several channels that name none: they are the mix of all.
    """

    clips: int = 0
    seconds: float = 0.0
    text_chars: int = 0
    tokens: int | None = None
    mixed_channels: int = 0
    tallies: dict[str, dict[str, list[float]]] = field(default_factory=lambda: {name: {} for name in TALLIED})
    durations: Histogram = field(default_factory=duration_histogram)
    texts: Histogram = field(default_factory=text_histogram)

    def add(self, table: pa.Table) -> None:
        """Count the rows of a manifest."""
        if not len(table):
            return
        duration_sec = pc.fill_null(table["duration_sec"].cast(pa.float64()), 0.0).to_numpy()
        chars = pc.fill_null(pc.utf8_length(table["text"]), 0).to_numpy().astype(np.float64)
        self.clips += len(table)
        self.seconds += float(duration_sec.sum())
        self.text_chars += int(chars.sum())
        self.durations.add(duration_sec)
        self.texts.add(chars)
        if "num_tokens" in table.schema.names:
            self.tokens = (self.tokens or 0) + int(pc.sum(table["num_tokens"]).as_py() or 0)
        if "unnamed" in table.schema.names:
            self.mixed_channels += int(pc.sum(table["unnamed"]).as_py() or 0)
        for name in TALLIED:
            if name in table.schema.names:
                self._tally(name, table[name], table["duration_sec"])

    def _tally(self, name: str, column: pa.ChunkedArray, duration_sec: pa.ChunkedArray) -> None:
        grouped = pa.table(
            [pc.fill_null(column.cast(pa.string()), DEFAULTS.get(name, "")), duration_sec], ["value", "sec"]
        )
        sums = grouped.group_by("value").aggregate([("sec", "count"), ("sec", "sum")])
        for row in sums.to_pylist():
            entry = self.tallies[name].setdefault(row["value"], [0, 0.0])
            entry[0] += row["sec_count"]
            entry[1] += row["sec_sum"] or 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON and for pages; values by their clips, most first."""
        return {
            "clips": self.clips,
            "hours": self.seconds / 3600,
            "tokens": self.tokens,
            "text_chars": self.text_chars,
            "mixed_channels": self.mixed_channels,
            **{f"{name}s": _by_clips(self.tallies[name]) for name in TALLIED},
            "duration_histogram": self.durations.as_dict(),
            "text_histogram": self.texts.as_dict(),
        }


def _by_clips(tally: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    ordered = sorted(tally.items(), key=lambda item: (-item[1][0], item[0]))
    return {value: {"clips": int(clips), "hours": seconds / 3600} for value, (clips, seconds) in ordered}
