"""The columns of a manifest as training reads them: text in Arrow, numbers in NumPy, in memory or mapped from the disk.

Columns of few values (domain, source, language, split, license) are codes into lists of values. A table on the disk is
a folder of plain columns and ``index.json``, which comes last.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.data.channels import CHANNEL
from whisper_aut.errors import ManifestError

FORMAT_VERSION = 2  # from 2 on channels are read
CODED = ("domain", "source", "language", "split", "license")
CHUNK_ROWS = 1_000_000
_TEXT_SCHEMA = pa.schema(
    [
        ("id", pa.large_string()), ("audio", pa.large_string()), ("text", pa.large_string()),
        ("offset_sec", pa.float64()), ("duration_sec", pa.float64()),
    ]
)  # fmt: skip
# Of every clip: samples at 16 kHz, UTF-8 bytes of the text, 64 bits of the id's SHA-256, line in the file, codes.
_NUMBERS: dict[str, Any] = {
    "num_samples": np.int32, "text_bytes": np.int32, "id_hash": np.uint64, "line": np.int64,
} | dict.fromkeys(CODED, np.uint16)  # fmt: skip
_MAX_VALUES = 65_535
_TEXTS, _INDEX = "clips.arrow", "index.json"


@dataclass(frozen=True)
class ClipTable:
    """All clips of a manifest; rows count from 0.

    Attributes:
        texts: Arrow table of id, audio, text, offset_sec and duration_sec.
        numbers: array [N] by name: num_samples, text_bytes, id_hash, line, and codes of the columns ``CODED``, and of
            ``channel`` where a row names one.
        values: what the codes of a column stand for.
        fingerprint: SHA-256 of the manifest's file, in hex.
        files: that the columns of numbers are mapped from; None in memory.
    """

    texts: pa.Table
    numbers: dict[str, npt.NDArray[Any]]
    values: dict[str, tuple[str, ...]]
    fingerprint: str
    files: dict[str, BinaryIO] | None = None

    def __len__(self) -> int:
        return len(self.numbers["num_samples"])

    def chunks(self, *names: str) -> Iterator[tuple[int, tuple[npt.NDArray[Any], ...]]]:
        """(first row, parts of these columns of numbers), about a million rows at once.

        From the disk they are read, not mapped: pages that are mapped would stay resident.
        """
        for start in range(0, len(self), CHUNK_ROWS):
            yield start, tuple(self._part(name, start, min(start + CHUNK_ROWS, len(self))) for name in names)

    def _part(self, name: str, start: int, stop: int) -> npt.NDArray[Any]:
        if self.files is None:
            return self.numbers[name][start:stop]
        dtype = _dtype(name)
        size = dtype.itemsize
        # By descriptor: the folder may be gone by now, its files are not as long as somebody has them open.
        return np.frombuffer(os.pread(self.files[name].fileno(), (stop - start) * size, start * size), dtype)


class TableWriter:
    """Collects the rows of one manifest, in memory or in a folder.

    Args:
        folder: an empty one; None keeps all in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._num_rows = 0
        self._values: dict[str, dict[str, int]] = {name: {} for name in (*CODED, CHANNEL)}
        self._batches: list[pa.RecordBatch] = []
        self._parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _NUMBERS}
        if folder is not None:
            self._texts = pa.ipc.new_file(str(folder / _TEXTS), _TEXT_SCHEMA)
            self._files = {name: (folder / name).open("wb") for name in _NUMBERS}

    def add(
        self, batch: pa.RecordBatch, lines: npt.NDArray[np.int64], channels: list[str | None] | None = None
    ) -> None:
        """Append rows; null and impossible values become empty ones, since their problems are listed elsewhere.

        The column of channels is there from the first row on that names one: most manifests have none.

        Raises:
            ManifestError: a column of few values has too many.
        """
        texts = pa.RecordBatch.from_arrays(
            [pc.fill_null(batch[f.name], "" if pa.types.is_large_string(f.type) else 0.0) for f in _TEXT_SCHEMA],
            schema=_TEXT_SCHEMA,
        )
        duration_sec = np.nan_to_num(texts["duration_sec"].to_numpy(), posinf=0.0, neginf=0.0)
        samples = np.clip(duration_sec, 0, 2**31 / SAMPLE_RATE) * SAMPLE_RATE
        numbers = {
            "num_samples": np.rint(np.clip(samples, 0, 2**31 - 1)).astype(np.int32),
            "text_bytes": pc.binary_length(texts["text"]).to_numpy().astype(np.int32),
            "id_hash": id_hashes(texts["id"].to_pylist()),
            "line": lines,
        } | {name: self._codes(name, batch[name]) for name in CODED}
        if channels is not None and (self._values[CHANNEL] or any(channels)):
            self._begin_channels()
            numbers[CHANNEL] = self._codes(CHANNEL, pa.array(channels, pa.large_string()))
        elif self._values[CHANNEL]:
            numbers[CHANNEL] = np.zeros(batch.num_rows, np.uint16)
        if self._folder is None:
            self._batches.append(texts)
            for name, part in numbers.items():
                self._parts[name].append(part)
        else:
            self._texts.write_batch(texts)
            for name, part in numbers.items():
                part.astype(_dtype(name), copy=False).tofile(self._files[name])
        self._num_rows += batch.num_rows

    def finish(self, fingerprint: str, origin: dict[str, Any] | None = None) -> ClipTable:
        """The table; in a folder, ``index.json`` with ``origin`` makes it whole."""
        values = {name: tuple(known) for name, known in self._values.items() if known or name != CHANNEL}
        if self._folder is None:
            numbers = {
                name: np.concatenate([np.empty(0, _dtype(name)), *parts]).astype(_dtype(name), copy=False)
                for name, parts in self._parts.items()
            }
            return ClipTable(pa.Table.from_batches(self._batches, _TEXT_SCHEMA), numbers, values, fingerprint)
        self.close()
        index = {
            "format_version": FORMAT_VERSION, "num_rows": self._num_rows, "fingerprint": fingerprint,
            "values": values, "origin": origin,
        }  # fmt: skip
        (self._folder / _INDEX).write_text(json.dumps(index, ensure_ascii=False) + "\n", encoding="utf-8")
        return open_table(self._folder, origin)

    def close(self) -> None:
        """Close the folder's files, whether or not the table is whole."""
        if self._folder is not None:
            self._texts.close()
            for file in self._files.values():
                file.close()

    def _begin_channels(self) -> None:
        """The column, with no channel for the rows before."""
        if self._values[CHANNEL]:
            return
        self._values[CHANNEL][""] = 0
        before = np.zeros(self._num_rows, np.uint16)
        if self._folder is None:
            self._parts[CHANNEL] = [before]
        else:
            self._files[CHANNEL] = (self._folder / CHANNEL).open("wb")
            before.tofile(self._files[CHANNEL])

    def _codes(self, name: str, column: pa.Array) -> npt.NDArray[np.uint16]:
        encoded = pc.fill_null(column, "").dictionary_encode()
        known = self._values[name]
        codes = [known.setdefault(value, len(known)) for value in encoded.dictionary.to_pylist()]
        if len(known) > _MAX_VALUES:
            raise ManifestError(
                f"column {name} has more than {_MAX_VALUES} different values", remedy="it names kinds, not clips"
            )
        indices: npt.NDArray[np.int32] = encoded.indices.to_numpy()
        return np.array(codes or [0], dtype=np.uint16)[indices]


def open_table(folder: Path, origin: dict[str, Any] | None) -> ClipTable:
    """A table that ``TableWriter`` has finished in ``folder``, mapped.

    Raises:
        ValueError, OSError: it is no whole table, of another version, or not made from ``origin``.
    """
    index = json.loads((folder / _INDEX).read_text("utf-8"))
    if index["format_version"] != FORMAT_VERSION or index["origin"] != origin:
        raise ValueError("another format, or made from another file")
    with pa.memory_map(str(folder / _TEXTS)) as source:
        texts = pa.ipc.open_file(source).read_all()
    num_rows = int(index["num_rows"])
    numbers: dict[str, npt.NDArray[Any]] = {}
    files: dict[str, BinaryIO] = {}
    for name in (*_NUMBERS, *({CHANNEL} & set(index["values"]))):
        dtype = _dtype(name)
        if (folder / name).stat().st_size != num_rows * dtype.itemsize:
            raise ValueError(f"column {name} is not whole")
        files[name] = (folder / name).open("rb")
        numbers[name] = np.memmap(files[name], dtype, "r") if num_rows else np.empty(0, dtype)
    if texts.num_rows != num_rows:
        raise ValueError("the texts are not whole")
    values = {name: tuple(known) for name, known in index["values"].items()}
    return ClipTable(texts, numbers, values, str(index["fingerprint"]), files)


def _dtype(name: str) -> np.dtype[Any]:
    found: np.dtype[Any] = np.dtype(_NUMBERS.get(name, np.uint16))
    return found


def id_hashes(ids: Iterable[str | None]) -> npt.NDArray[np.uint64]:
    """The first 64 bits of each id's SHA-256: what duplicates are looked for and validation clips chosen by. Equal ids
    have equal ones, and of twenty million others hardly two do."""
    digests = (hashlib.sha256((one or "").encode("utf-8", "surrogatepass")).digest()[:8] for one in ids)
    return np.frombuffer(b"".join(digests), dtype="<u8")
