"""Micro-batches of the plan as tensors, decoded in worker processes, in the plan's order.

Legend: B clips in a micro-batch, S samples, L text tokens.
"""

from __future__ import annotations

import atexit
import multiprocessing
import signal
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from whisper_aut.constants import HOP_LENGTH, IGNORE_LABEL, MAX_TOKENS, Domain, context_frames
from whisper_aut.data.audio import read_clip
from whisper_aut.data.captions import TextEncoder
from whisper_aut.data.containers.ffmpeg import advice as ffmpeg_advice
from whisper_aut.data.manifest import Clip
from whisper_aut.data.overlay import Overlay, joined_text, overlaid
from whisper_aut.data.plan import ClipRef, MicroBatch, Plan
from whisper_aut.data.pool import Pool
from whisper_aut.data.quarantine import QuarantineEntry
from whisper_aut.data.silence import Silence
from whisper_aut.errors import AudioError, LoaderLost, ManifestError, WhisperAutError, first_line

MAX_ATTEMPTS = 9  # the clip itself and eight substitutes; then the loader gives up
TOKEN_BUCKET = 8  # text is padded to a multiple of it: few shapes, so that kernels made for one are met again
_DEATH_SEC = 5.0  # between a broken connection and the death of the process behind it
_PREFETCH = 4  # micro-batches that each worker keeps ready


@dataclass(frozen=True)
class Batch:
    """One micro-batch, ready for the model.

    Attributes:
        waveforms: float32 [B, S], S = ``micro_batch.num_frames`` * 160, silence behind each clip.
        num_samples: long [B], samples of audio in each waveform.
        decoder_input_ids: long [B, L], ended by end tokens.
        labels: long [B, L], ``IGNORE_LABEL`` over prompt and padding.
        domains: of the clips.
        ids: of the clips.
        micro_batch: what the plan asked for; ``ids`` has substitutes in place of unreadable clips.
        quarantined: clips that were found unreadable, or silent where the recipe wants no such clips.
        silent: clips of the batch in which nothing is heard.
    """

    waveforms: Tensor
    num_samples: Tensor
    decoder_input_ids: Tensor
    labels: Tensor
    domains: tuple[Domain, ...]
    ids: tuple[str, ...]
    micro_batch: MicroBatch
    quarantined: tuple[QuarantineEntry, ...]
    silent: tuple[QuarantineEntry, ...] = ()

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, from which copies to a GPU run beside other work."""
        return replace(
            self,
            waveforms=self.waveforms.pin_memory(),
            num_samples=self.num_samples.pin_memory(),
            decoder_input_ids=self.decoder_input_ids.pin_memory(),
            labels=self.labels.pin_memory(),
        )

    def to(self, device: torch.device | str) -> Batch:
        """The batch with its tensors on ``device``."""
        return replace(
            self,
            waveforms=self.waveforms.to(device, non_blocking=True),
            num_samples=self.num_samples.to(device, non_blocking=True),
            decoder_input_ids=self.decoder_input_ids.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
        )


def step_batches(
    plan: Plan,
    pools: Mapping[Domain, Pool],
    text_encoder: TextEncoder,
    *,
    rank: int,
    world_size: int,
    start_step: int,
    num_steps: int,
    num_workers: int,
    pin_memory: bool = False,
) -> Iterator[tuple[int, list[Batch]]]:
    """Steps ``start_step`` to ``start_step + num_steps - 1`` with this rank's batches, in the plan's order.

    The workers start at this call: made before the model grows its optimizer, they do not hold on to memory that
    training rewrites later. What the caller waits in ``next()`` is what it waits for data.

    Args:
        plan: which clips.
        pools: training pools of the corpus.
        text_encoder: for the texts.
        rank: of this process, from 0.
        world_size: number of ranks; divides the plan's micro-batches per step.
        start_step: first step, from 0.
        num_steps: how many.
        num_workers: decoding processes; 0 decodes here.
        pin_memory: of the batches; for a GPU.

    Raises:
        RecipeError: ``world_size`` does not divide the step.
        ManifestError: clip after clip is unreadable, or a path leaves its manifest's folder.
    """
    plan.check_world_size(world_size)
    share = plan.micro_batches_per_step // world_size
    dataset = _Batches(_Share(plan, rank, world_size), pools, text_encoder, plan.substitute, plan.partner)
    order = range(start_step * share, (start_step + num_steps) * share)
    batches = _load(dataset, order, num_workers, pin_memory=pin_memory)
    # Not `yield`: what is wrong with the arguments is said now, not at the first step, and the workers start now: made
    # before the model grows its optimizer, they do not hold on to memory that training rewrites later.
    return ((step, [next(batches) for _ in range(share)]) for step in range(start_step, start_step + num_steps))


def validation_batches(
    pool: Pool, domain: Domain, text_encoder: TextEncoder, micro_batch_clips: int, *, num_workers: int = 0
) -> Iterator[Batch]:
    """All clips of ``pool`` once, by length, each batch trimmed to its longest clip; the last may be smaller.

    An unreadable clip is left out and named in ``quarantined`` of its batch; a batch of which nothing is left is not
    yielded, and the next one (after the last, the one before) names its clips.

    Raises:
        ManifestError: no clip of the pool is readable, or a path leaves its manifest's folder.
    """
    assert pool.domain == domain
    by_length = np.argsort(pool.num_samples, kind="stable")
    parts = [by_length[start : start + micro_batch_clips] for start in range(0, len(pool), micro_batch_clips)]
    micro_batches = [
        MicroBatch(
            step=0,
            index=index,
            clips=tuple(ClipRef(domain, int(row)) for row in rows),
            context="trimmed",
            num_frames=context_frames(int(pool.num_samples[rows].max()), "trimmed"),
        )
        for index, rows in enumerate(parts)
    ]
    lost: tuple[QuarantineEntry, ...] = ()
    ready: Batch | None = None  # held back, so that it can name the lost clips of batches after it
    dataset = _Batches(micro_batches.__getitem__, {domain: pool}, text_encoder, substitute=None)
    for batch in _load(dataset, range(len(micro_batches)), num_workers):
        lost += batch.quarantined
        if batch.ids:
            if ready is not None:
                yield ready
            ready, lost = replace(batch, quarantined=lost), ()
    if ready is not None:
        yield replace(ready, quarantined=ready.quarantined + lost)
    elif lost:
        raise _unreadable(lost)


@dataclass(frozen=True)
class _Share:
    """The rank's micro-batches, counted through all steps."""

    plan: Plan
    rank: int
    world_size: int

    def __call__(self, index: int) -> MicroBatch:
        step, place = divmod(index, self.plan.micro_batches_per_step // self.world_size)
        return self.plan.rank_share(step, self.rank, self.world_size)[place]


class _Batches(Dataset["Batch | WhisperAutError"]):
    """Number to batch. An error of the user's is an item, since raised in a worker it would lose its form."""

    def __init__(
        self,
        micro_batch: Callable[[int], MicroBatch],
        pools: Mapping[Domain, Pool],
        text_encoder: TextEncoder,
        substitute: Callable[[ClipRef, int], ClipRef] | None,
        partner: Callable[[ClipRef, int], tuple[ClipRef, Overlay] | None] | None = None,
    ) -> None:
        self._micro_batch, self._pools = micro_batch, pools
        self._text_encoder, self._substitute, self._partner = text_encoder, substitute, partner

    def __getitem__(self, index: int) -> Batch | WhisperAutError:
        try:
            return self._batch(self._micro_batch(index))
        except WhisperAutError as error:
            return error

    def _batch(self, micro_batch: MicroBatch) -> Batch:
        quarantined: list[QuarantineEntry] = []
        silent: list[QuarantineEntry] = []
        clips: list[Clip] = []
        waveforms: list[npt.NDArray[np.float32]] = []
        for ref in micro_batch.clips:
            found = self._read(ref, micro_batch.num_frames * HOP_LENGTH, quarantined, silent)
            if found is not None:
                clip, waveform = self._overlaid(ref, micro_batch.step, *found, quarantined)
                clips.append(clip)
                waveforms.append(waveform)
        texts = [self._text_encoder.encode(clip.text, clip.domain, clip.language) for clip in clips]
        num_tokens = max((len(text.labels) for text in texts), default=0)
        num_tokens = min(MAX_TOKENS, num_tokens + -num_tokens % TOKEN_BUCKET)
        end_id = self._text_encoder.end_id
        return Batch(
            waveforms=_padded(waveforms, 0.0, torch.float32, micro_batch.num_frames * HOP_LENGTH),
            num_samples=torch.tensor([len(waveform) for waveform in waveforms], dtype=torch.long),
            decoder_input_ids=_padded([text.decoder_input_ids for text in texts], end_id, torch.long, num_tokens),
            labels=_padded([text.labels for text in texts], IGNORE_LABEL, torch.long, num_tokens),
            domains=tuple(clip.domain for clip in clips),
            ids=tuple(clip.id for clip in clips),
            micro_batch=micro_batch,
            quarantined=tuple(quarantined),
            silent=tuple(silent),
        )

    def _overlaid(
        self,
        ref: ClipRef,
        step: int,
        clip: Clip,
        waveform: npt.NDArray[np.float32],
        quarantined: list[QuarantineEntry],
    ) -> tuple[Clip, npt.NDArray[np.float32]]:
        """The clip with its partner of this step and a text that names both; the clip alone where that cannot be."""
        joins = self._partner(ref, step) if self._partner else None
        if joins is None:
            return clip, waveform
        partner_ref, overlay = joins
        pool = self._pools[partner_ref.domain]
        partner = pool.clip(partner_ref.row)
        text = joined_text(clip.text, partner.text, overlay)
        if self._text_encoder.num_tokens(text, clip.domain, clip.language) > MAX_TOKENS:
            return clip, waveform
        try:
            mixed = overlaid(waveform, _waveform(pool, partner_ref.row, partner)[0], overlay)
        except AudioError as error:
            quarantined.append(QuarantineEntry(partner.id, pool.where(partner_ref.row), error.what))
            return clip, waveform
        return (clip, waveform) if mixed is None else (replace(clip, text=text), mixed)

    def _read(
        self,
        ref: ClipRef,
        max_samples: int,
        quarantined: list[QuarantineEntry],
        silent: list[QuarantineEntry],
    ) -> tuple[Clip, npt.NDArray[np.float32]] | None:
        """The clip and its waveform, or those of its first readable substitute that fits; None without substitutes."""
        lost: list[QuarantineEntry] = []
        tried: set[ClipRef] = set()
        candidate = ref
        for attempt in range(MAX_ATTEMPTS):
            pool = self._pools[candidate.domain]
            if candidate not in tried and pool.num_samples[candidate.row] <= max_samples:
                tried.add(candidate)
                clip = pool.clip(candidate.row)
                try:
                    waveform, silence = _waveform(pool, candidate.row, clip)
                    quarantined += lost
                    if silence is not None:
                        silent.append(QuarantineEntry(clip.id, pool.where(candidate.row), silence.what))
                    return clip, waveform
                except AudioError as error:
                    lost.append(QuarantineEntry(clip.id, pool.where(candidate.row), error.what))
            if self._substitute is None:
                quarantined += lost
                return None
            candidate = self._substitute(ref, attempt)
        raise _unreadable(lost)


def _load(dataset: _Batches, order: range, num_workers: int, *, pin_memory: bool = False) -> Iterator[Batch]:
    loader: DataLoader[Batch | WhisperAutError] = DataLoader(
        dataset,
        sampler=order,
        batch_size=None,
        collate_fn=_as_is,
        num_workers=num_workers,
        prefetch_factor=_PREFETCH if num_workers else None,
        worker_init_fn=_start_worker,
        pin_memory=pin_memory,
    )
    others = set(multiprocessing.active_children())
    items = iter(loader)
    workers = set(multiprocessing.active_children()) - others
    if workers:
        # Registered after multiprocessing's own hook, hence run before it: that one sends SIGTERM, which these ignore,
        # and then waits for them. Reached where an error still holds the iterator when the interpreter ends.
        atexit.register(_kill, workers)
    return _received(items, workers)


@contextmanager
def loader_deaths_explained() -> Iterator[None]:
    """Around whatever runs while batches are loaded: torch's handler of SIGCHLD raises wherever the program is.

    Raises:
        LoaderLost: a loader process was killed.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise _loader_lost(error) from None


def _loader_lost(error: Exception) -> LoaderLost:
    return LoaderLost(
        f"a process that loads data is gone: {first_line(error)}",
        remedy="if memory ran out, lower data.num_workers or train.micro_batch_clips; the same command goes on "
        "from the newest checkpoint",
    )


def _kill(workers: Iterable[BaseProcess]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise over deaths that are wanted
    for worker in workers:
        if worker.is_alive():
            worker.kill()  # they only read


def _received(items: Iterator[Batch | WhisperAutError], workers: Collection[BaseProcess]) -> Iterator[Batch]:
    try:
        for item in items:
            if isinstance(item, WhisperAutError):
                raise item
            yield item
    except (OSError, EOFError) as error:
        # A batch is fetched from the worker that made it: when that is gone, this can be known before its death is.
        if not workers or not wait([worker.sentinel for worker in workers], _DEATH_SEC):
            raise
        raise _loader_lost(error) from None


def _waveform(pool: Pool, row: int, clip: Clip) -> tuple[npt.NDArray[np.float32], Silence | None]:
    """The clip's samples, and why nothing is heard of a clip that is wanted all the same.

    Raises:
        AudioError: it is unreadable, or silent and not wanted.
    """
    waveform, silence = read_clip(
        pool.audio_source(row),
        offset_sec=clip.offset_sec,
        duration_sec=clip.duration_sec,
        clip_id=clip.id,
        channels=clip.channels,
    )
    unwanted = silence is not None and (
        pool.silent_clips == "quarantine" or (pool.silent_clips == "warn" and silence.is_digital)
    )
    if silence is not None and unwanted:
        raise AudioError(silence.what, where=pool.where(row), remedy="see data.silent_clips")
    return waveform, silence


def _as_is(item: Any) -> Any:
    """Keep what the data set gives: it is a batch already."""
    return item


def _start_worker(worker: int) -> None:
    """Workers compute on one thread, and leave it to their parent to end the run: a scheduler signals all processes."""
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _padded(rows: Sequence[Any], fill: float, dtype: torch.dtype, length: int | None = None) -> Tensor:
    """Rows as a tensor [B, length], each filled up at its end; ``length`` defaults to the longest row's."""
    width = max((len(row) for row in rows), default=0) if length is None else length
    padded = torch.full((len(rows), width), fill, dtype=dtype)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = torch.as_tensor(row, dtype=dtype)
    return padded


def _unreadable(lost: Sequence[QuarantineEntry]) -> ManifestError:
    first = lost[0]
    advice = ffmpeg_advice([first.reason])
    return ManifestError(
        f"clip after clip is unreadable: {len(lost)} in a row, the first is {first.id}: {first.reason}",
        where=first.where,
        remedy=advice
        or "check that the audio lies where the manifest says, with `whisper-aut manifest validate --check-audio`",
    )
