"""One manifest of several: every column kept, ids unique, audio still found from where the new one lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from whisper_aut.data.clip_table import id_hashes
from whisper_aut.data.manifest_counts import ManifestCounts
from whisper_aut.data.manifest_file import check_suffix
from whisper_aut.data.manifest_stream import (
    Piece,
    manifest_columns,
    moved_audio,
    read_pieces,
    read_schema,
    unify,
    whole_manifest,
)
from whisper_aut.data.outputs import check_distinct, check_output
from whisper_aut.errors import ManifestError


def merge_manifests(paths: Sequence[Path], out: Path, *, prefix_ids: bool = False) -> ManifestCounts:
    """Write the rows of ``paths``, in order, to ``out`` and say what it holds.

    Args:
        paths: manifests of one domain.
        out: may lie in another folder; relative audio then becomes absolute.
        prefix_ids: put the file's name before every id.

    Raises:
        ManifestError: an id stands twice (both places are named), a file is given twice or is ``out``, domains differ,
            or a file cannot be read.
    """
    check_suffix(out)
    check_output(out, paths)
    check_distinct(paths)
    schema = pa.schema([])
    for path in paths:
        schema = unify(schema, read_schema(path), path)
    schema = pa.schema([schema.field(name) for name in manifest_columns(schema)])
    if prefix_ids:
        _check_names(paths)
    named: Callable[[Piece], pa.Array] = _prefixed if prefix_ids else lambda piece: piece.table["id"]
    _check_unique(paths, schema, named)
    counts, domain = ManifestCounts(), ""
    with whole_manifest(out, schema) as writer:
        for path in paths:
            for piece in read_pieces(path, schema):
                domain = _check_domain(piece, domain)
                table = moved_audio(piece, out.parent)
                table = table.set_column(table.schema.get_field_index("id"), schema.field("id"), named(piece))
                # A source that is left out is the file's name, which the merged file has no longer.
                if "source" in schema.names:
                    sources = [value or path.stem for value in table["source"].to_pylist()]
                    column = table.schema.get_field_index("source")
                    table = table.set_column(column, schema.field("source"), pa.array(sources, pa.string()))
                counts.add(table)
                writer.write(table)
    return counts


def _prefixed(piece: Piece) -> pa.Array:
    return pa.array([f"{piece.path.stem}-{one}" for one in piece.table["id"].to_pylist()], pa.string())


def _check_names(paths: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise ManifestError(
                f"{seen[path.stem]} and {path} have one name, so their ids would be no different",
                remedy="rename one of the files",
            )
        seen[path.stem] = path


def _check_domain(piece: Piece, domain: str) -> str:
    for index, value in enumerate(piece.table["domain"].to_pylist()):
        if domain and value != domain:
            raise ManifestError(
                f"the domain is {value}, not {domain} as before",
                where=piece.where(index),
                remedy="a manifest is of one domain; name several in the recipe",
            )
        domain = value or domain
    return domain


def _check_unique(paths: Sequence[Path], schema: pa.Schema, named: Callable[[Piece], pa.Array]) -> None:
    """Eight bytes a row tell which ids may be double; only those are then held against one another."""
    wanted = pa.schema([schema.field(name) for name in ("id", "audio", "offset_sec", "duration_sec", "text", "domain")])
    hashes = [id_hashes(named(piece).to_pylist()) for path in paths for piece in read_pieces(path, wanted)]
    values, counts = np.unique(np.concatenate(hashes) if hashes else np.zeros(0, np.uint64), return_counts=True)
    several = values[counts > 1]
    if not len(several):
        return
    first: dict[str, str] = {}
    for path in paths:
        for piece in read_pieces(path, wanted):
            ids = named(piece).to_pylist()
            for index in np.flatnonzero(np.isin(id_hashes(ids), several)).tolist():
                earlier = first.setdefault(ids[index], piece.where(index))
                if earlier != piece.where(index):
                    raise ManifestError(
                        f"the id '{ids[index]}' stands at {earlier} too",
                        where=piece.where(index),
                        remedy="--prefix-ids puts the files' names before the ids; a row that is double in one file "
                        "has to be removed",
                    )
