"""``torch.compile`` of Whisper's layers, one by one, and the way back where it does not work.

Layers rather than the whole: they are all alike, so that one compilation serves them all, and what is between them (the
counted tokens, chunks of logits) changes its shape with every micro-batch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch

from whisper_aut.constants import BUCKET_FRAMES
from whisper_aut.errors import first_line
from whisper_aut.model.loss import WhisperSummedLoss

# Encoder layers meet one shape a length bucket (60), in training and in validation. Beyond the limit torch goes on
# without compiling, and says so in a log that nobody reads.
_SHAPES = 256


def compile_layers(module: WhisperSummedLoss, dtype: torch.dtype, *, zero_stage: int) -> bool:
    """Compile every encoder and decoder layer in place; a warning on standard error where that cannot be done.

    Args:
        module: on its device, in training mode; its weights and gradients stay as they are.
        dtype: of the model.
        zero_stage: of ZeRO; at 3 weights are gathered by hooks that compiled code does not run.

    Returns:
        Whether the layers are compiled.
    """
    if zero_stage == 3:
        return _without("ZeRO-3 gathers weights in hooks, which compiled layers do not run")
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _SHAPES)
    torch._dynamo.config.accumulated_recompile_limit = max(torch._dynamo.config.accumulated_recompile_limit, _SHAPES)
    # The encoder sees the plan's 60 lengths: a graph for each, met once. A decoder layer sees lengths of text as well,
    # thousands of pairs: one graph for all of them.
    for layer in module.whisper.model.encoder.layers:
        layer.compile(dynamic=False)
    for layer in module.whisper.model.decoder.layers:
        layer.compile(dynamic=True)
    try:
        _try(module, dtype)
    except Exception as error:  # whatever a compiler may throw: no C compiler, no Triton, an operation it cannot do
        for layer in _layers(module):
            layer._compiled_call_impl = None
        return _without(first_line(error))
    return True


def _layers(module: WhisperSummedLoss) -> Iterator[Any]:
    model = module.whisper.model
    yield from model.encoder.layers
    yield from model.decoder.layers


def _try(module: WhisperSummedLoss, dtype: torch.dtype) -> None:
    """Half a second of silence, forward and backward to the features: no gradient of a weight is touched."""
    config = module.whisper.config
    device = next(module.parameters()).device
    features = torch.zeros(1, config.num_mel_bins, BUCKET_FRAMES, device=device, dtype=dtype, requires_grad=True)
    tokens = torch.zeros((1, 8), dtype=torch.long, device=device)
    with torch.enable_grad():
        torch.autograd.grad(module(features, tokens, tokens), features)


def _without(reason: str) -> bool:
    print(f"warning: training without torch.compile: {reason}", file=sys.stderr, flush=True)
    return False
