"""One step: this rank's micro-batches forward and backward, one update over all ranks, and what is said of it.

Legend: B clips in a micro-batch, S samples, M mel bins, F mel frames, L text tokens.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import WhisperForConditionalGeneration

from whisper_aut.config import TrainConfig
from whisper_aut.constants import IGNORE_LABEL, SAMPLE_RATE
from whisper_aut.data.features import LogMel
from whisper_aut.data.loader import Batch
from whisper_aut.model.compiled import compile_layers
from whisper_aut.model.loss import WhisperSummedLoss
from whisper_aut.train.engine import Engine
from whisper_aut.train.flops import real_tokens, useful_flops
from whisper_aut.train.guard import StepGuard
from whisper_aut.train.preempt import StopRequest
from whisper_aut.train.ranks import Ranks
from whisper_aut.train.watchdog import Watchdog

_NAMED_CLIPS = 16  # of a skipped step, in messages and in the log


@dataclass(frozen=True)
class StepOutcome:
    """What a step did, over all ranks.

    Attributes:
        loss: nats per token.
        grad_norm: before clipping; infinite where the step was dropped.
        skipped: why the weights were not changed; None where they were.
        suspects: clips of the micro-batches with the highest loss; of a skipped step only.
        num_clips, num_tokens, num_samples: real ones, no padding.
        clips_digest: of the ids of all clips, whatever their order and ranks: a ledger of what was read.
        num_quarantined: clips found unreadable.
        num_silent: clips in which nothing is heard.
        flops: of real audio and real tokens, forward and backward.
        stop: a rank was asked to stop.
    """

    loss: float
    grad_norm: float
    skipped: str | None
    suspects: tuple[str, ...]
    num_clips: int
    num_tokens: int
    num_samples: int
    clips_digest: int
    num_quarantined: int
    num_silent: int
    flops: float
    stop: bool


class Stepper:
    """Takes steps.

    Args:
        engine: with the model.
        log_mel: on the training device.
        guard: judges losses.
        ranks: of the run.
        watchdog: told where the main thread is.
    """

    def __init__(self, engine: Engine, log_mel: LogMel, guard: StepGuard, ranks: Ranks, watchdog: Watchdog) -> None:
        self.engine, self.log_mel = engine, log_mel
        self._guard, self._ranks, self._watchdog = guard, ranks, watchdog
        self._feed = _CudaFeed(log_mel, ranks.device) if ranks.device.type == "cuda" else None

    def __call__(self, batches: Sequence[Batch], lr: float, *, number: int, stop: StopRequest) -> StepOutcome:
        """Take step ``number`` with this rank's ``batches`` and learning rate ``lr``; a collective.

        Whether a rank was asked to stop is looked at as late as the ranks still talk to each other.
        """
        at, whisper = self._watchdog.at, self.engine.module.whisper.config
        at(f"waiting for other ranks at the start of step {number}", waits_for_ranks=True)
        counts = self._ranks.sum(
            sum(int((batch.labels != IGNORE_LABEL).sum()) for batch in batches),
            sum(len(batch.ids) for batch in batches),
            sum(int(batch.num_samples.sum()) for batch in batches),
            sum(clips_digest(batch.ids) for batch in batches),
            sum(len(batch.quarantined) for batch in batches),
            sum(useful_flops(whisper, batch.num_samples, real_tokens(batch.labels)) for batch in batches),
            sum(len(batch.silent) for batch in batches),
        )
        num_tokens, num_clips, num_samples, digest, num_quarantined = (int(count) for count in counts[:5])
        losses: list[Tensor] = []
        loss, refusal, stopped = math.nan, None, False
        for index, (batch, features) in enumerate(self._ready(batches)):
            last = index == len(batches) - 1
            at(f"computing micro-batch {index} of step {number}")
            loss_sum = self.engine(features, batch.decoder_input_ids, batch.labels)
            losses.append(loss_sum.detach())
            if last:
                # Known before the last backward, since that one ends in the update.
                at(f"waiting for other ranks in step {number}", waits_for_ranks=True)
                sums = self._ranks.sum(torch.stack(losses).double().sum(), float(stop.asked))
                loss, stopped = float(sums[0]) / num_tokens, bool(sums[1])
                refusal = self._guard.refusal(loss)
            self.engine.backward(loss_sum, step_tokens=num_tokens, refuse=refusal is not None)
            updated = self.engine.end_micro_batch(lr, last=last)
        if refusal is None and not updated:
            refusal = "the gradient is not finite"
        self._guard.record(loss, skipped=refusal is not None)
        return StepOutcome(
            loss=loss,
            grad_norm=self.engine.grad_norm,
            skipped=refusal,
            suspects=self._suspects(batches, losses) if refusal is not None else (),
            num_clips=num_clips,
            num_tokens=num_tokens,
            num_samples=num_samples,
            clips_digest=digest,
            num_quarantined=num_quarantined,
            num_silent=int(counts[6]),
            flops=float(counts[5]),
            stop=stopped,
        )

    def _ready(self, batches: Sequence[Batch]) -> Iterator[tuple[Batch, Tensor]]:
        """Batches on the device with their features [B, M, F]."""
        if self._feed is not None:
            return self._feed(batches)
        return ((batch, self.log_mel(batch.waveforms)) for batch in batches)

    def _suspects(self, batches: Sequence[Batch], losses: Sequence[Tensor]) -> tuple[str, ...]:
        """Clips of the micro-batch with the highest loss per token of each rank, of those not finite first."""
        per_token = [
            float(loss) / max(1, int((batch.labels != IGNORE_LABEL).sum()))
            for batch, loss in zip(batches, losses, strict=True)
        ]
        ranked = [value if math.isfinite(value) else math.inf for value in per_token]
        worst = max(range(len(ranked)), key=lambda index: ranked[index])
        found = self._ranks.gather((ranked[worst], batches[worst].ids))
        highest = max(value for value, _ in found)
        return tuple(clip for value, ids in found if value == highest for clip in ids)[:_NAMED_CLIPS]


def make_stepper(
    whisper: WhisperForConditionalGeneration,
    config: TrainConfig,
    micro_batches_per_step: int,
    guard: StepGuard,
    ranks: Ranks,
    watchdog: Watchdog,
) -> Stepper:
    """Put ``whisper`` on the training device, into the engine that ``config`` asks for, compiled where it asks for it.

    Processes that load data are started before: the engine's threads must not be copied into them.

    Raises:
        EnvironmentProblem: the strategy cannot be used here.
    """
    module = WhisperSummedLoss(whisper.to(ranks.device).train(), gradient_checkpointing=config.gradient_checkpointing)
    engine = Engine(module, config, num_micro_batches=micro_batches_per_step // ranks.world_size)
    if config.compile:
        compile_layers(engine.module, engine.dtype, zero_stage=engine.zero_stage)
    return Stepper(engine, LogMel(whisper.config.num_mel_bins).to(ranks.device), guard, ranks, watchdog)


class _CudaFeed:
    """Copies and log-mel on a stream of their own: those of a micro-batch run while the one before computes."""

    def __init__(self, log_mel: LogMel, device: torch.device) -> None:
        self._log_mel, self._device = log_mel, device
        self._stream = torch.cuda.Stream(device)

    def __call__(self, batches: Sequence[Batch]) -> Iterator[tuple[Batch, Tensor]]:
        ready = self._prepare(batches[0])
        for index in range(len(batches)):
            batch, features, done = ready
            if index + 1 < len(batches):
                ready = self._prepare(batches[index + 1])
            current = torch.cuda.current_stream(self._device)
            current.wait_event(done)
            for tensor in (features, batch.decoder_input_ids, batch.labels):
                tensor.record_stream(current)  # else the allocator may hand its memory out too early
            yield batch, features

    def _prepare(self, batch: Batch) -> tuple[Batch, Tensor, torch.cuda.Event]:
        with torch.cuda.stream(self._stream):
            moved = batch.to(self._device)
            features = self._log_mel(moved.waveforms)
            done = torch.cuda.Event()
            done.record(self._stream)
        return moved, features, done


def clips_digest(ids: Sequence[str]) -> int:
    """A number that stands for a multiset of clips: the sum of 32 bits of each id's SHA-256. Sums over ranks and
    micro-batches are the whole step's; a float64 holds the sum of two million of them exactly."""
    return sum(int.from_bytes(hashlib.sha256(clip.encode()).digest()[:4]) for clip in ids)


def rates(outcome: StepOutcome, *, begun_sec: float, wait_sec: float, peak_flops: float | None) -> dict[str, float]:
    """What the step line says of speed; ``mfu`` only where the peak of all devices together is known."""
    step_sec = time.monotonic() - begun_sec + wait_sec
    audio_sec = outcome.num_samples / SAMPLE_RATE
    values = {
        "step_sec": step_sec,
        "clips_per_sec": outcome.num_clips / step_sec,
        "audio_sec_per_sec": audio_sec / step_sec,
        "loader_wait_sec": wait_sec,
    }
    return values | ({"mfu": outcome.flops / step_sec / peak_flops} if peak_flops else {})
