"""Which weights these are: one hash over all tensors of a model, whatever file they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch


def weights_sha256(state: Mapping[str, torch.Tensor], *, dtype: torch.dtype | None = None) -> str:
    """SHA-256 over names, shapes, types and bytes of all tensors, in order of their names.

    Args:
        state: tensors by name; looked up one at a time.
        dtype: what the tensors are taken as; as they are if left out.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        if dtype is not None:
            tensor = tensor.to(dtype)
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
