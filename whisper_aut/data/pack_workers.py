"""Clips decoded and encoded by several processes, given back in the order in which they were asked for."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice

from whisper_aut.data.audio import read_waveform
from whisper_aut.data.channels import Channels
from whisper_aut.data.encode import AudioFormat, Encoded, encode
from whisper_aut.data.locate import AudioSource
from whisper_aut.errors import AudioError, EnvironmentProblem
from whisper_aut.machine import use_one_thread

_CLIPS_PER_TASK = 8
_TASKS_AHEAD = 3  # of each process


@dataclass(frozen=True, slots=True)
class Job:
    """One clip to encode: ``row`` comes back with the result; where ``source`` is a text, it says why there is none."""

    row: int
    clip_id: str
    source: AudioSource | str
    offset_sec: float
    duration_sec: float
    channels: Channels = ()


def encoded_clips(
    jobs: Iterable[Job], audio_format: AudioFormat, num_workers: int
) -> Iterator[tuple[Job, Encoded | str]]:
    """Every job with its audio file, or with the reason why there is none; at most a few dozen are in memory.

    Args:
        jobs: taken as they are needed.
        audio_format: of the files.
        num_workers: processes; 0 encodes here.

    Raises:
        EnvironmentProblem: a process died, or a package for a URL is missing.
    """
    tasks = _tasks(jobs)
    if not num_workers:
        for task in tasks:
            yield from _encode_task(task, audio_format)
        return
    # Fresh processes: a fork would copy the locks of Arrow's threads.
    pool = ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), initializer=_start)
    ahead: deque[Future[list[tuple[Job, Encoded | str]]]] = deque()
    try:
        for task in tasks:
            ahead.append(pool.submit(_encode_task, task, audio_format))
            if len(ahead) > num_workers * _TASKS_AHEAD:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()
    except BrokenProcessPool:
        raise EnvironmentProblem(
            "a process that encodes clips was killed",
            remedy="if memory ran out, give a smaller --num-workers; the same command goes on where it stopped",
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _tasks(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    left = iter(jobs)
    while task := list(islice(left, _CLIPS_PER_TASK)):
        yield task


def _encode_task(task: list[Job], audio_format: AudioFormat) -> list[tuple[Job, Encoded | str]]:
    return [(job, _encode(job, audio_format)) for job in task]


def _encode(job: Job, audio_format: AudioFormat) -> Encoded | str:
    if isinstance(job.source, str):
        return job.source
    try:
        waveform = read_waveform(
            job.source,
            offset_sec=job.offset_sec,
            duration_sec=job.duration_sec,
            clip_id=job.clip_id,
            channels=job.channels,
        )
    except AudioError as error:
        return error.what
    return encode(waveform, audio_format)


def _start() -> None:
    """The parent ends the work; where it was killed, its processes would wait for tasks for ever."""
    use_one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def leave_with_parent() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
