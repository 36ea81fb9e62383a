"""What is finished of a build: a file for each batch, a state that says of which build; then the manifest of them."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whisper_aut.data.audit import Audit
from whisper_aut.data.channels import CHANNEL, CHANNEL_LISTS, from_text
from whisper_aut.data.clip_table import id_hashes
from whisper_aut.data.containers.ffmpeg import advice as ffmpeg_advice
from whisper_aut.data.manifest_counts import ManifestCounts
from whisper_aut.data.manifest_stream import whole_manifest
from whisper_aut.data.outputs import write_remedy
from whisper_aut.data.sources.content import same_content
from whisper_aut.data.sources.rows import Reject
from whisper_aut.errors import SourceError
from whisper_aut.files import whole_file, write_whole

_TEXTS = ("id", "audio", "offset_sec", "duration_sec", "text", "domain", "source", "language", "split", "license")
_SCHEMA = pa.schema(
    [(name, pa.float64() if name.endswith("_sec") else pa.string()) for name in (*_TEXTS, CHANNEL)]
    + [("where", pa.string()), ("unnamed", pa.bool_()), ("content", pa.int64()), ("level_db", pa.float32())]
)
_OURS = ("where", "unnamed", "content", "level_db")  # columns of parts that the manifest has not
_COUNTED = _SCHEMA.append(pa.field("num_tokens", pa.int32()))


def cannot_write(error: OSError, where: Path) -> SourceError:
    """The error for a disk that is full, or a folder that must not be written."""
    return SourceError(
        f"the build cannot be written: {error.strerror or error}",
        where=str(where),
        remedy=f"{write_remedy(error, where)}; the same command then goes on with what is finished",
    )


class Parts:
    """The folder of one source's build.

    Args:
        out: the manifest's folder; the build's own is ``out/.build/NAME``.
        name: of the source.
        counted: whether rows say how many tokens they have.
    """

    def __init__(self, out: Path, name: str, *, counted: bool) -> None:
        self.folder = out / ".build" / name
        self._parts = self.folder / "parts"
        self._state = self.folder / "state.json"
        self._schema = _COUNTED if counted else _SCHEMA
        self.rejects = self.folder / "rejects.jsonl"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One build at a time; the lock goes with the process, however that ends.

        Raises:
            SourceError: another build of the source is at work here.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SourceError(
                f"the build's folder cannot be made: {error.strerror or error}",
                where=str(self.folder),
                remedy=write_remedy(error, self.folder),
            ) from None
        try:
            with (self.folder / "lock").open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise SourceError(
                        "another build of this source is at work here",
                        where=str(self.folder),
                        remedy="wait for it, or give another --out",
                    ) from None
                yield
        except (NotADirectoryError, FileExistsError, PermissionError) as error:
            raise SourceError(f"the build's folder cannot be made: {error}", remedy="give another --out") from None

    def state(self) -> dict[str, Any]:
        """What is known of the build here; empty where there is none."""
        try:
            found: dict[str, Any] = json.loads(self._state.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # written whole: what is no JSON is not ours
            return {}
        return found

    def begin(self, state: dict[str, Any], *, anew: bool) -> None:
        """Say of which build the parts are; ``anew`` throws away those that are there."""
        if anew:
            shutil.rmtree(self._parts, ignore_errors=True)
        self._parts.mkdir(exist_ok=True)
        write_whole(self._state, json.dumps(state, indent=1))

    def has(self, key: str) -> bool:
        """Whether a batch is finished."""
        return (self._parts / f"{key}.parquet").is_file()

    def write(self, key: str, rows: Sequence[dict[str, Any]], rejects: Sequence[Reject]) -> None:
        """Keep a finished batch; the clips come last, and make it one."""
        lines = "".join(json.dumps(_as_dict(reject), ensure_ascii=False) + "\n" for reject in rejects)
        try:
            write_whole(self._parts / f"{key}.jsonl", lines.encode("utf-8", "replace").decode())
            with whole_file(self._parts / f"{key}.parquet") as file:
                pq.write_table(pa.Table.from_pylist(list(rows), schema=self._schema), file, compression="zstd")
        except OSError as error:
            raise cannot_write(error, self._parts) from None

    def finish(self, keys: Sequence[str], manifest: Path) -> tuple[ManifestCounts, dict[str, int], dict[str, Any]]:
        """Make the manifest and ``rejects.jsonl`` of all parts in order; (counts, rejects by reason, audit).

        A clip whose id an earlier one has is rejected.

        Raises:
            SourceError: no clip is left.
            ManifestError: the manifest cannot be written.
        """
        counts, audit, reasons = ManifestCounts(), Audit(), dict[str, int]()
        doubles = self._doubles(keys)
        channels = self._channel_type(keys)
        schema = pa.schema([field for field in self._schema if field.name not in (*_OURS, CHANNEL)])
        schema = schema if channels is None else schema.append(pa.field(CHANNEL, channels))
        with whole_file(self.rejects) as rejected:

            def reject(reject: dict[str, str]) -> None:
                rejected.write(json.dumps(reject, ensure_ascii=False).encode() + b"\n")
                kind = _kind(reject["reason"])
                reasons[kind] = reasons.get(kind, 0) + 1

            if not any(pq.read_metadata(self._part(key)).num_rows for key in keys):
                raise self._nothing_left(keys)
            with whole_manifest(manifest, schema) as writer:
                for key in keys:
                    table = pq.read_table(self._part(key))
                    drop = doubles.get(key, {})
                    for found in self._rejects(key):
                        reject(found)
                    for index, first in drop.items():
                        row = table.slice(index, 1).to_pylist()[0]
                        reject({"where": row["where"], "id": row["id"], "reason": f"is the id of {first} too"})
                    if drop:
                        table = table.filter(pa.array([index not in drop for index in range(len(table))]))
                    audit.add(table)
                    counts.add(table)
                    named = [from_text(text or "") for text in table[CHANNEL].to_pylist()]
                    table = table.drop_columns([*_OURS, CHANNEL])
                    if channels is not None:
                        single = channels == pa.int64()
                        values = [None if not some else some[0] if single else list(some) for some in named]
                        table = table.append_column(CHANNEL, pa.array(values, channels))
                    writer.write(table)
        content = same_content(*self._alike(keys, manifest.parent))
        by_count = dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
        return counts, by_count, audit.as_dict() | {"same_content": content}

    def done(self, state: dict[str, Any]) -> None:
        """The manifest stands: remember what it holds; the parts are no longer needed."""
        write_whole(self._state, json.dumps(state, indent=1, ensure_ascii=False))
        shutil.rmtree(self._parts, ignore_errors=True)

    def _nothing_left(self, keys: Sequence[str]) -> SourceError:
        rejects = [reject for key in keys for reject in self._rejects(key)]
        reasons = Counter(_kind(reject["reason"]) for reject in rejects)
        most = f", most because: {reasons.most_common(1)[0][0]}" if reasons else ": the lists are empty"
        first = f"{rejects[0]['where']}: {rejects[0]['reason']}" if rejects else str(self.folder)
        return SourceError(
            f"no clip is left: {len(rejects)} rejected{most}",
            where=first,
            remedy=ffmpeg_advice(reasons) or "check --data-root and the source's YAML",
        )

    def _channel_type(self, keys: Sequence[str]) -> pa.DataType | None:
        """Numbers, or lists where a clip is mixed of several; None where no clip names a channel."""
        found = [pc.unique(pq.read_table(self._part(key), columns=[CHANNEL])[CHANNEL]).to_pylist() for key in keys]
        texts = {text for values in found for text in values if text}
        return (CHANNEL_LISTS if any("," in text for text in texts) else pa.int64()) if texts else None

    def _part(self, key: str) -> Path:
        return self._parts / f"{key}.parquet"

    def _rejects(self, key: str) -> Iterator[dict[str, str]]:
        with (self._parts / f"{key}.jsonl").open(encoding="utf-8") as file:
            yield from (json.loads(line) for line in file)

    def _alike(self, keys: Sequence[str], folder: Path) -> tuple[list[list[str]], int]:
        """Groups of audio files that agree in size and beginning, and how many were looked at; 16 bytes a row."""
        columns = ["audio", "content"]
        prints, names = [], []
        for key in keys:
            table = pq.read_table(self._part(key), columns=columns)
            table = table.filter(pc.is_valid(table["content"]))
            prints.append(table["content"].to_numpy())
            names.append(id_hashes(table["audio"].to_pylist()))
        by_print, by_name = np.concatenate(prints), np.concatenate(names)
        order = np.lexsort((by_name, by_print))
        by_print, by_name = by_print[order], by_name[order]
        first = np.ones(len(order), dtype=bool)  # row of its file: clips share files
        first[1:] = (by_print[1:] != by_print[:-1]) | (by_name[1:] != by_name[:-1])
        values, counts = np.unique(by_print[first], return_counts=True)
        several, num_files = pa.array(values[counts > 1]), int(first.sum())
        if not len(several):
            return [], num_files
        groups: dict[int, dict[str, None]] = {}
        for key in keys:
            table = pq.read_table(self._part(key), columns=columns)
            for row in table.filter(pc.is_in(table["content"], value_set=several)).to_pylist():
                groups.setdefault(row["content"], {})[os.path.join(folder, row["audio"])] = None  # noqa: PTH118
        return [list(paths) for paths in groups.values()], num_files

    def _doubles(self, keys: Sequence[str]) -> dict[str, dict[int, str]]:
        """By batch, rows whose id an earlier row has, and where that stands; eight bytes a row in memory."""
        hashes = [id_hashes(pq.read_table(self._part(key), columns=["id"])["id"].to_pylist()) for key in keys]
        joined = np.concatenate(hashes) if hashes else np.zeros(0, dtype=np.uint64)
        values, counts = np.unique(joined, return_counts=True)
        several = values[counts > 1]
        found: dict[str, dict[int, str]] = {}
        if not len(several):
            return found
        first: dict[str, str] = {}
        for key, some in zip(keys, hashes, strict=True):
            suspects = np.flatnonzero(np.isin(some, several))
            if len(suspects):
                rows = pq.read_table(self._part(key), columns=["id", "where"]).take(pa.array(suspects)).to_pylist()
                for index, row in zip(suspects.tolist(), rows, strict=True):
                    if row["id"] in first:
                        found.setdefault(key, {})[index] = first[row["id"]]
                    else:
                        first[row["id"]] = row["where"]
        return found


def _as_dict(reject: Reject) -> dict[str, str]:
    return {"where": reject.where, "id": reject.id, "reason": reject.reason}


def _kind(reason: str) -> str:
    """A reason without what differs from row to row, so that they can be counted."""
    short = re.sub(r"'[^']*'", "'…'", reason)
    short = re.sub(r"there is no file .*", "there is no file", short)
    short = re.sub(r"is the id of .* too", "the id is that of an earlier clip", short)
    return re.sub(r"\d+(?:\.\d+)?", "N", short)[:120]
