"""What can be wrong with the rows of a manifest, found column by column; ``file:line``, field and clip are named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whisper_aut.constants import DOMAINS
from whisper_aut.data.channels import CHANNEL, texts_of
from whisper_aut.data.locate import malformed_audio

REQUIRED = ("id", "audio", "offset_sec", "duration_sec", "text", "domain")
OPTIONAL = ("source", "language", "split", "license")
DEFAULTS = {"language": "en", "split": "train", "license": "unknown"}  # and the file's name for source
NUMBERS = ("offset_sec", "duration_sec")
MAX_DURATION_SEC = 86_400.0
MAX_OFFSET_SEC = 7 * 86_400.0  # no file is read that lasts longer
_DOMAINS = pa.array(DOMAINS, pa.large_string())


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one row: ``where`` is ``file:line`` (``file:row`` for Parquet), ``clip_id`` may be empty."""

    where: str
    field: str
    clip_id: str
    message: str

    def __str__(self) -> str:
        clip = f" (clip {self.clip_id})" if self.clip_id else ""
        return f"{self.where}: {self.field}: {self.message}{clip}"


def check_types(row: dict[str, Any], where: str) -> Iterator[Problem]:
    """Problems that keep a JSON row out of the table: a missing field, or a value of another type."""
    clip_id = row["id"] if isinstance(row.get("id"), str) else ""
    for name in REQUIRED + OPTIONAL:
        value = row.get(name)
        if value is None:
            if name in REQUIRED:
                yield Problem(where, name, clip_id, "is missing")
        elif name in NUMBERS:
            # JSON's true is a Python int, and an int may be too large for a float.
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or (isinstance(value, int) and abs(value) > 2**53):
                yield Problem(where, name, clip_id, f"must be a number of seconds, found {value!r:.80}")
        elif not isinstance(value, str):
            yield Problem(where, name, clip_id, f"must be text, found {value!r:.80}")
        elif not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            yield Problem(where, name, clip_id, "holds half of a surrogate pair, which is not a character")
    for _, message in texts_of([row.get(CHANNEL)])[1]:
        yield Problem(where, CHANNEL, clip_id, message)


def check_values(
    path: Path, rows: pa.RecordBatch, lines: npt.NDArray[np.int64], manifest_domain: str | None
) -> Iterator[Problem]:
    """Problems of values in some rows of one manifest, all columns of which are there; duplicate ids are not looked at.

    Args:
        path: of the manifest, for messages.
        rows: with the columns ``REQUIRED``.
        lines: int64 [N], of the rows.
        manifest_domain: domain of the manifest's first row; None where that has none.
    """

    def problem(name: str, row: int, message: str) -> Problem:
        value = rows[name][row].as_py()
        shown = f"{value:g}" if isinstance(value, float) else value
        return Problem(f"{path}:{lines[row]}", name, rows["id"][row].as_py() or "", message.format(value=shown))

    def problems(name: str, bad: pa.Array, message: str) -> Iterator[Problem]:
        for row in np.flatnonzero(pc.fill_null(bad, False).to_numpy(zero_copy_only=False)):
            yield problem(name, int(row), message)

    for name in REQUIRED:
        if rows[name].null_count:
            yield from problems(name, pc.is_null(rows[name]), "is missing")
    for name in ("id", "audio", "text"):
        yield from problems(name, pc.equal(pc.binary_length(pc.utf8_trim_whitespace(rows[name])), 0), "is empty")
    for name in ("id", "text"):
        yield from problems(name, pc.match_substring(rows[name], "\0"), "holds a NUL character")
    domain, offset_sec, duration_sec = rows["domain"], rows["offset_sec"], rows["duration_sec"]
    known = pc.is_in(domain, value_set=_DOMAINS)
    unknown = pc.and_(pc.invert(known), pc.is_valid(domain))
    yield from problems("domain", unknown, "'{value}' is none of " + ", ".join(DOMAINS))
    for name in NUMBERS:
        yield from problems(name, pc.invert(pc.is_finite(rows[name])), "{value} is not a finite number of seconds")
    yield from problems("offset_sec", _finite(offset_sec, pc.less(offset_sec, 0)), "{value} s lies before the audio")
    yield from problems("duration_sec", _finite(duration_sec, pc.less_equal(duration_sec, 0)), "{value} s is no length")
    too_late = _finite(offset_sec, pc.greater(offset_sec, MAX_OFFSET_SEC))
    yield from problems("offset_sec", too_late, "{value} s is more than a week; seconds are wanted, not samples")
    too_long = _finite(duration_sec, pc.greater(duration_sec, MAX_DURATION_SEC))
    yield from problems("duration_sec", too_long, "{value} s is more than a day; seconds are wanted, not samples")
    if manifest_domain is not None:
        other = pc.and_(known, pc.not_equal(domain, manifest_domain))
        what = f"{{value}} in a manifest that begins with {manifest_domain}; write one file per domain"
        yield from problems("domain", other, what)
    for row, message in malformed_audio(pa.chunked_array([rows["audio"]])):
        yield problem("audio", row, message)


def _finite(values: pa.Array, bad: pa.Array) -> pa.Array:
    return pc.and_(pc.is_finite(values), bad)
