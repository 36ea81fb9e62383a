"""A manifest as a file: how its name may end, and what the system and Arrow say of it in words for its user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from whisper_aut.errors import ManifestError, first_line


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
            f"there is no manifest at {path}",
            remedy="check the path; in a recipe it is data.root with data.mixture.*.manifests",
        ) from None
    except IsADirectoryError:
        raise ManifestError(
            "this is a folder", where=str(path), remedy="give the .jsonl or .parquet files in it"
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
