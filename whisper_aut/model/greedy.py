"""Greedy decoding at any context: the likeliest token after the likeliest token, with the decoder's keys kept.

At full context the tokens are those of ``generate(num_beams=1, do_sample=False)`` of transformers, which can decode
nothing but 30 s. Legend: B clips, T encoder positions, D width, P tokens of the prefix, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from whisper_aut.constants import MAX_TOKENS

if TYPE_CHECKING:
    from transformers import WhisperForConditionalGeneration


@dataclass(frozen=True)
class DecodingRules:
    """What of the vocabulary may not be said, as the model's own generation settings have it.

    Attributes:
        suppressed: ids that are never chosen; Whisper's are those of noises, music notes and special tokens.
        suppressed_first: ids that the text may not begin with: blank, and the end itself.
        end_id: id of the token that ends a text.
    """

    suppressed: tuple[int, ...]
    suppressed_first: tuple[int, ...]
    end_id: int


def decoding_rules(whisper: WhisperForConditionalGeneration) -> DecodingRules:
    """The rules in ``whisper.generation_config``; ids beyond the vocabulary are passed over."""
    settings = whisper.generation_config

    def known(ids: list[int] | None) -> tuple[int, ...]:
        return tuple(token for token in ids or () if 0 <= token < whisper.config.vocab_size)

    end = settings.eos_token_id if settings.eos_token_id is not None else whisper.config.eos_token_id
    return DecodingRules(
        suppressed=known(getattr(settings, "suppress_tokens", None)),
        suppressed_first=known(getattr(settings, "begin_suppress_tokens", None)),
        end_id=int(end[0] if isinstance(end, list) else end),
    )


@torch.no_grad()
def greedy(
    whisper: WhisperForConditionalGeneration,
    states: Tensor,
    prefix: Tensor,
    rules: DecodingRules,
    *,
    max_tokens: int = MAX_TOKENS,
    all_done: Callable[[bool], bool] | None = None,
) -> list[list[int]]:
    """The tokens that the decoder says of each clip, without prefix and end.

    Args:
        whisper: its decoder speaks; its encoder is not used.
        states: [B, T, D] of an encoder, at any context.
        prefix: long [B, P], at least one token: start tokens, and a prompt where there is one.
        rules: what may not be said.
        max_tokens: of prefix, text and end together; at most the decoder's positions.
        all_done: told after each token whether all clips here have ended, and answers whether to end: for ranks that
            must make equally many forwards. Clips that have ended then stay in the batch.

    Raises:
        ValueError: the prefix leaves no room for a token.
    """
    max_tokens = min(max_tokens, int(whisper.config.max_target_positions))
    if not 0 < prefix.shape[1] < max_tokens:
        raise ValueError(f"{prefix.shape[1]} tokens of prefix; the decoder takes {max_tokens} together with the text")
    texts: list[list[int]] = [[] for _ in range(len(prefix))]
    rows = list(range(len(prefix)))  # of the clips that are still in the batch
    ended = [False] * len(prefix)
    never = torch.tensor(rules.suppressed, dtype=torch.long, device=states.device)
    not_first = torch.tensor(rules.suppressed_first, dtype=torch.long, device=states.device)
    cache = _empty_cache(whisper)
    tokens = prefix
    for position in range(prefix.shape[1], max_tokens):
        hidden = whisper.model.decoder(
            input_ids=tokens, encoder_hidden_states=states, past_key_values=cache, use_cache=True
        ).last_hidden_state
        logits = whisper.proj_out(hidden[:, -1]).float()  # [B, V]
        logits[:, never] = float("-inf")
        if position == prefix.shape[1]:
            logits[:, not_first] = float("-inf")
        chosen = logits.argmax(dim=1)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            ended[row] = ended[row] or token == rules.end_id
            if not ended[row]:
                texts[row].append(token)
        if all_done is not None:
            if all_done(all(ended)):
                break
        elif going := [place for place, row in enumerate(rows) if not ended[row]]:
            if len(going) < len(rows):  # one clip that says too much should not be paid for by all
                kept = torch.tensor(going, device=states.device)
                cache.batch_select_indices(kept)
                states, chosen, rows = states[kept], chosen[kept], [rows[place] for place in going]
        else:
            break
        tokens = chosen[:, None]
    return texts


def _empty_cache(whisper: WhisperForConditionalGeneration) -> Any:
    """As the decoder makes it for itself: one place a decoder layer, where the config counts the encoder's."""
    from transformers import DynamicCache, EncoderDecoderCache

    config = copy.deepcopy(whisper.config)
    config.num_hidden_layers = config.decoder_layers
    return EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))
