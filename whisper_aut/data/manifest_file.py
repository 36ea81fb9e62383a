"""A manifest as a file: how its name may end, and what the system and Arrow say of it in words for its user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from whisper_aut.data.row_checks import NUMBERS, OPTIONAL, REQUIRED
from whisper_aut.data.text_lines import TextFileError
from whisper_aut.errors import ManifestError, first_line
from whisper_aut.files import missing_hint


def check_suffix(path: Path) -> None:
    """Whether a manifest may have the name.

    Raises:
        ManifestError: it ends in something else.
    """
    if path.suffix not in (".jsonl", ".parquet"):
        raise ManifestError(
            f"a manifest ends in .jsonl or .parquet, not in '{path.suffix}'",
            where=str(path),
            remedy="convert it, or give another name",
        )


def check_present(path: Path) -> None:
    """Check that a manifest is a file whose name fits; its content is not looked at.

    Raises:
        ManifestError: it is not there, is a folder, or has another ending.
    """
    with readable(path):
        path.open("rb").close()


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Around whatever reads the manifest at ``path``.

    Raises:
        ManifestError: its name has another ending, or it cannot be read.
    """
    check_suffix(path)
    try:
        yield
    except FileNotFoundError:
        raise ManifestError(
            f"there is no manifest at {path}{missing_hint(path)}",
            remedy="check the path; in a recipe it is data.root with data.mixture.*.manifests",
        ) from None
    except IsADirectoryError:
        raise ManifestError(
            "this is a folder", where=str(path), remedy="give the .jsonl or .parquet files in it"
        ) from None
    except TextFileError as error:
        raise ManifestError(
            f"the manifest cannot be read: {error}", where=f"{path}:{error.line}", remedy="save it as UTF-8"
        ) from None
    except UnicodeDecodeError:
        raise ManifestError("the manifest is not UTF-8", where=str(path), remedy="save it as UTF-8") from None
    except pa.ArrowException as error:
        raise ManifestError(
            f"the manifest is not a whole Parquet file: {first_line(error)}",
            where=str(path),
            remedy="write or copy it again",
        ) from None
    except OSError as error:
        raise ManifestError(
            f"the manifest cannot be read: {error}", where=str(path), remedy="check the file and its permissions"
        ) from None


def check_columns(path: Path, schema: pa.Schema, required: Sequence[str]) -> None:
    """Check the names and types of a manifest's own columns: a cast would make nonsense of some values.

    Raises:
        ManifestError: a column of ``required`` is missing, one stands twice, or is of another kind.
    """
    missing = [name for name in required if name not in schema.names]
    if missing:
        raise ManifestError(f"the manifest has no column {', '.join(missing)}", where=str(path), remedy="add it")
    for name in schema.names:
        if schema.names.count(name) > 1:
            raise ManifestError(f"the column {name} stands twice", where=str(path), remedy="rename or remove one")
    for name in (*REQUIRED, *OPTIONAL):
        if name in schema.names:
            _check_column_type(path, schema.field(name))


def _check_column_type(path: Path, field: pa.Field) -> None:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if field.name in NUMBERS:
        fits, wanted = pa.types.is_floating(kind) or pa.types.is_integer(kind), "a number of seconds"
    else:
        fits, wanted = is_text(kind), "text"
    if not (fits or pa.types.is_null(kind)):
        raise ManifestError(
            f"column {field.name} is {field.type}, not {wanted}", where=str(path), remedy="convert the column"
        )


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view())


def not_utf8(column: pa.Array | pa.ChunkedArray) -> list[int]:
    """Return the rows of a column of texts that are not UTF-8: a Parquet file may hold any bytes as such."""
    if not is_text(column.type):
        return []
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return [row for row, value in enumerate(as_bytes(column).to_pylist()) if not _decodes(value)]
    return []


def as_bytes(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return a column of texts as the bytes that it holds; other columns as they are."""
    return column.cast(pa.large_binary()) if is_text(column.type) else column


def _decodes(value: bytes | None) -> bool:
    try:
        return value is None or value.decode() is not None
    except UnicodeDecodeError:
        return False
