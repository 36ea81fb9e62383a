"""Notices a rank that died or hangs, says which and where, and ends the run: collectives would wait half an hour.

Every rank has a thread that writes into the launch's store what its main thread is doing, every two seconds. Rank 0
reads all of them, the others read rank 0's; whoever finds a fault writes one verdict that all of them read. The store
needs no collective, so that this works whatever the main threads are stuck in.

A rank that was not heard of for 40 seconds counts as dead; the environment variable ``WHISPER_AUT_DEAD_SEC`` sets
another number, the same for all ranks: a larger one where machines stand still for longer.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import math
import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from whisper_aut.errors import (
    EXIT_RANK_LOST,
    EnvironmentProblem,
    Interrupted,
    RankLost,
    WhisperAutError,
    first_line,
)

# A rank that is not heard of for so long is dead or its machine is; all end within a minute of a death.
DEAD_SEC = 40.0
_DEAD_SEC_VARIABLE = "WHISPER_AUT_DEAD_SEC"
_MAX_BEAT_SEC = 2.0
_VERDICT = "watchdog/verdict"


class Watchdog:
    """Watches the main thread of every rank while entered.

    Args:
        store: of the launch; used by this object's thread alone, so a clone of the one that collectives use.
        rank: of this process.
        world_size: number of ranks.
        stall_sec: seconds that a main thread may stay at one place.
        advice: what to do after a rank was lost, for the message.

    Raises:
        EnvironmentProblem: ``WHISPER_AUT_DEAD_SEC`` is no number of seconds.
    """

    def __init__(self, store: Store, *, rank: int, world_size: int, stall_sec: float, advice: str) -> None:
        self._dead_sec = _read_dead_sec()
        self._beat_sec = min(_MAX_BEAT_SEC, self._dead_sec / 20)
        self._store, self._rank, self._world_size = store, rank, world_size
        self._stall_sec, self._advice = stall_sec, advice
        self._place: str | Callable[[], str] = "starting"
        self._since_sec, self._patient, self._waits_for_ranks = time.monotonic(), True, False
        self._seen: dict[int, tuple[str, float]] = {}  # rank: its last beat, and when it changed
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._num_beats = 0

    def at(self, place: str | Callable[[], str], *, patient: bool = False, waits_for_ranks: bool = False) -> None:
        """The main thread is at ``place`` now.

        Args:
            place: for messages; a callable is asked only where the place is looked at.
            patient: nobody can say how long it may take.
            waits_for_ranks: what it does ends when other ranks do their part, so that this rank is not the culprit.
        """
        self._place, self._since_sec = place, time.monotonic()
        self._patient, self._waits_for_ranks = patient, waits_for_ranks

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # All ranks leave together when a stop was asked for, or when the run is done; any other error is one rank's.
        alone = error is not None and not isinstance(error, Interrupted | RankLost)
        lost = self._lost_peer(error) if alone and error is not None else None
        self._ended.set()  # from here on this rank speaks for itself
        if alone and lost is None and self._world_size > 1:
            assert error is not None
            ours = error if isinstance(error, WhisperAutError) else None
            what = ours.what if ours is not None else f"{type(error).__name__}: {error}"
            self._publish(
                f"rank {self._rank} ended with an error: {what}",
                code=ours.exit_code if ours is not None else EXIT_RANK_LOST,
                remedy=ours.remedy if ours is not None else None,
            )
            if self._rank == 0:
                time.sleep(2 * self._beat_sec)  # the store ends with this process; the others read it first
        self._thread.join(2 * self._beat_sec)
        if lost is not None:
            raise lost from None

    def _lost_peer(self, error: BaseException) -> RankLost | None:
        """Which rank is behind a broken connection, once its silence has been long enough to tell."""
        if not (isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and _is_connection(str(error)))):
            return None
        self.at("a connection to another rank broke; finding out which", patient=True)
        self._ended.wait(2 * self._dead_sec)  # the thread ends the process as soon as it knows
        return RankLost(f"a connection between ranks broke: {first_line(error)}", remedy=self._advice)

    def _watch(self) -> None:
        """The thread: beat, look, and end the process on a verdict."""
        reached_sec = time.monotonic()
        # A store whose machine is frozen answers never: asked by a thread of its own, which can be left waiting.
        asking = ThreadPoolExecutor(1, thread_name_prefix="watchdog-store")
        while not self._ended.wait(self._beat_sec):
            problem = "it does not answer"
            try:
                verdict = asking.submit(self._round).result(self._dead_sec)
                reached_sec = time.monotonic()
                if verdict is not None:
                    self._leave(verdict)
            except (RuntimeError, ConnectionError) as error:
                problem = first_line(error)
            except TimeoutError:
                pass
            if time.monotonic() - reached_sec > self._dead_sec / 2:
                unheard = f"cannot be reached for {self._dead_sec / 2:.0f} s: {problem}"
                what = f"rank 0, which holds the common store, {unheard}"
                self._leave({"what": what, "code": EXIT_RANK_LOST, "remedy": self._advice, "stalled": False})

    def _round(self) -> dict[str, Any] | None:
        """Write this rank's beat, read those of others; the verdict, if there is one."""
        self._store.set(f"watchdog/{self._rank}", json.dumps(self._beat()))
        if not self._store.check([_VERDICT]) and (fault := self._look()) is not None:
            self._publish(fault.what, stalled=fault.stalled)
        return dict(json.loads(self._store.get(_VERDICT))) if self._store.check([_VERDICT]) else None

    def _beat(self) -> dict[str, Any]:
        self._num_beats += 1
        at_sec = time.monotonic() - self._since_sec
        return {
            "beat": self._num_beats, "host": socket.gethostname(), "pid": os.getpid(), "place": self._described(),
            "at_sec": at_sec, "stalled": not self._patient and at_sec > self._stall_sec,
            "waits_for_ranks": self._waits_for_ranks,
        }  # fmt: skip

    def _described(self) -> str:
        try:
            return self._place if isinstance(self._place, str) else self._place()
        except Exception as error:  # a place that cannot be described must not silence this rank
            return f"at a place that cannot be described ({type(error).__name__}: {error})"

    def _look(self) -> _Fault | None:
        """What is wrong with another rank, or with this one."""
        now_sec = time.monotonic()
        watched = range(self._world_size) if self._rank == 0 else (0,)
        keys = {rank: f"watchdog/{rank}" for rank in watched if self._store.check([f"watchdog/{rank}"])}
        beats = {rank: self._store.get(key).decode() for rank, key in keys.items()}
        for rank in watched:
            text = beats.get(rank, "")
            if rank not in self._seen or self._seen[rank][0] != text:
                self._seen[rank] = (text, now_sec)
        for rank, (text, seen_sec) in self._seen.items():
            if now_sec - seen_sec > self._dead_sec:
                beat = json.loads(text) if text else None
                who = f"rank {rank}" + (f" (process {beat['pid']} on {beat['host']})" if beat else "")
                why = "killed, out of memory, or its machine is lost"
                last = f"; it was last {beat['place']}" if beat else ", right after the start"
                return _Fault(f"{who} has not been heard of for {now_sec - seen_sec:.0f} s: {why}{last}", stalled=False)
        return _who_hangs({rank: json.loads(text) for rank, text in beats.items()}) if self._rank == 0 else None

    def _publish(
        self, what: str, *, code: int = EXIT_RANK_LOST, remedy: str | None = None, stalled: bool = False
    ) -> None:
        """One verdict for all; the first one counts."""
        verdict = {"what": what, "code": code, "remedy": remedy or self._advice, "stalled": stalled}
        with contextlib.suppress(RuntimeError, ConnectionError):  # gone with rank 0; the others notice that themselves
            self._store.compare_set(_VERDICT, "", json.dumps(verdict))

    def _leave(self, verdict: dict[str, Any]) -> None:
        """End this process: its main thread cannot be reached."""
        if self._ended.is_set():
            return
        who = f"error (rank {self._rank})" if self._world_size > 1 else "error"
        print(f"{who}: {verdict['what']}\n  remedy: {verdict['remedy']}", file=sys.stderr, flush=True)
        if verdict["stalled"]:
            faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        if self._rank == 0:
            time.sleep(2 * self._beat_sec)  # the others read the verdict in rank 0's store first
        for child in multiprocessing.active_children():
            child.kill()  # a loader that hangs would outlive this process
        os._exit(int(verdict["code"]))


@dataclass(frozen=True)
class _Fault:
    """What is wrong with a rank; ``stalled`` where it lives and hangs, so that stacks say more."""

    what: str
    stalled: bool


def _read_dead_sec() -> float:
    asked = os.environ.get(_DEAD_SEC_VARIABLE, "")
    try:
        dead_sec = float(asked or DEAD_SEC)
    except ValueError:
        dead_sec = 0.0
    if not 1 <= dead_sec < math.inf:
        raise EnvironmentProblem(
            f"{_DEAD_SEC_VARIABLE} is '{asked}', not a number of seconds from 1", remedy=f"unset it for {DEAD_SEC:.0f}"
        )
    return dead_sec


def _is_connection(message: str) -> bool:
    """Whether gloo or NCCL says that the other side is gone; gloo raises plain RuntimeErrors."""
    return any(sign in message for sign in ("gloo", "Gloo", "NCCL", "Connection closed", "Connection reset"))


def _who_hangs(beats: dict[int, dict[str, Any]]) -> _Fault | None:
    """All ranks stall when one does; the culprit is where the others are not: not waiting for other ranks."""
    busy = {rank: beat for rank, beat in beats.items() if not beat["waits_for_ranks"]}
    culprits = {rank: beat for rank, beat in (busy or beats).items() if beat["stalled"]}
    if not culprits or (not busy and len(culprits) < len(beats)):
        return None  # who waits for one that works does not hang
    named = "; ".join(
        f"rank {rank} (process {beat['pid']} on {beat['host']}) hangs for {beat['at_sec']:.0f} s {beat['place']}"
        for rank, beat in culprits.items()
    )
    others = sorted(set(beats) - set(culprits))
    return _Fault(named + (f"; rank(s) {', '.join(map(str, others))} wait for it" if others else ""), stalled=True)
