"""Training: from a recipe to checkpoints. ``train`` sets the stage, ``_Trainer.run`` is the loop, one stage a method.

Legend: B clips in a micro-batch, S samples, M mel bins, F mel frames, L text tokens.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from whisper_aut.config import Recipe, mixture_weights
from whisper_aut.constants import IGNORE_LABEL, SAMPLE_RATE
from whisper_aut.data.captions import DEFAULT_PROMPTS, TextEncoder
from whisper_aut.data.corpus import Corpus, load_corpus
from whisper_aut.data.features import LogMel
from whisper_aut.data.loader import Batch, step_batches
from whisper_aut.data.plan import Plan
from whisper_aut.data.quarantine import Quarantine
from whisper_aut.errors import CheckpointError, Interrupted, WhisperAutError
from whisper_aut.model.base import BaseModel, load_base
from whisper_aut.model.loss import WhisperSummedLoss
from whisper_aut.train.checkpoint import (
    TrainedState,
    keep_newest,
    newest_checkpoint,
    read_moments,
    read_state,
    read_weights,
    save_checkpoint,
)
from whisper_aut.train.engine import Engine, read_strategy, start_distributed, stop_distributed
from whisper_aut.train.metrics import MetricsLog
from whisper_aut.train.preempt import StopRequest
from whisper_aut.train.run_folder import check_identity, identity, make_run_dir, write_run_json
from whisper_aut.train.schedule import learning_rate, total_steps
from whisper_aut.train.validate import validation_loss


@dataclass(frozen=True)
class Prepared:
    """Everything a run is made of before a weight is touched; also what ``--dry-run`` prints."""

    recipe: Recipe
    base: BaseModel
    text_encoder: TextEncoder
    corpus: Corpus
    plan: Plan
    steps: int


def prepare(recipe: Recipe) -> Prepared:
    """Load base and manifests and make the plan.

    Raises:
        WhisperAutError: strategy, base, manifests or mixture cannot be used.
    """
    read_strategy(recipe.train.deepspeed)  # the engine's to use, but wrong names are said before anything is loaded
    base = load_base(recipe.base.model)
    prompts = dict(DEFAULT_PROMPTS)
    for domain, config in recipe.data.mixture.items():
        if config.prompt is not None:
            prompts[domain] = config.prompt or None
    text_encoder = TextEncoder(base.tokenizer, prompts)
    corpus = load_corpus(recipe.data, recipe.seed, text_encoder)
    steps = total_steps(recipe.train, sum(len(pool) for pool in corpus.train.values()))
    plan = Plan(
        {domain: pool.num_samples for domain, pool in corpus.train.items()},
        mixture_weights(recipe.data.mixture),
        recipe.train.clips_per_step,
        recipe.train.micro_batch_clips,
        recipe.train.full_window_fraction,
        recipe.seed,
        {domain: config.overlay_fraction for domain, config in recipe.data.mixture.items()},
        steps,
    )
    return Prepared(recipe, base, text_encoder, corpus, plan, steps)


def train(recipe: Recipe, run_dir: Path, stop: StopRequest) -> Path:
    """Train to the end, or on from the newest checkpoint in ``run_dir``; returns the last checkpoint's folder.

    ``stop`` is entered by the caller, so that it hears signals from the beginning.

    Raises:
        Interrupted: a signal came and a checkpoint is saved.
        WhisperAutError: whatever the user can mend.
    """
    rank, world_size, device = start_distributed()
    try:
        prepared = prepare(recipe)
        prepared.plan.check_world_size(world_size)
        make_run_dir(run_dir)
        return _Trainer(prepared, run_dir, rank=rank, world_size=world_size, device=device).run(stop)
    finally:
        stop_distributed()


class _Trainer:
    """One run on one rank. The state of a run is the number of finished steps, weights and moments: nothing else."""

    def __init__(self, prepared: Prepared, run_dir: Path, *, rank: int, world_size: int, device: torch.device) -> None:
        self.prepared, self.run_dir = prepared, run_dir
        self.rank, self.world_size, self.device = rank, world_size, device
        self.config = prepared.recipe.train
        self.identity = identity(prepared.recipe, prepared.base, prepared.corpus, prepared.plan)
        self.quarantine = Quarantine(run_dir / "quarantine.jsonl", prepared.recipe.data.max_quarantine_rate)

        resumed = self._find_checkpoint()
        whisper = prepared.base.model
        if resumed is not None:
            # Into the model before the engine rounds it to bf16, so that masters and rounded weights agree.
            whisper.load_state_dict(resumed[1].weights | _tied(resumed[1].weights), strict=True)
        loss_module = WhisperSummedLoss(
            whisper.to(device).train(), gradient_checkpointing=self.config.gradient_checkpointing
        )
        self.num_steps_done = resumed[0] if resumed is not None else 0
        self.steps = self._start_workers()
        self.engine = Engine(loss_module, self.config, world_size=world_size)
        self.log_mel = LogMel(whisper.config.num_mel_bins).to(device)
        if resumed is not None:
            self.engine.restore(resumed[1], num_steps_done=resumed[0])
        elif rank == 0:
            write_run_json(
                run_dir, prepared.recipe, prepared.base, prepared.corpus, prepared.plan,
                steps=prepared.steps, world_size=world_size,
            )  # fmt: skip

    def run(self, stop: StopRequest) -> Path:
        """All remaining steps; validation, checkpoints and a stop on request between them."""
        if self.num_steps_done == self.prepared.steps:
            if self.rank == 0:
                print("train: the run is finished; nothing is left to do", file=sys.stderr)
            return self._newest()
        with MetricsLog(self.run_dir, enabled=self.rank == 0, total_steps=self.prepared.steps) as log:
            started_sec = time.monotonic()
            if self.num_steps_done:
                log.event("resume", step=self.num_steps_done, world_size=self.world_size)
            else:
                self._validate(log)
            if self._any_rank(stop.asked):
                raise self._interrupted(stop, "before the first step; nothing was changed")
            for batches, wait_sec in self._waited_for():
                values = self._step(batches, wait_sec)
                self.num_steps_done += 1
                log.step(step=self.num_steps_done, **values)
                last = self.num_steps_done == self.prepared.steps
                if last or self.num_steps_done % self.config.validate_every_steps == 0:
                    self._validate(log)
                stop_now = self._any_rank(stop.asked)
                if last or stop_now or self.num_steps_done % self.config.checkpoint_every_steps == 0:
                    self._save()
                if stop_now and not last:
                    raise self._interrupted(stop, f"after step {self.num_steps_done}; a checkpoint is saved")
            log.event("done", step=self.num_steps_done, wall_sec=time.monotonic() - started_sec)
        if self.rank == 0 and (unreadable := self.quarantine.summary()):
            print(f"train: {unreadable}", file=sys.stderr)
        return self._newest()

    def _newest(self) -> Path:
        newest = newest_checkpoint(self.run_dir / "checkpoints")
        assert newest is not None, "the last step saves"
        return newest

    def _start_workers(self) -> Iterator[tuple[int, list[Batch]]]:
        """This rank's batches of every remaining step. Before the engine: see ``step_batches``."""
        return step_batches(
            self.prepared.plan,
            self.prepared.corpus.train,
            self.prepared.text_encoder,
            rank=self.rank,
            world_size=self.world_size,
            start_step=self.num_steps_done,
            num_steps=self.prepared.steps - self.num_steps_done,
            num_workers=self.prepared.recipe.data.num_workers,
        )

    def _waited_for(self) -> Iterator[tuple[list[Batch], float]]:
        """The batches of each step, and the seconds waited for them."""
        while True:
            asked_sec = time.monotonic()
            item = next(self.steps, None)
            if item is None:
                return
            yield item[1], time.monotonic() - asked_sec

    def _step(self, batches: list[Batch], wait_sec: float) -> dict[str, float]:
        """Forward and backward over this rank's micro-batches, one update over all ranks; the step's metrics."""
        begun_sec = time.monotonic()
        lr = learning_rate(self.num_steps_done, self.prepared.steps, self.config)
        num_quarantined = sum(len(batch.quarantined) for batch in batches)
        counts = self._sum_over_ranks(
            sum(int((batch.labels != IGNORE_LABEL).sum()) for batch in batches),
            sum(len(batch.ids) for batch in batches),
            sum(int(batch.num_samples.sum()) for batch in batches),
            num_quarantined,
        )
        step_tokens, num_clips, num_samples, all_quarantined = (int(count) for count in counts)
        self._record_quarantine(batches, num_clips)
        loss_sum = torch.zeros((), dtype=torch.float64)
        for index, batch in enumerate(batches):
            moved = batch.to(self.device)
            features = self.log_mel(moved.waveforms)  # [B, M, F]
            loss = self.engine(features, moved.decoder_input_ids, moved.labels)
            self.engine.backward(loss, step_tokens=step_tokens)
            loss_sum += loss.detach().double().cpu()
            if index == len(batches) - 1:
                loss_sum = self._sum_over_ranks(loss_sum)[0]
                self._refuse_non_finite("loss", float(loss_sum), "no weight was changed by it", batches)
            self.engine.end_micro_batch(lr)
        grad_norm = self.engine.grad_norm
        self._refuse_non_finite("gradient norm", grad_norm, "what it did to the weights is not saved", batches)
        step_sec = time.monotonic() - begun_sec + wait_sec
        return {
            "loss": float(loss_sum) / step_tokens,
            "lr": lr,
            "grad_norm": grad_norm,
            "num_clips": num_clips,
            "num_tokens": step_tokens,
            "audio_sec": num_samples / SAMPLE_RATE,
            "step_sec": step_sec,
            "clips_per_sec": num_clips / step_sec,
            "audio_sec_per_sec": num_samples / SAMPLE_RATE / step_sec,
            "loader_wait_sec": wait_sec,
            "quarantined": all_quarantined,
        }

    def _validate(self, log: MetricsLog) -> None:
        losses = validation_loss(
            self.engine, self.log_mel, self.prepared.corpus.validation, self.prepared.text_encoder,
            self.config.micro_batch_clips, self.device,
        )  # fmt: skip
        log.event("validation", step=self.num_steps_done, loss=losses)
        if self.rank == 0 and losses:
            shown = ", ".join(f"{domain} {loss:.3f}" for domain, loss in losses.items())
            print(f"validation: step {self.num_steps_done}, loss {shown}", file=sys.stderr, flush=True)

    def _save(self) -> None:
        """Save on rank 0; every rank learns whether that worked."""
        trained = self.engine.gather(rank=self.rank)
        failure: list[WhisperAutError | None] = [None]
        if trained is not None:
            try:
                checkpoints = self.run_dir / "checkpoints"
                save_checkpoint(checkpoints, self.num_steps_done, trained, {"identity": self.identity})
                keep_newest(checkpoints, self.config.keep_checkpoints)
            except CheckpointError as error:
                failure = [error]
        dist.broadcast_object_list(failure, src=0)
        if failure[0] is not None:
            raise failure[0]

    def _find_checkpoint(self) -> tuple[int, TrainedState] | None:
        """Finished steps and state of the newest sound checkpoint of this very run, or None for a fresh start."""
        folder = newest_checkpoint(self.run_dir / "checkpoints")
        if folder is None:
            return None
        state = read_state(folder)
        check_identity(self.run_dir, state["identity"], self.identity)
        if self.rank == 0:
            print(f"train: going on from {folder}", file=sys.stderr)
        return int(state["step"]), TrainedState(read_weights(folder), read_moments(folder))

    def _record_quarantine(self, batches: list[Batch], num_clips: int) -> None:
        """One ledger, written by rank 0; the rate counts clips of all ranks, so that all ranks stop together."""
        entries: list[Any] = [None] * self.world_size
        dist.all_gather_object(entries, [entry for batch in batches for entry in batch.quarantined])
        found = [entry for part in entries for entry in part]
        self.quarantine.record(found, num_clips + len(found), write=self.rank == 0)

    def _refuse_non_finite(self, name: str, value: float, consequence: str, batches: list[Batch]) -> None:
        if math.isfinite(value):
            return
        saved = newest_checkpoint(self.run_dir / "checkpoints")
        raise CheckpointError(
            f"the {name} of step {self.num_steps_done + 1} is {value}; {consequence}",
            where=f"clips of rank {self.rank}: {', '.join(batches[0].ids[:8])} …",
            remedy="lower train.lr or train.max_grad_norm and begin again with another --out"
            + (f"; the weights up to {saved.name} are sound" if saved else "; no checkpoint was written yet"),
        )

    def _interrupted(self, stop: StopRequest, when: str) -> Interrupted:
        return Interrupted(
            f"stopped by {stop.signal_name or 'a signal on another rank'} {when}",
            where=str(self.run_dir),
            remedy="run the same command again to go on",
        )

    def _any_rank(self, flag: bool) -> bool:
        return bool(self._sum_over_ranks(float(flag))[0])

    def _sum_over_ranks(self, *values: float | Tensor) -> Tensor:
        total = torch.tensor([float(value) for value in values], dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.cpu()


def _tied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"proj_out.weight": weights["model.decoder.embed_tokens.weight"]}
