"""What takes turns in the training benchmark: our step from its real parts, and Hugging Face's documented recipe.

Both read the clips that the plan of the same recipe names, in its order. Legend: B clips in a micro-batch, M mel bins,
F mel frames, L text tokens.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whisper_aut.bench.turns import Baton, Step
from whisper_aut.config import Recipe
from whisper_aut.constants import IGNORE_LABEL, SAMPLE_RATE
from whisper_aut.data.loader import Batch, step_batches
from whisper_aut.train.engine import start_distributed, stop_distributed
from whisper_aut.train.flops import real_tokens
from whisper_aut.train.guard import StepGuard
from whisper_aut.train.loop import Prepared, prepare
from whisper_aut.train.preempt import StopRequest
from whisper_aut.train.ranks import Ranks
from whisper_aut.train.schedule import learning_rate
from whisper_aut.train.step import Stepper, make_stepper
from whisper_aut.train.watchdog import Watchdog


@dataclass(frozen=True)
class TrainJob:
    """One side: the recipe names base, clips, batch, precision, context, schedule and number of steps.

    Attributes:
        device: ``cpu`` or ``cuda``.
        whole_step: Hugging Face only: compute a step in one micro-batch. Its loss is a mean over each micro-batch,
            which is the mean over the step in that case alone.
    """

    recipe: Recipe
    device: str
    whole_step: bool = False


def run_ours(baton: Baton, job: TrainJob) -> None:
    """From the files on the disk to updated weights: decoding, log-mel, forward, backward, AdamW under DeepSpeed."""
    ranks = start_distributed()
    try:
        prepared = prepare(job.recipe)
        steps = steps_of(prepared)
        stepper = lone_stepper(prepared, ranks)
        baton.ready()
        for number, batches in steps:
            lr = learning_rate(number, prepared.steps, job.recipe.train)
            outcome = stepper(batches, lr, number=number, stop=StopRequest())
            assert outcome.skipped is None, outcome.skipped
            baton.step_done(_finished(outcome.loss, batches))
    finally:
        stop_distributed()


def lone_stepper(prepared: Prepared, ranks: Ranks) -> Stepper:
    """What takes the steps of a real run, without its checkpoints: no step is skipped, nobody watches other ranks."""
    config = prepared.recipe.train
    watchdog = Watchdog(ranks.store, rank=0, world_size=1, stall_sec=config.stall_sec, advice="")  # never started
    return make_stepper(
        prepared.base.model, config, prepared.plan.micro_batches_per_step, StepGuard(0.0, 1), ranks, watchdog
    )


def run_hugging_face(baton: Baton, job: TrainJob) -> None:
    """``Seq2SeqTrainer`` as "Fine-Tune Whisper For Multilingual ASR" has it (huggingface.co/blog/fine-tune-whisper).

    Features are computed beforehand for every clip, padded to 30 s by ``WhisperFeatureExtractor``, as the recipe's
    ``dataset.map`` does, and read from the disk in training, as ``datasets`` does. Different from the recipe: no
    gradient checkpointing (which would cost it a third forward), clips in the plan's order, no evaluation.
    """
    from transformers import PrinterCallback, Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerCallback
    from transformers.utils import logging

    logging.set_verbosity_error()
    prepared = prepare(job.recipe)
    config = job.recipe.train
    with tempfile.TemporaryDirectory() as folder:
        clips = _Clips(Path(folder), prepared)
        micro_batch_clips = config.clips_per_step if job.whole_step else config.micro_batch_clips
        arguments = Seq2SeqTrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=micro_batch_clips,
            gradient_accumulation_steps=config.clips_per_step // micro_batch_clips,
            max_steps=prepared.steps,
            learning_rate=config.lr,
            weight_decay=config.weight_decay,
            adam_beta1=config.betas[0],
            adam_beta2=config.betas[1],
            max_grad_norm=config.max_grad_norm,
            bf16=config.precision == "bf16",
            use_cpu=job.device == "cpu",
            train_sampling_strategy="sequential",
            remove_unused_columns=False,
            label_names=["labels"],
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=job.device != "cpu",
            # Named only where it is wanted: its name changes from release to release.
            **({"gradient_checkpointing": True} if config.gradient_checkpointing else {}),
        )

        class Reports(TrainerCallback):  # type: ignore[misc]  # transformers counts as Any
            """After each step's log, which holds its loss."""

            def on_train_begin(self, *_: Any, **__: Any) -> None:
                baton.ready()

            def on_log(self, arguments: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
                if "loss" in logs:
                    baton.step_done(_finished(logs["loss"], clips.steps[state.global_step - 1]))

        class Trainer(Seq2SeqTrainer):  # type: ignore[misc]
            """With the learning rate of our schedule: Hugging Face's has a first step of rate zero."""

            def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
                self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                    optimizer or self.optimizer,
                    lambda step: learning_rate(min(step, prepared.steps - 1), prepared.steps, config) / config.lr,
                )
                self._created_lr_scheduler = True
                return self.lr_scheduler

        trainer = Trainer(
            model=prepared.base.model.train(),
            args=arguments,
            train_dataset=clips,
            data_collator=_Collator(prepared.text_encoder.end_id),
            callbacks=[Reports()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()


@dataclass(frozen=True)
class _StepClips:
    """What is said of a step's batches without keeping their waveforms."""

    ids: tuple[str, ...]
    num_micro_batches: int
    num_full: int


class _Clips(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Every clip of every step with its features, one file a clip, in the plan's order."""

    def __init__(self, folder: Path, prepared: Prepared) -> None:
        from transformers import WhisperFeatureExtractor

        extractor = WhisperFeatureExtractor(feature_size=prepared.base.model.config.num_mel_bins)
        self.steps: list[_StepClips] = []
        self._files: list[Path] = []
        self._texts: list[tuple[Tensor, Tensor]] = []
        made: dict[str, Path] = {}
        for _, batches in steps_of(prepared):
            for batch in batches:
                lengths = real_tokens(batch.labels).tolist()
                for row, clip_id in enumerate(batch.ids):
                    if clip_id not in made:
                        made[clip_id] = folder / f"{len(made)}.npy"
                        wave = batch.waveforms[row, : int(batch.num_samples[row])].numpy()
                        (features,) = extractor(wave, sampling_rate=SAMPLE_RATE)["input_features"]
                        np.save(made[clip_id], features)
                    self._files.append(made[clip_id])
                    length = lengths[row]
                    # Copies: a slice would keep the whole batch.
                    text = (batch.decoder_input_ids[row, :length].clone(), batch.labels[row, :length].clone())
                    self._texts.append(text)
            self.steps.append(_of_step(batches))

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        decoder_input_ids, labels = self._texts[index]
        features = torch.from_numpy(np.load(self._files[index]))  # [M, F]
        return {"input_features": features, "decoder_input_ids": decoder_input_ids, "labels": labels}


@dataclass(frozen=True)
class _Collator:
    """As the recipe's ``DataCollatorSpeechSeq2SeqWithPadding``, with our own decoder inputs in place of the shifted
    labels: the prompt is masked in ours."""

    end_id: int

    def __call__(self, clips: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        def padded(name: str, fill: int) -> Tensor:
            rows = [clip[name] for clip in clips]
            return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill)

        return {
            "input_features": torch.stack([clip["input_features"] for clip in clips]),
            "decoder_input_ids": padded("decoder_input_ids", self.end_id),
            "labels": padded("labels", IGNORE_LABEL),
        }


def steps_of(prepared: Prepared) -> Iterator[tuple[int, list[Batch]]]:
    """All steps of the plan, on one rank."""
    return step_batches(
        prepared.plan, prepared.corpus.train, prepared.text_encoder, rank=0, world_size=1, start_step=0,
        num_steps=prepared.steps, num_workers=prepared.recipe.data.num_workers,
        pin_memory=torch.cuda.is_available(),
    )  # fmt: skip


def _of_step(batches: list[Batch]) -> _StepClips:
    return _StepClips(
        ids=tuple(clip_id for batch in batches for clip_id in batch.ids),
        num_micro_batches=len(batches),
        num_full=sum(batch.micro_batch.context == "full" for batch in batches),
    )


def _finished(loss: float, clips: _StepClips | list[Batch]) -> Step:
    known = _of_step(clips) if isinstance(clips, list) else clips
    return Step(loss, known.ids, known.num_micro_batches, known.num_full)
