"""Manifests from sources, in several processes: what is finished stays finished, and the outcome is always the same.

Lists are parsed once, here; other processes look at the audio and make the clips. A batch that is done is a file, so
that a build which is killed at any moment goes on where it was when the same command is run again.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Literal

from whisper_aut.data.captions import TextEncoder, load_tokenizer
from whisper_aut.data.sources.clips import ClipMaker
from whisper_aut.data.sources.parts import Parts
from whisper_aut.data.sources.readers import iter_batches, label_names, list_files
from whisper_aut.data.sources.rows import Batch, Reject
from whisper_aut.data.sources.spec import HubRead, SourceSpec
from whisper_aut.errors import LoaderLost, SourceError
from whisper_aut.files import existing_form, missing_hint
from whisper_aut.machine import use_one_thread
from whisper_aut.progress import Progress

_FORM = 3  # of what a build writes; another one cannot go on with its parts


@dataclass(frozen=True)
class BuildOptions:
    """What all sources of a build share.

    Attributes:
        data_root: folder that corpora are in, by their own folders' names.
        out: folder of manifests, rejects and summary.
        num_workers: processes; 1 works in this one.
        splits: that are built; None: all of the source.
        limit: rows that are read of each split; None: all.
        form: of the manifest.
        tokenizer_dir: folder with Whisper's ``tokenizer.json``, to count tokens.
        stream: read data sets of the hub from there, not from ``data_root``.
        fresh: begin anew where an unfinished build of other options stands.
        check_audio: decode every clip: one that cannot be read is rejected, and the audit knows how loud clips are.
    """

    data_root: Path
    out: Path
    num_workers: int = 1
    splits: Sequence[str] | None = None
    limit: int | None = None
    form: Literal["parquet", "jsonl"] = "parquet"
    tokenizer_dir: Path | None = None
    stream: bool = False
    fresh: bool = False
    check_audio: bool = False
    show_progress: bool = False


def build_source(spec: SourceSpec, options: BuildOptions) -> dict[str, Any]:
    """Write ``out/NAME.parquet`` and say what it holds; one that stands already is left as it is.

    Raises:
        SourceError: the corpus is not there or not as its source says, or no clip is left.
        LoaderLost: a process was killed.
        ManifestError: the manifest cannot be written.
    """
    root = _root(spec, options)
    splits = _splits(spec, options)
    parts = Parts(options.out, spec.name, counted=options.tokenizer_dir is not None)
    manifest = options.out / f"{spec.name}.{options.form}"
    with parts.locked():
        fingerprint = _fingerprint(spec, root, splits, options)
        state = parts.state()
        same = state.get("fingerprint") == fingerprint
        if same and "summary" in state and manifest.is_file():
            return {**state["summary"], "was_there": True}
        if state and not same and "summary" not in state and not options.fresh:
            raise SourceError(
                f"an unfinished build of {spec.name} with other options, another YAML or other lists is here",
                where=str(parts.folder),
                remedy="give the same options to go on with it, or --fresh to begin anew",
            )
        parts.begin({"fingerprint": fingerprint, "source": spec.name}, anew=not same)
        maker = ClipMaker(spec, root, options.out.resolve(), label_names(spec, root), check_audio=options.check_audio)
        keys = _work(maker, parts, splits, options)
        counts, rejected, audit = parts.finish(keys, manifest)
        summary = {
            "source": spec.name,
            "title": spec.title,
            "manifest": manifest.name,
            "license": spec.license,
            "commercial": spec.commercial,
            **counts.as_dict(),
            "rejected": rejected,
            "audit": audit,
        }
        parts.done({"fingerprint": fingerprint, "source": spec.name, "summary": summary})
    return {**summary, "was_there": False}


def _root(spec: SourceSpec, options: BuildOptions) -> Path | None:
    if options.stream and isinstance(spec.read, HubRead):
        return None
    root = Path(existing_form(os.fspath(options.data_root / spec.folder)))
    if not root.is_dir():
        streamed = ", or read it from the hub with --stream" if isinstance(spec.read, HubRead) else ""
        raise SourceError(
            f"{spec.title} is not at {root}{missing_hint(root)}",
            where=spec.name,
            remedy=f"get it{streamed}: {spec.get}",
        )
    return root.resolve()


def _splits(spec: SourceSpec, options: BuildOptions) -> list[str]:
    known = list(spec.read.splits)
    if options.splits is None:
        return list(known)
    for split in options.splits:
        if split not in known:
            raise SourceError(f"{spec.name} has no split '{split}'", remedy=f"choose from {', '.join(known)}")
    return [split for split in known if split in options.splits]


def _fingerprint(spec: SourceSpec, root: Path | None, splits: Sequence[str], options: BuildOptions) -> str:
    """Of all that the outcome depends on; the audio itself and the number of processes are not in it."""
    lists = [] if root is None else [(str(path), path.stat().st_size, path.stat().st_mtime_ns)
                                     for path in list_files(spec, root)]  # fmt: skip
    tokenizer = None
    if options.tokenizer_dir is not None:
        tokenizer = hashlib.sha256((options.tokenizer_dir / "tokenizer.json").read_bytes()).hexdigest()
    known = [
        _FORM,
        spec.model_dump(mode="json"),
        str(root),
        list(splits),
        options.limit,
        options.form,
        options.check_audio,
        tokenizer,
        lists,
    ]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def _work(maker: ClipMaker, parts: Parts, splits: Sequence[str], options: BuildOptions) -> list[str]:
    """Do all batches that are not done; their keys in order."""
    keys: list[str] = []
    progress = Progress(f"build {maker.spec.name}", None, unit="rows", enabled=options.show_progress)
    num_before = 0

    def todo() -> Iterator[Batch]:
        nonlocal num_before
        for split in splits:
            for batch in iter_batches(maker.spec, split, maker.root, options.limit):
                keys.append(batch.key)
                if parts.has(batch.key):
                    num_before += 1
                else:
                    yield batch

    task = _Task(maker, parts, options.tokenizer_dir)
    if options.num_workers <= 1:
        for batch in todo():
            progress.advance(task.run(batch))
    else:
        _in_processes(task, todo(), options.num_workers, progress)
    progress.end(f"{num_before} batches were finished before" if num_before else "")
    return keys


@dataclass
class _Task:
    """What every process does with a batch; the tokenizer is read where it is used."""

    maker: ClipMaker
    parts: Parts
    tokenizer_dir: Path | None

    def run(self, batch: Batch) -> int:
        """Make the batch's clips and keep them; the number of rows that were read."""
        if self.tokenizer_dir is not None and self.maker.text_encoder is None:
            encoder = TextEncoder(load_tokenizer(self.tokenizer_dir))
            self.maker = replace(self.maker, text_encoder=encoder)
        clips: list[dict[str, Any]] = []
        rejects: list[Reject] = []
        num_rows = 0
        for row in batch.rows():
            num_rows += 1
            if isinstance(row, Reject):
                rejects.append(row)
                continue
            for made in self.maker.clips(row, batch.split):
                if isinstance(made, Reject):
                    rejects.append(made)
                else:
                    clips.append(made)
        self.parts.write(batch.key, clips, rejects)
        return num_rows


def _in_processes(task: _Task, batches: Iterator[Batch], num_workers: int, progress: Progress) -> None:
    # Spawned, not forked: Arrow and soundfile have threads and locks that a fork would copy in mid-air.
    context = get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_start_worker, initargs=(task,))
    running: set[Future[int]] = set()
    try:
        for batch in batches:
            running.add(pool.submit(_run, batch))
            if len(running) >= 2 * num_workers:  # lists are read faster than audio is looked at
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    progress.advance(future.result())
        for future in running:
            progress.advance(future.result())
    except BrokenProcessPool:
        raise LoaderLost(
            "a process of the build was killed, perhaps for memory",
            where=task.maker.spec.name,
            remedy="run the same command again: it goes on with what is finished; fewer --num-workers take less memory",
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_task: _Task | None = None


def _start_worker(task: _Task) -> None:
    global _task
    _task = task
    use_one_thread()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's processes wait for work forever when their parent is killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(batch: Batch) -> int:
    assert _task is not None, "the pool has started the worker"
    return _task.run(batch)
