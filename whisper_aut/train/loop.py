"""Training, from a recipe to checkpoints: ``train`` sets the stage, ``_Trainer.run`` is the loop, a stage a method."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch.distributed as dist
from torch import Tensor

from whisper_aut.config import Recipe, mixture_weights
from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.data.captions import TextEncoder, prompts_of
from whisper_aut.data.corpus import Corpus, load_corpus
from whisper_aut.data.loader import Batch, loader_deaths_explained, step_batches
from whisper_aut.data.plan import Plan
from whisper_aut.data.quarantine import Quarantine, QuarantineEntry
from whisper_aut.errors import CheckpointError, Interrupted
from whisper_aut.machine import require_memory
from whisper_aut.model.base import BaseModel, load_base
from whisper_aut.train.checkpoint import BrokenWeights, TrainedState, newest_checkpoint, step_folder
from whisper_aut.train.engine import start_distributed, stop_distributed
from whisper_aut.train.environment import peak_memory_gb
from whisper_aut.train.estimate import engine_bytes
from whisper_aut.train.flops import peak_flops
from whisper_aut.train.guard import StepGuard
from whisper_aut.train.metrics import MetricsLog
from whisper_aut.train.preempt import StopRequest
from whisper_aut.train.ranks import Ranks
from whisper_aut.train.resume import choose_run_precision, find_checkpoint
from whisper_aut.train.run_folder import held_run_dir, identity, write_run_json
from whisper_aut.train.saver import CheckpointSaver
from whisper_aut.train.schedule import learning_rate, total_steps
from whisper_aut.train.step import StepOutcome, make_stepper, rates
from whisper_aut.train.validate import validation_loss
from whisper_aut.train.validate_words import WordErrorRate, word_error_rate
from whisper_aut.train.watchdog import Watchdog


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
    base = load_base(recipe.base.model)
    text_encoder = TextEncoder(base.tokenizer, prompts_of(recipe.data.mixture))
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
        corpus.source_weights(),
        recipe.train.micro_batch_sec,
    )
    return Prepared(recipe, base, text_encoder, corpus, plan, steps)


def train(recipe: Recipe, run_dir: Path, stop: StopRequest, *, accept_changed_data: bool = False) -> Path:
    """Train to the end, or on from the newest checkpoint in ``run_dir``; returns the last checkpoint's folder.

    ``stop`` is entered by the caller, so that it hears signals from the beginning. ``accept_changed_data`` goes on with
    manifests that were changed since the run began.

    Raises:
        Interrupted: a signal came and a checkpoint is saved.
        RankLost: another rank died or hangs.
        WhisperAutError: whatever the user can mend.
    """
    ranks = start_distributed()
    watchdog = Watchdog(
        ranks.store.clone(),
        rank=ranks.rank,
        world_size=ranks.world_size,
        stall_sec=recipe.train.stall_sec,
        advice=f"the checkpoints in {run_dir} stand; run the same command again to go on from the newest",
    )
    try:
        with watchdog:
            prepared = prepare(recipe)
            prepared.plan.check_world_size(ranks.world_size)
            with held_run_dir(run_dir) if ranks.speaks else nullcontext(), loader_deaths_explained():
                return _Trainer(prepared, run_dir, ranks, watchdog, accept_changed_data).run(stop)
    finally:
        stop_distributed()


class _Trainer:
    """One run on one rank. The state of a run is the number of finished steps, weights and moments, and what the guard
    remembers of recent losses: nothing else."""

    def __init__(
        self, prepared: Prepared, run_dir: Path, ranks: Ranks, watchdog: Watchdog, accept_changed_data: bool
    ) -> None:
        self.prepared, self.run_dir, self.ranks, self.watchdog = prepared, run_dir, ranks, watchdog
        self.config = prepared.recipe.train
        self.identity = identity(prepared.recipe, prepared.base, prepared.corpus, prepared.plan)
        self.quarantine = Quarantine(run_dir / "quarantine.jsonl", prepared.recipe.data.max_quarantine_rate)
        self.saver = CheckpointSaver(run_dir / "checkpoints", self.config)
        self.guard = StepGuard(self.config.skip_sigma, self.config.max_skipped_steps)
        self.validation: dict[str, float] = {}
        self.word_errors: WordErrorRate | None = word_error_rate(
            self.config, prepared.corpus.validation.get("speech"), prepared.base, prepared.text_encoder
        )

        resumed, self.changed_data = find_checkpoint(
            run_dir, self.identity, ranks, watchdog, accept_changed_data=accept_changed_data
        )
        self.precision = choose_run_precision(self.config.precision, resumed, ranks)
        self.config = self.config.model_copy(update={"precision": self.precision.short_name})
        weights = resumed.weights() if resumed is not None else {}
        whisper = prepared.base.model
        if resumed is not None:
            # Into the model before the engine rounds it to bf16, so that masters and rounded weights agree.
            whisper.load_state_dict(weights | _tied(weights), strict=True)
        if ranks.device.type == "cpu":
            num_parameters = sum(parameter.numel() for parameter in whisper.parameters())
            require_memory(engine_bytes(num_parameters, ranks.world_size), "training, activations not counted,")
        self.num_steps_done = resumed.step if resumed is not None else 0
        self.steps = self._start_workers()
        self.step = make_stepper(
            whisper, self.config, prepared.plan.micro_batches_per_step, self.guard, ranks, watchdog
        )
        self.engine = self.step.engine
        if resumed is not None:
            state = resumed.state
            self.engine.restore(TrainedState(weights, resumed.moments()), num_updates=state["num_updates"])
            self.guard.restore(state["guard"])
        elif ranks.speaks:
            write_run_json(
                run_dir, prepared.recipe, prepared.base, prepared.corpus, prepared.plan,
                steps=prepared.steps, world_size=ranks.world_size, precision=self.precision,
            )  # fmt: skip

    def run(self, stop: StopRequest) -> Path:
        """All remaining steps; validation, checkpoints and a stop on request between them."""
        if self.num_steps_done == self.prepared.steps:
            if self.ranks.speaks:
                print("train: the run is finished; nothing is left to do", file=sys.stderr)
            return self._last_checkpoint()
        with MetricsLog(self.run_dir, enabled=self.ranks.speaks, total_steps=self.prepared.steps) as log:
            started_sec = time.monotonic()
            log.event(
                "precision", step=self.num_steps_done, precision=self.precision.name, reason=self.precision.reason
            )
            peak = peak_flops(self.ranks.device, self.precision.short_name)
            peak_of_all = peak * self.ranks.world_size if peak is not None else None
            if self.num_steps_done:
                log.event("resume", step=self.num_steps_done, world_size=self.ranks.world_size)
                if self.changed_data:
                    log.event("changed_data", step=self.num_steps_done, what=self.changed_data)
            else:
                self._validate(log)
            if self.ranks.sum(float(stop.asked))[0]:
                raise self._interrupted(stop, "before the first step; nothing was changed")
            for batches, wait_sec in self._waited_for():
                begun_sec = time.monotonic()
                lr = learning_rate(self.num_steps_done, self.prepared.steps, self.config)
                outcome = self.step(batches, lr, number=self.num_steps_done + 1, stop=stop)
                self._record_quarantine(batches, outcome)
                self.num_steps_done += 1
                speed = rates(outcome, begun_sec=begun_sec, wait_sec=wait_sec, peak_flops=peak_of_all)
                self._log_step(log, outcome, lr, speed)
                last = self.num_steps_done == self.prepared.steps
                if last or self.num_steps_done % self.config.validate_every_steps == 0:
                    self._validate(log)
                if last or outcome.stop or self.num_steps_done % self.config.checkpoint_every_steps == 0:
                    self._save(must_stand=last or outcome.stop)
                self.validation = {}
                if outcome.stop and not last:
                    raise self._interrupted(stop, f"after step {self.num_steps_done}; a checkpoint is saved")
            log.event("done", step=self.num_steps_done, wall_sec=time.monotonic() - started_sec)
        if self.ranks.speaks and (unreadable := self.quarantine.summary()):
            print(f"train: {unreadable}", file=sys.stderr)
        if self.ranks.speaks and (silent := self.quarantine.silent_summary()):
            print(f"train: {silent}", file=sys.stderr)
        self.watchdog.at("waiting for other ranks at the end", patient=True, waits_for_ranks=True)
        dist.barrier()
        return self._last_checkpoint()

    def _last_checkpoint(self) -> Path:
        return step_folder(self.run_dir / "checkpoints", self.num_steps_done)

    def _start_workers(self) -> Iterator[tuple[int, list[Batch]]]:
        """This rank's batches of every remaining step. Before the engine: see ``step_batches``."""
        return step_batches(
            self.prepared.plan,
            self.prepared.corpus.train,
            self.prepared.text_encoder,
            rank=self.ranks.rank,
            world_size=self.ranks.world_size,
            start_step=self.num_steps_done,
            num_steps=self.prepared.steps - self.num_steps_done,
            num_workers=self.prepared.recipe.data.num_workers,
            pin_memory=self.ranks.device.type == "cuda",
        )

    def _waited_for(self) -> Iterator[tuple[list[Batch], float]]:
        """The batches of each step, and the seconds waited for them."""
        while True:
            asked_sec = time.monotonic()
            self.watchdog.at(self._awaited)
            item = next(self.steps, None)
            if item is None:
                return
            yield item[1], time.monotonic() - asked_sec

    def _awaited(self) -> str:
        """What the loader is at, for the watchdog: asked only where it looks."""
        share = self.prepared.plan.rank_share(self.num_steps_done, self.ranks.rank, self.ranks.world_size)
        ids = [self.prepared.corpus.train[ref.domain].clip(ref.row).id for batch in share for ref in batch.clips]
        return f"waiting for the data of step {self.num_steps_done + 1}: clips {', '.join(ids[:8])} …"

    def _log_step(self, log: MetricsLog, outcome: StepOutcome, lr: float, speed: Mapping[str, float]) -> None:
        """Write the step's line; say which clips were in a step that was skipped, and end after too many of them."""
        log.step(
            step=self.num_steps_done, loss=outcome.loss, lr=lr, grad_norm=outcome.grad_norm,
            num_clips=outcome.num_clips, num_tokens=outcome.num_tokens, audio_sec=outcome.num_samples / SAMPLE_RATE,
            clips_digest=outcome.clips_digest, quarantined=outcome.num_quarantined, silent=outcome.num_silent,
            memory_gb=peak_memory_gb(self.ranks.device), **speed,
        )  # fmt: skip
        if outcome.skipped is None:
            return
        log.event("skipped", step=self.num_steps_done, reason=outcome.skipped, clips=list(outcome.suspects))
        named = ", ".join(outcome.suspects)
        if self.ranks.speaks:
            what = f"step {self.num_steps_done} changes no weight: {outcome.skipped}"
            print(f"warning: {what}; the clips with the highest loss: {named}", file=sys.stderr, flush=True)
        if self.guard.exhausted:
            saved = newest_checkpoint(self.run_dir / "checkpoints")
            raise CheckpointError(
                f"{self.guard.skipped_in_a_row} steps in a row were skipped, the last because {outcome.skipped}",
                where=f"step {self.num_steps_done}; clips {named}",
                remedy="look at these clips; lower train.lr or train.max_grad_norm and begin again with another --out; "
                + (f"the weights up to {saved.folder.name} are finite" if saved else "no checkpoint was written yet"),
            )

    def _validate(self, log: MetricsLog) -> None:
        self.validation = validation_loss(
            self.engine, self.step.log_mel, self.prepared.corpus.validation, self.prepared.text_encoder,
            self.config.micro_batch_clips, self.ranks.device, self.watchdog,
        )  # fmt: skip
        heard: dict[str, float] = {}
        if self.word_errors is not None:
            wer = self.word_errors(self.engine, self.step.log_mel, self.ranks, self.watchdog)
            heard = {"wer": wer} if wer is not None else {}
        log.event("validation", step=self.num_steps_done, loss=self.validation, **heard)
        if self.ranks.speaks and self.validation:
            shown = ", ".join(f"{domain} {loss:.3f}" for domain, loss in self.validation.items())
            shown += "".join(f", word error rate {rate:.1f}%" for rate in heard.values())
            print(f"validation: step {self.num_steps_done}, loss {shown}", file=sys.stderr, flush=True)

    def _save(self, *, must_stand: bool) -> None:
        """Save on rank 0; every rank learns whether that worked. A disk that is full in mid-run is no reason to throw
        away what is in memory: the next checkpoint tries again, a few times."""
        self.watchdog.at("saving a checkpoint", patient=True)
        failure: CheckpointError | None = None
        if self.ranks.speaks:
            try:
                self.saver.wait()  # before another copy of all weights is made
            except CheckpointError as error:
                _warn_of(error)
                failure = error if self.saver.hopeless else None
        trained = self.engine.gather(rank=self.ranks.rank)
        if trained is not None:
            try:
                state = {
                    "identity": self.identity,
                    "num_updates": self.engine.num_updates,
                    "guard": self.guard.state(),
                    "precision": self.precision.short_name,
                    "validation_loss": self.validation,
                }
                self.saver.save(self.num_steps_done, trained, state)
                if must_stand:
                    self.saver.wait()
            except CheckpointError as error:
                failure = error
        failure, hopeless = self.ranks.from_first((failure, self.saver.hopeless))
        if failure is not None and (must_stand or hopeless or isinstance(failure, BrokenWeights)):
            raise failure
        if failure is not None and self.ranks.speaks:
            _warn_of(failure)

    def _record_quarantine(self, batches: list[Batch], outcome: StepOutcome) -> None:
        """One ledger, written by rank 0; the rate counts clips of all ranks, so that all ranks stop together."""
        found: list[QuarantineEntry] = []
        if outcome.num_quarantined:
            parts = self.ranks.gather([entry for batch in batches for entry in batch.quarantined])
            found = [entry for part in parts for entry in part]
        self.quarantine.record(found, outcome.num_clips + len(found), write=self.ranks.speaks)
        if outcome.num_silent:
            silent = self.ranks.gather([entry for batch in batches for entry in batch.silent])
            self.quarantine.record_silent([entry for part in silent for entry in part], write=self.ranks.speaks)

    def _interrupted(self, stop: StopRequest, when: str) -> Interrupted:
        return Interrupted(
            f"stopped by {stop.signal_name or 'a signal on another rank'} {when}",
            where=str(self.run_dir),
            remedy="run the same command again to go on",
        )


def _warn_of(failure: CheckpointError) -> None:
    message = "\n".join([*failure.lines(), "  training goes on; the next checkpoint tries again"])
    print(f"warning: {message}", file=sys.stderr, flush=True)


def _tied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"proj_out.weight": weights["model.decoder.embed_tokens.weight"]}
