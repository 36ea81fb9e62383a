"""What of a manifest deserves a second look, found as it streams by: extremes, impossible texts, placeholders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

NUM_SHOWN = 10
# What nobody says: fast speech has five words a second, fifteen letters, eight ideographs. The first few are free,
# since short clips are cut close.
MAX_WORDS_PER_SEC, FREE_WORDS = 8, 2
MAX_CHARS_PER_SEC, FREE_CHARS = 40, 10
MAX_WIDE_PER_SEC, FREE_WIDE = 15, 5
_WIDE = r"[\p{Han}\p{Hiragana}\p{Katakana}]"
_PLACEHOLDERS = ("nan", "none", "null", "n/a", "na", "#n/a", "<na>", "undefined")  # what programs write for no text

Extreme = tuple[float, str]  # of a clip: seconds, or dB of full scale; its id


@dataclass
class Audit:
    """Counts and examples over the rows of a manifest.

    Attributes:
        shortest, longest: clips with their seconds, the most extreme first.
        quietest: clips with their level, dB RMS of full scale; empty where no audio was decoded.
        spoken: clips of speech, whose texts are held against their time.
        impossible: how many of these have more text than can be said; with examples.
        placeholders: texts such as ``nan`` that a program wrote for none; with examples.
    """

    shortest: list[Extreme] = field(default_factory=list)
    longest: list[Extreme] = field(default_factory=list)
    quietest: list[Extreme] = field(default_factory=list)
    spoken: int = 0
    impossible: int = 0
    impossible_examples: list[str] = field(default_factory=list)
    placeholders: int = 0
    placeholder_examples: list[str] = field(default_factory=list)

    def add(self, table: pa.Table) -> None:
        """Look at rows of a manifest; a column ``level_db`` says how loud they are."""
        if not len(table):
            return
        duration_sec = pc.fill_null(table["duration_sec"].cast(pa.float64()), 0.0).to_numpy()
        self.shortest = _extremes(self.shortest, table["id"], duration_sec)
        self.longest = _extremes(self.longest, table["id"], duration_sec, largest=True)
        if "level_db" in table.schema.names and table["level_db"].null_count < len(table):
            level_db = pc.fill_null(table["level_db"].cast(pa.float64()), np.inf).to_numpy()
            self.quietest = _extremes(self.quietest, table["id"], level_db)
        text = pc.fill_null(table["text"].cast(pa.large_string()), "")
        lowered = pc.utf8_lower(pc.utf8_trim_whitespace(pc.if_else(pc.less(pc.binary_length(text), 16), text, "")))
        empty = np.flatnonzero(pc.is_in(lowered, value_set=pa.array(_PLACEHOLDERS, lowered.type)).to_numpy())
        self.placeholders += len(empty)
        self.placeholder_examples = _examples(
            self.placeholder_examples, table, empty, lambda row: f"'{text[row].as_py()}'"
        )
        self._hold_against_time(table, text, duration_sec)

    def _hold_against_time(self, table: pa.Table, text: pa.ChunkedArray, duration_sec: npt.NDArray[np.float64]) -> None:
        spoken = pc.equal(table["domain"].cast(pa.string()), "speech").fill_null(False).to_numpy().astype(bool)
        if not spoken.any():
            return
        words = pc.count_substring(text, " ").to_numpy() + 1
        chars = pc.utf8_length(text).to_numpy()
        impossible = words > FREE_WORDS + MAX_WORDS_PER_SEC * duration_sec
        impossible |= chars > FREE_CHARS + MAX_CHARS_PER_SEC * duration_sec
        wide_rows = np.flatnonzero(pc.binary_length(text).to_numpy() > 2 * chars)  # scripts of three bytes a letter
        if len(wide_rows):
            wide = pc.count_substring_regex(text.take(pa.array(wide_rows)), _WIDE).to_numpy()
            impossible[wide_rows] |= wide > FREE_WIDE + MAX_WIDE_PER_SEC * duration_sec[wide_rows]
        found = np.flatnonzero(impossible & spoken)
        self.spoken += int(spoken.sum())
        self.impossible += len(found)
        self.impossible_examples = _examples(
            self.impossible_examples,
            table,
            found,
            lambda row: f"{words[row]:,} words, {chars[row]:,} characters in {duration_sec[row]:.2f} s",
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON and for pages."""
        return {
            "shortest": [list(one) for one in self.shortest],
            "longest": [list(one) for one in self.longest],
            "quietest": [list(one) for one in self.quietest],
            "spoken": self.spoken,
            "impossible": self.impossible,
            "impossible_examples": self.impossible_examples,
            "placeholders": self.placeholders,
            "placeholder_examples": self.placeholder_examples,
        }


def audit_lines(found: Mapping[str, Any]) -> list[str]:
    """Return the sentences of an audit (of :meth:`Audit.as_dict`), one for each thing that was looked for and found."""
    lines = []
    if found["spoken"]:
        share = 100 * found["impossible"] / found["spoken"]
        which = f": {'; '.join(found['impossible_examples'])}" if found["impossible"] else ""
        lines.append(
            f"impossible texts: {found['impossible']:,} of {found['spoken']:,} clips of speech ({share:.1f}%) have "
            f"more than can be said in their time{which}"
        )
    if found["placeholders"]:
        lines.append(f"texts that are none: {found['placeholders']:,}: {'; '.join(found['placeholder_examples'])}")
    same = found.get("same_content", {"groups": 0, "unread": 0})
    if same["groups"]:
        lines.append(
            f"files of equal content: {same['files']:,} in {same['groups']:,} groups: {'; '.join(same['examples'])}"
        )
    if same["unread"]:
        lines.append(f"files that agree in size and three places, not compared further: {same['unread']:,}")
    return lines


def extremes_of(found: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return (title, [(value with its unit, clip)]) of the lists of an audit that are not empty."""
    units = {"shortest": "{:.2f} s", "longest": "{:.2f} s", "quietest": "{:.1f} dB"}
    return [
        (name, [(unit.format(value), clip) for value, clip in found[name]])
        for name, unit in units.items()
        if found[name]
    ]


def _extremes(
    known: list[Extreme], ids: pa.ChunkedArray, values: npt.NDArray[np.float64], *, largest: bool = False
) -> list[Extreme]:
    keys = -values if largest else values
    last = np.partition(keys, NUM_SHOWN - 1)[NUM_SHOWN - 1] if len(keys) > NUM_SHOWN else np.inf
    rows = np.concatenate([np.flatnonzero(keys < last), np.flatnonzero(keys == last)[:NUM_SHOWN]])  # ties: the first
    added = [(float(values[row]), str(ids[row].as_py())) for row in rows.tolist() if np.isfinite(keys[row])]
    return sorted(known + added, key=lambda one: -one[0] if largest else one[0])[:NUM_SHOWN]


def _examples(known: list[str], table: pa.Table, rows: npt.NDArray[np.int64], say: Callable[[int], str]) -> list[str]:
    wanted = rows[: max(0, 3 - len(known))].tolist()
    return known + [f"{table['id'][row].as_py()} ({say(row)})" for row in wanted]
