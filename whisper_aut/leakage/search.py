"""Listening: fingerprints of evaluation clips into an index, training clips against it, by several processes.

Both directions are streams. What a process holds is the clip it listens to, a few evaluation clips that were confirmed
lately, and the mapped index, which all share.
"""

from __future__ import annotations

import multiprocessing
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.errors import AudioError, LoaderLost
from whisper_aut.leakage.confirm import Confirmation, confirm, confirm_at_speed
from whisper_aut.leakage.index import Candidate, LandmarkIndex, write_index
from whisper_aut.leakage.landmarks import Floats, Landmarks, find_peaks, index_landmarks
from whisper_aut.leakage.sides import Segment
from whisper_aut.machine import use_one_thread

QUERY_SEC = 30  # a longer training clip is asked about in pieces of this length
_BATCH_CLIPS = 32
_MAX_CACHED_SAMPLES = 2**25  # of evaluation clips, a process: 128 MB

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Fingerprint:
    """Of one evaluation clip: its landmarks, or why there are none."""

    landmarks: Landmarks | None
    num_samples: int
    problem: str = ""


@dataclass(frozen=True)
class Match:
    """A training clip shares audio with evaluation clip ``clip``; ``a`` of the confirmation is the training clip."""

    clip: int
    votes: int
    found: Confirmation


@dataclass
class Heard:
    """What listening to one training clip gave.

    Attributes:
        segment: the clip; None where a bare waveform was listened to.
        matches: evaluation clips that it shares audio with.
        duration_sec: of audio that was listened to.
        num_peaks: none in a clip of silence, which cannot be found.
        num_guesses: of landmarks, compared by waveform.
        closest: the wrong guess with the highest confidence.
        problem: why it could not be read; empty when it could.
    """

    segment: Segment | None = None
    matches: list[Match] = field(default_factory=list)
    duration_sec: float = 0.0
    num_peaks: int = 0
    num_guesses: int = 0
    closest: Match | None = None
    problem: str = ""


def build_index(
    folder: Path, clips: Sequence[Segment], *, workers: int, heard: Callable[[Segment, Fingerprint], None]
) -> None:
    """Write the index of evaluation clips; clip numbers are positions in ``clips``, unreadable ones have no landmarks.

    Args:
        folder: of the index.
        clips: in the order of their numbers.
        workers: processes; 0 for none but this one.
        heard: told each clip with its fingerprint, in order.
    """
    with write_index(folder) as index:
        prints = in_processes(fingerprint, clips, workers)
        for clip, found in zip(clips, prints, strict=True):
            index.add(found.landmarks or Landmarks.none(), found.num_samples)
            heard(clip, found)


def fingerprint(clip: Segment) -> Fingerprint:
    """Decode one clip and take its landmarks."""
    try:
        wave = clip.read()
    except AudioError as error:
        return Fingerprint(None, 0, error.what)
    return Fingerprint(index_landmarks(wave), len(wave))


def search(folder: Path, clips: Sequence[Segment], training: Iterable[Segment], *, workers: int) -> Iterator[Heard]:
    """Listen to training clips, in order, for audio of the ``clips`` whose index is in ``folder``."""
    return in_processes(_listen, training, workers, start=_start_listening, start_args=(folder, clips))


class _Waves:
    """Waveforms of evaluation clips, the last used ones kept."""

    def __init__(self, clips: Sequence[Segment]) -> None:
        self._clips, self._kept, self._num_samples = clips, OrderedDict[int, Floats](), 0

    def __getitem__(self, clip: int) -> Floats:
        if clip not in self._kept:
            self._kept[clip] = self._clips[clip].read()
            self._num_samples += len(self._kept[clip])
        self._kept.move_to_end(clip)
        wave = self._kept[clip]
        while self._num_samples > _MAX_CACHED_SAMPLES and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._num_samples -= len(oldest)
        return wave


class Listener:
    """What listening to training clips needs: the index of evaluation clips, and their waveforms."""

    def __init__(self, index: LandmarkIndex, clips: Sequence[Segment]) -> None:
        self.index, self.waves = index, _Waves(clips)


_listener: Listener | None = None  # of a process that listens


def _start_listening(folder: Path, clips: Sequence[Segment]) -> None:
    global _listener
    _listener = Listener(LandmarkIndex(folder), clips)


def _listen(segment: Segment) -> Heard:
    assert _listener is not None
    try:
        wave = segment.read()
    except AudioError as error:
        return Heard(segment, problem=error.what)
    return replace(listen_to(wave, _listener), segment=segment)


def listen_to(wave: Floats, listener: Listener) -> Heard:
    """What a training clip's waveform [S] shares with evaluation clips."""
    heard = Heard(duration_sec=len(wave) / SAMPLE_RATE)
    confirmed: dict[int, Match] = {}
    for start, stop in _pieces(len(wave)):
        peaks = find_peaks(wave[start:stop])
        heard.num_peaks += len(peaks)
        for candidate in listener.index.candidates(peaks):
            if candidate.clip in confirmed:
                continue
            heard.num_guesses += 1
            match = _compared(wave[start:stop], listener.waves[candidate.clip], candidate, start)
            if match is None:
                continue
            if match.found.shared:
                confirmed[candidate.clip] = match
            elif heard.closest is None or match.found.confidence > heard.closest.found.confidence:
                heard.closest = match
    heard.matches = list(confirmed.values())
    return heard


def _pieces(num_samples: int) -> Iterator[tuple[int, int]]:
    """Pieces of half a minute; what would be a short last piece belongs to the one before."""
    size = QUERY_SEC * SAMPLE_RATE
    starts = list(range(0, max(1, num_samples - size // 3), size))
    return zip(starts, [*starts[1:], num_samples], strict=True)


def _compared(wave: Floats, clip: Floats, candidate: Candidate, start: int) -> Match | None:
    """The waveforms' word on a guess, in the time of the whole training clip, of which ``wave`` begins at ``start``."""
    found = confirm(wave, clip, candidate.offset_sec) if candidate.speed == 1.0 else None
    # What many landmarks say and the waveforms deny may be played a little too fast or too slowly.
    if candidate.stands_out and not (found and found.shared):
        drifting = confirm_at_speed(wave, clip, candidate.offset_sec, candidate.speed)
        if found is None or (drifting is not None and drifting.shared):
            found = drifting
    return None if found is None else Match(candidate.clip, candidate.votes, found.later_by(start / SAMPLE_RATE))


def in_processes(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    *,
    start: Callable[..., None] | None = None,
    start_args: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """``function`` of each item, in order; only as many items are taken as keep the processes busy.

    Raises:
        LoaderLost: a process was killed.
    """
    if workers == 0:
        if start is not None:
            start(*start_args)
        yield from map(function, items)
        return
    stream = iter(items)
    # Not forked: the parent may have threads of Arrow's.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(start, start_args)) as pool:
        running: deque[Future[list[Result]]] = deque()
        try:
            while True:
                while len(running) < 2 * workers and (batch := list(islice(stream, _BATCH_CLIPS))):
                    running.append(pool.submit(_each, function, batch))
                if not running:
                    return
                yield from running.popleft().result()
        except BrokenProcessPool:
            raise LoaderLost(
                "a process that listens to clips was killed", remedy="look for a lack of memory; try fewer --workers"
            ) from None
        finally:
            for future in running:
                future.cancel()


def _start_worker(start: Callable[..., None] | None, start_args: tuple[Any, ...]) -> None:
    use_one_thread()
    if start is not None:
        start(*start_args)


def _each(function: Callable[[Item], Result], batch: list[Item]) -> list[Result]:
    return [function(item) for item in batch]
