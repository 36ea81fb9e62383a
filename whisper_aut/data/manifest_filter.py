"""Part of a manifest: rows that meet every condition, with all their columns, and why the others were left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whisper_aut.data.captions import DEFAULT_PROMPTS, TextEncoder, load_tokenizer
from whisper_aut.data.json_lines import load_json
from whisper_aut.data.manifest_counts import ManifestCounts
from whisper_aut.data.manifest_stream import Piece, moved_audio, read_pieces, read_schema, whole_manifest
from whisper_aut.data.outputs import check_output
from whisper_aut.data.row_checks import DEFAULTS
from whisper_aut.data.text_lines import TextFileError, is_text, numbered_lines
from whisper_aut.errors import ManifestError


@dataclass(frozen=True)
class Conditions:
    """What a row must meet; None or nothing is no condition.

    Attributes:
        min_sec: shortest clip.
        max_sec: longest clip.
        values: by column, the values that are kept.
        drop_ids: clips that are left out.
        max_tokens: of the whole sequence, prompt and end counted.
        tokenizer_dir: folder with ``tokenizer.json``; needed where rows do not say ``num_tokens``.
    """

    min_sec: float | None = None
    max_sec: float | None = None
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    drop_ids: frozenset[str] = frozenset()
    max_tokens: int | None = None
    tokenizer_dir: Path | None = None


@dataclass(frozen=True)
class FilterReport:
    """What was kept, how many rows fell by which condition (a row by its first), and ids to drop that no row has."""

    kept: ManifestCounts
    dropped: dict[str, int]
    not_found: frozenset[str] = frozenset()


def filter_manifest(path: Path, out: Path, conditions: Conditions) -> FilterReport:
    """Write the rows of ``path`` that meet the conditions to ``out``.

    Raises:
        ManifestError: the file cannot be read or written, ``out`` is the file itself, no row is kept, or tokens
            cannot be counted.
        BaseModelError: the tokenizer cannot be read.
    """
    check_output(out, [path])
    for option, seconds in (("--min-sec", conditions.min_sec), ("--max-sec", conditions.max_sec)):
        if seconds is not None and not math.isfinite(seconds):
            raise ManifestError(f"{option} {seconds} is no number of seconds", remedy="give seconds, or leave it out")
    schema = read_schema(path)
    encoder = None
    if conditions.max_tokens is not None and "num_tokens" not in schema.names:
        if conditions.tokenizer_dir is None:
            raise ManifestError(
                "the rows do not say how many tokens they have", where=str(path), remedy="add --tokenizer BASE"
            )
        encoder = TextEncoder(load_tokenizer(conditions.tokenizer_dir), DEFAULT_PROMPTS)
    kept, dropped, not_found = ManifestCounts(), dict[str, int](), set(conditions.drop_ids)
    with whole_manifest(out, schema) as writer:
        for piece in read_pieces(path, schema):
            not_found.difference_update(piece.table["id"].to_pylist() if not_found else ())
            keep = np.ones(len(piece.table), dtype=bool)
            for reason, passes in _tests(piece, conditions, encoder, keep):
                falls = keep & ~passes
                if falls.any():
                    dropped[reason] = dropped.get(reason, 0) + int(falls.sum())
                    keep &= passes
            if keep.any():
                # Only what is kept has to have audio that can be moved.
                rows = np.flatnonzero(keep)
                lines = [piece.lines[row] for row in rows] if piece.lines is not None else (rows + piece.first).tolist()
                part = Piece(path, piece.table.take(pa.array(rows)), piece.first, lines)
                table = moved_audio(part, out.parent)
                kept.add(table)
                writer.write(table)
        if not kept.clips:
            why = ", ".join(f"{count} by {reason}" for reason, count in dropped.items()) or "it is empty"
            raise ManifestError(f"no row is kept: {why}", where=str(path), remedy="loosen the conditions")
    return FilterReport(kept, dropped, frozenset(not_found))


def read_ids(path: Path) -> frozenset[str]:
    """Ids in a file: one a line, plain or quoted, rows of JSON with an ``id``, or one JSON list of either.

    Raises:
        ManifestError: the file cannot be read, or a row has no id.
    """
    try:
        lines = [line for _, line in numbered_lines(path)]
    except (OSError, TextFileError) as error:
        raise ManifestError(f"the ids cannot be read: {error}", where=str(path), remedy="check the path") from None
    text = "".join(lines)
    if not is_text(text):
        raise ManifestError("the ids are not UTF-8", where=str(path), remedy="save the file as UTF-8")
    if text.lstrip().startswith("["):
        try:
            return frozenset(_id(one, f"{path}, entry {number}") for number, one in enumerate(load_json(text), start=1))
        except ValueError as error:
            raise ManifestError(
                f"the ids begin as a JSON list and are none: {error}",
                where=str(path),
                remedy="mend it, or write one id a line",
            ) from None
    found = set()
    for number, line in enumerate(lines, start=1):
        given: Any = line.strip()
        if given.startswith(("{", '"')):
            try:
                given = load_json(given)
            except ValueError:
                given = None
        if given != "":
            found.add(_id(given, f"{path}:{number}"))
    return frozenset(found)


def _id(given: Any, where: str) -> str:
    found = given.get("id") if isinstance(given, dict) else given
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        raise ManifestError("the row has no id", where=where, remedy="mend it")
    return str(found)


_Mask = npt.NDArray[np.bool_]


def _tests(piece: Piece, conditions: Conditions, encoder: TextEncoder | None, keep: _Mask) -> list[tuple[str, _Mask]]:
    """(reason, which rows pass) of each condition; the dear ones look at rows in ``keep`` only."""
    table, tests = piece.table, []
    duration_sec = pc.fill_null(table["duration_sec"], 0.0).to_numpy()
    if conditions.min_sec is not None:
        tests.append((f"under {conditions.min_sec:g} s", duration_sec >= conditions.min_sec))
    if conditions.max_sec is not None:
        tests.append((f"over {conditions.max_sec:g} s", duration_sec <= conditions.max_sec))
    for name, wanted in conditions.values.items():
        default = piece.path.stem if name == "source" else DEFAULTS.get(name, "")
        if name in table.schema.names:
            column = pc.fill_null(table[name].cast(pa.string()), default)
            passes = pc.is_in(column, value_set=pa.array(list(wanted), pa.string())).to_numpy().astype(bool)
        else:
            passes = np.full(len(table), default in wanted)
        tests.append((f"{name} not {' or '.join(wanted)}", passes))
    if conditions.drop_ids:
        ids = table["id"].to_pylist()
        tests.append(("id to be dropped", np.array([one not in conditions.drop_ids for one in ids], dtype=bool)))
    if conditions.max_tokens is not None:
        for _, passes in tests:
            keep = keep & passes
        num_tokens = _tokens(piece, encoder, keep)
        tests.append((f"over {conditions.max_tokens} tokens", num_tokens <= conditions.max_tokens))
    return tests


def _tokens(piece: Piece, encoder: TextEncoder | None, keep: _Mask) -> npt.NDArray[np.int64]:
    if encoder is None:
        return np.asarray(pc.fill_null(piece.table["num_tokens"], 0).to_numpy(), dtype=np.int64)
    num_tokens = np.zeros(len(piece.table), dtype=np.int64)
    texts, domains = piece.table["text"].to_pylist(), piece.table["domain"].to_pylist()
    has_language = "language" in piece.table.schema.names
    languages = piece.table["language"].to_pylist() if has_language else ["en"] * len(piece.table)
    for row in np.flatnonzero(keep).tolist():
        try:
            num_tokens[row] = encoder.num_tokens(texts[row] or "", domains[row], languages[row] or "en")
        except ManifestError as error:
            raise ManifestError(error.what, where=piece.where(row), remedy=error.remedy) from None
    return num_tokens
