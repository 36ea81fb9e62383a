"""Whisper with a summed token loss: what the engine trains.

Legend: B clips in a micro-batch, M mel bins, F mel frames, T encoder positions, L text tokens, N counted tokens,
D width, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from whisper_aut.constants import IGNORE_LABEL
from whisper_aut.model.encode import encode

if TYPE_CHECKING:
    from transformers import WhisperForConditionalGeneration

# The number of counted tokens is filled up to a multiple of this with tokens that do not count: kernels are generated
# or tuned for each shape they meet, and a new number in every micro-batch would keep them at it for a whole run.
TOKEN_BUCKET = 32
# Tokens whose logits exist at one time: 1024 x 51 866 x 4 bytes = 212 MB in float32, whatever B and L are.
TOKENS_PER_CHUNK = 1024


class WhisperSummedLoss(nn.Module):
    """Cross entropy summed (not averaged) over the tokens that count, so that a step can divide by its own total.

    Hugging Face's Whisper averages within each micro-batch; micro-batches of unequal token counts are then weighted
    wrongly. Here the step divides the sum of all micro-batches on all ranks by the step's number of tokens.
    """

    def __init__(self, whisper: WhisperForConditionalGeneration, *, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.whisper = whisper
        if gradient_checkpointing:
            # The new name where this release has it; both act on the layers themselves, the encoder's too.
            enable: Any = getattr(whisper, "activation_checkpointing_enable", None)
            (enable or whisper.gradient_checkpointing_enable)()

    def forward(self, features: Tensor, decoder_input_ids: Tensor, labels: Tensor) -> Tensor:
        """Summed negative log-likelihood.

        Args:
            features: log-mel [B, M, F].
            decoder_input_ids: [B, L].
            labels: [B, L], ``IGNORE_LABEL`` where a position does not count.

        Returns:
            A float32 scalar: the sum over the labels that count.
        """
        states = encode(self.whisper.model.encoder, features)  # [B, T, D]
        hidden = self.whisper.model.decoder(  # [B, L, D]
            input_ids=decoder_input_ids, encoder_hidden_states=states, use_cache=False
        ).last_hidden_state
        return self._summed_nll(*_counted_rows(hidden, labels))

    def _summed_nll(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Sum over chunks; logits [N, V] are recomputed in backward, so only one chunk of them ever exists."""
        total = hidden.new_zeros((), dtype=torch.float32)
        for hidden_chunk, label_chunk in zip(
            hidden.split(TOKENS_PER_CHUNK), labels.split(TOKENS_PER_CHUNK), strict=True
        ):
            if hidden.requires_grad and len(hidden) > TOKENS_PER_CHUNK:
                total = total + checkpoint(self._chunk_nll, hidden_chunk, label_chunk, use_reentrant=False)
            else:
                total = total + self._chunk_nll(hidden_chunk, label_chunk)
        return total

    def _chunk_nll(self, hidden: Tensor, labels: Tensor) -> Tensor:
        logits = self.whisper.proj_out(hidden).float()
        return nn.functional.cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORE_LABEL)


def _counted_rows(hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """States [N, D] and labels [N] of the positions that count, N filled up with positions whose label is ignored."""
    rows = (labels.reshape(-1) != IGNORE_LABEL).nonzero().squeeze(1)
    num_fill = -len(rows) % TOKEN_BUCKET
    filled = nn.functional.pad(rows, (0, num_fill))  # row 0 again, which the padded labels make ignored
    chosen = nn.functional.pad(labels.reshape(-1)[rows], (0, num_fill), value=IGNORE_LABEL)
    return hidden.reshape(-1, hidden.shape[-1])[filled], chosen
