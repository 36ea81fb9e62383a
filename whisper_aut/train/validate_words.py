"""Word error rate during training: some of the held-out speech decoded greedily, as ``whisper-aut wer`` does it all.

Unlike there, a text that goes on and on is cut off, so that a decoder which repeats itself has fewer inserted words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from whisper_aut.config import TrainConfig
from whisper_aut.constants import HOP_LENGTH, IGNORE_LABEL, context_frames
from whisper_aut.data.captions import TextEncoder
from whisper_aut.data.features import LogMel
from whisper_aut.data.loader import Batch, validation_batches
from whisper_aut.data.pool import Pool
from whisper_aut.errors import RecipeError
from whisper_aut.model.base import BaseModel
from whisper_aut.model.encode import encode
from whisper_aut.model.greedy import DecodingRules, decoding_rules, greedy
from whisper_aut.model.word_errors import WordCounter, word_counter
from whisper_aut.train.engine import Engine
from whisper_aut.train.ranks import Ranks
from whisper_aut.train.watchdog import Watchdog

# A text may have twice the tokens of the longest reference in its batch, and so many more. A decoder that repeats
# itself would else hold training up for all the positions that it has; under ZeRO-3 each token gathers every weight.
_SPARE_TOKENS = 8


class WordErrorRate:
    """Word error rate of the model in training on a few clips, at trimmed context.

    Every rank decodes the same clips, and all end a batch together: under ZeRO-3 every forward is a collective, and two
    kinds of processors may disagree over a token. Compiled layers are left alone: a text grows, and each length of it
    would be compiled anew.

    Args:
        pool: held-out speech.
        num_clips: evenly chosen from it; all where it has no more.
        text_encoder, rules, counter: of the base.
        micro_batch_clips: decoded together.
    """

    def __init__(
        self,
        pool: Pool,
        num_clips: int,
        text_encoder: TextEncoder,
        rules: DecodingRules,
        counter: WordCounter,
        micro_batch_clips: int,
    ) -> None:
        chosen = np.unique(np.linspace(0, len(pool) - 1, min(num_clips, len(pool))).round().astype(int))
        self._pool = replace(pool, rows=pool.rows[chosen], num_samples=pool.num_samples[chosen])
        clips = [self._pool.clip(row) for row in range(len(self._pool))]
        self._said = {clip.id: (clip.text, clip.language) for clip in clips}
        self._text_encoder, self._rules, self._counter = text_encoder, rules, counter
        self._micro_batch_clips = micro_batch_clips

    def __call__(self, engine: Engine, log_mel: LogMel, ranks: Ranks, watchdog: Watchdog) -> float | None:
        """Per cent of words; None where no clip of it can be read or none has a word. A collective.

        Unreadable clips are left out: the validation loss has said which.
        """
        num_errors = num_words = 0
        engine.module.eval()

        def all_done(here: bool) -> bool:
            watchdog.at("decoding speech for validation", waits_for_ranks=True)
            return int(ranks.sum(float(here))[0]) == ranks.world_size

        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            for batch in validation_batches(self._pool, "speech", self._text_encoder, self._micro_batch_clips):
                for part in _alike(batch):
                    watchdog.at("decoding speech for validation")
                    said = self._decode(part.to(ranks.device), engine, log_mel, all_done)
                    for clip_id, tokens in zip(part.ids, said, strict=True):
                        text, language = self._said[clip_id]
                        found = self._counter.count(text, self._text_encoder.decode(tokens), language)
                        num_errors, num_words = num_errors + found.num_errors, num_words + found.num_words
        engine.module.train()
        return 100.0 * num_errors / num_words if num_words else None

    def _decode(
        self, batch: Batch, engine: Engine, log_mel: LogMel, all_done: Callable[[bool], bool]
    ) -> list[list[int]]:
        whisper = engine.module.whisper
        # The prefix ends where the first label that counts is the next token.
        num_prefix = int((batch.labels[0] != IGNORE_LABEL).int().argmax()) + 1
        states = encode(whisper.model.encoder, log_mel(batch.waveforms).to(engine.dtype))
        longest = int((batch.labels != IGNORE_LABEL).sum(dim=1).max())
        return greedy(
            whisper,
            states,
            batch.decoder_input_ids[:, :num_prefix],
            self._rules,
            max_tokens=num_prefix + 2 * longest + _SPARE_TOKENS,
            all_done=all_done,
        )


def word_error_rate(
    config: TrainConfig, pool: Pool | None, base: BaseModel, text_encoder: TextEncoder
) -> WordErrorRate | None:
    """What ``train.validate_wer_clips`` asks for; None where it asks for nothing.

    Raises:
        RecipeError: it asks for clips, and no speech is held out.
    """
    if not config.validate_wer_clips:
        return None
    if pool is None or not len(pool):
        raise RecipeError(
            f"train.validate_wer_clips is {config.validate_wer_clips}, but no speech is held out",
            remedy="set it to 0, or hold speech out: data.holdout_clips, or rows with split: validation",
        )
    return WordErrorRate(
        pool,
        config.validate_wer_clips,
        text_encoder,
        decoding_rules(base.model),
        word_counter(base.tokenizer),
        config.micro_batch_clips,
    )


def _alike(batch: Batch) -> list[Batch]:
    """The batch cut into parts of equal context: a clip's context is a function of its own length."""
    frames = [context_frames(int(number), "trimmed") for number in batch.num_samples]

    def part(rows: list[int], length: int) -> Batch:
        def of(tensor: Tensor) -> Tensor:
            return tensor[rows]

        return replace(
            batch,
            waveforms=of(batch.waveforms)[:, : length * HOP_LENGTH],
            num_samples=of(batch.num_samples),
            decoder_input_ids=of(batch.decoder_input_ids),
            labels=of(batch.labels),
            domains=tuple(batch.domains[row] for row in rows),
            ids=tuple(batch.ids[row] for row in rows),
        )

    return [part([row for row, own in enumerate(frames) if own == length], length) for length in sorted(set(frames))]
