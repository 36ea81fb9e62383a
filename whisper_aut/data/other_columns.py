"""Whole rows of a manifest: its known columns, and whatever others the file has, for those who write it anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from whisper_aut.data.channels import CHANNEL
from whisper_aut.data.json_lines import json_objects
from whisper_aut.data.manifest import Manifest
from whisper_aut.data.manifest_file import not_utf8, readable
from whisper_aut.data.row_checks import OPTIONAL, REQUIRED
from whisper_aut.errors import ManifestError

_KNOWN = (*REQUIRED, *OPTIONAL, CHANNEL)
_COUNTED = "\0rows"


def other_columns(manifest: Manifest) -> pa.Table:
    """Columns that the package does not know, as many rows as the manifest has; of JSON values that fit no one type,
    their JSON text.

    Raises:
        ManifestError: the file is no longer the one that was read.
    """
    if manifest.path.suffix == ".parquet":
        names = [name for name in pq.read_schema(manifest.path).names if name not in _KNOWN]
        table = pq.read_table(manifest.path, columns=names, memory_map=True)
        for name in names:
            for row in not_utf8(table[name]):
                raise ManifestError(f"{name} is not UTF-8", where=f"{manifest.path}:{row + 1}", remedy="mend the row")
    else:
        table = _others_of_jsonl(manifest)
    if table.num_columns and table.num_rows != len(manifest):
        raise ManifestError("the manifest changed while it was read", where=str(manifest.path), remedy="try again")
    return table


def joined(tables: list[pa.Table], num_rows: list[int]) -> pa.Table:
    """Tables below one another; a column that one of them lacks is null there.

    Raises:
        ManifestError: a column has another type in another table.
    """
    # A table without columns forgets how many rows it has, so that each gets one for the time being.
    counted = [
        pa.table([pa.nulls(count), *table.columns], names=[_COUNTED, *table.column_names])
        for table, count in zip(tables, num_rows, strict=True)
    ]
    try:
        return pa.concat_tables(counted, promote_options="permissive").drop_columns([_COUNTED])
    except pa.ArrowException as error:
        raise ManifestError(
            f"a column has different types in these manifests: {error}", remedy="pack them into a folder each"
        ) from None


def _others_of_jsonl(manifest: Manifest) -> pa.Table:
    columns: dict[str, list[Any]] = {}
    count = 0
    for count, row in enumerate(_json_rows(manifest), start=1):
        for name, value in row.items():
            if name not in _KNOWN:
                columns.setdefault(name, [None] * (count - 1)).append(value)
        for values in columns.values():
            if len(values) < count:
                values.append(None)
    try:
        return pa.table({name: _array(values) for name, values in columns.items()})
    except UnicodeEncodeError as error:
        raise ManifestError(
            f"a column holds half of a surrogate pair: {error}", where=str(manifest.path), remedy="mend the row"
        ) from None


def _json_rows(manifest: Manifest) -> Iterator[dict[str, Any]]:
    with readable(manifest.path):
        for number, row in json_objects(manifest.path):
            if isinstance(row, str):
                raise ManifestError(row, where=f"{manifest.path}:{number}", remedy="mend the row")
            yield row


def _array(values: list[Any]) -> pa.Array:
    try:
        found = pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        found = None
    if found is None or "struct" in str(found.type) or pa.types.is_null(found.type):
        # Objects too: a key that one row lacks would come back as null.
        return pa.array([None if v is None else json.dumps(v, ensure_ascii=False) for v in values], pa.string())
    return found
