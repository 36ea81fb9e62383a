"""Data sets of the hub, read by ``datasets`` and not decoded: local Parquet or Arrow files, or a stream."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisper_aut.data.sources.paths import find_files
from whisper_aut.data.sources.rows import Reject, Row, batch_key
from whisper_aut.data.sources.spec import HubPart, HubRead
from whisper_aut.errors import SourceError, first_line


@dataclass(frozen=True)
class HubBatch:
    """One file, or one shard of a stream; whoever works on it reads it: no audio goes between processes.

    Attributes:
        files: local files; empty for a stream.
        stream: (data set, configuration, split) of a stream.
        shard: (which, of how many) of the stream.
    """

    key: str
    split: str
    columns: tuple[str, ...]
    audio: str
    files: tuple[str, ...] = ()
    stream: tuple[str, str | None, str] | None = None
    shard: tuple[int, int] = (0, 1)
    limit: int | None = None

    def rows(self) -> Iterator[Row | Reject]:
        """See :class:`whisper_aut.data.sources.rows.Batch`.

        Raises:
            SourceError: the data cannot be read, or lack a column.
        """
        from datasets import Audio

        data = _local(self.files) if self.stream is None else _streamed(self.stream)
        if self.stream is not None and self.shard[1] > 1:
            data = data.shard(num_shards=self.shard[1], index=self.shard[0])
        where = self.files[0] if self.files else f"{'/'.join(filter(None, self.stream or ()))}[{self.shard[0]}]"
        known = list(data.column_names or self.columns)
        for name in (*self.columns, self.audio):
            if name not in known:
                raise SourceError(
                    f"the data have no column '{name}'; they have {', '.join(known)}", where=where, remedy=_REMEDY
                )
        data = data.select_columns([*self.columns, *({self.audio} - set(self.columns))])
        data = data.cast_column(self.audio, Audio(decode=False))
        if self.limit is not None:
            data = data.take(self.limit)
        number = 0
        try:
            for columns in data:
                number += 1
                yield Row(columns, f"{where}:{number}")
        except Exception as error:  # pyarrow's, fsspec's, the hub's: there is no common ancestor
            if isinstance(error, GeneratorExit):
                raise
            raise SourceError(
                f"the data cannot be read: {first_line(error)}", where=f"{where}:{number + 1}", remedy=_REMEDY
            ) from None


_REMEDY = "get the files again, or correct the source's YAML"


def hub_batches(
    read: HubRead, split: str, root: Path | None, columns: Collection[str], limit: int | None
) -> Iterator[HubBatch]:
    """Units of one split, a file or a shard each; ``root`` None streams from the hub.

    Raises:
        SourceError: a file is missing, or the hub does not answer.
    """
    wanted = tuple(sorted(columns))
    number = 0
    left = limit
    for part in read.splits[split]:  # type: ignore[index]
        units = _stream_units(read, part, limit) if root is None else _file_units(part, root)
        for unit in units:
            if left is not None and left <= 0:
                return
            yield HubBatch(batch_key(split, number), split, wanted, read.audio, limit=left, **unit)
            number += 1
            if left is not None and root is not None:
                left -= _num_rows(Path(unit["files"][0]))


def _file_units(part: HubPart, root: Path) -> Iterator[dict[str, Any]]:
    for pattern in part.files:
        for path in find_files(root, pattern):
            yield {"files": (str(path),)}


def _stream_units(read: HubRead, part: HubPart, limit: int | None) -> Iterator[dict[str, Any]]:
    stream = (read.path, part.config, part.split)
    # How many rows a shard has is not known beforehand, so the first rows are those of one shard over all.
    num_shards = 1 if limit is not None else int(_streamed(stream).num_shards)
    for index in range(num_shards):
        yield {"stream": stream, "shard": (index, num_shards)}


def _num_rows(path: Path) -> int:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return int(pq.read_metadata(path).num_rows)
    return sum(1 for _ in _local((str(path),)))


def _local(files: tuple[str, ...]) -> Any:
    import datasets

    suffix = Path(files[0]).suffix
    if suffix not in {".parquet", ".arrow"}:
        raise SourceError(f"'{suffix}' is no data that are read", where=files[0], remedy="give Parquet or Arrow files")
    try:
        return datasets.load_dataset(
            suffix.removeprefix("."), data_files={"part": list(files)}, split="part", streaming=True
        )
    except Exception as error:
        raise SourceError(f"the data cannot be read: {first_line(error)}", where=files[0], remedy=_REMEDY) from None


def _streamed(stream: tuple[str, str | None, str]) -> Any:
    import datasets

    path, config, split = stream
    try:
        return datasets.load_dataset(path, config, split=split, streaming=True)
    except Exception as error:
        where = " ".join(filter(None, stream))
        raise SourceError(
            f"the hub does not give the data: {first_line(error)}",
            where=where,
            remedy="check the connection, and that you may read the data set (hf auth login); or get its files and "
            "leave --stream away",
        ) from None
