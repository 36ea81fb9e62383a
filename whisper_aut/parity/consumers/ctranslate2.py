"""CTranslate2: ``models.Whisper(DIR).encode`` on the full window and on lengths trimmed to each clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whisper_aut.model.ctranslate2 import read_whisper
from whisper_aut.model.stored import ENCODER
from whisper_aut.parity.compare import Distance, check_weights, distance
from whisper_aut.parity.consumers.base import Consumer, Found, over_clips
from whisper_aut.parity.reference import Reference


def as_tensor(view: Any) -> Tensor:
    """A StorageView on the processor as float32."""
    import ctranslate2

    return torch.from_numpy(np.array(view.to(ctranslate2.DataType.float32)))


def check_file(folder: Path, reference: Reference) -> None:
    """CTranslate2 overlooks tensors that it does not ask for, so the file's own names are compared, and its values.

    Raises:
        Mismatch: a weight of the encoder is missing, too many or different.
        BaseModelError: the file is damaged or holds names that Whisper does not have.
    """
    state, _ = read_whisper(folder / "ctranslate2" / "model.bin")
    own = {name.removeprefix(ENCODER): tensor for name, tensor in state.items() if name.startswith(ENCODER)}
    precision = getattr(torch, "float32" if reference.precision == "bfloat16" else reference.precision)
    check_weights(own, {name: tensor.to(precision).float() for name, tensor in reference.weights.items()}, "model.bin")


def _whisper(folder: Path, reference: Reference) -> Any:
    import ctranslate2

    check_file(folder, reference)
    return ctranslate2.models.Whisper(str(folder / "ctranslate2"), device="cpu", compute_type="float32")


def as_view(tensor: Tensor) -> Any:
    """A tensor as CTranslate2 takes it."""
    import ctranslate2

    return ctranslate2.StorageView.from_array(np.ascontiguousarray(tensor.numpy()))


def _encode(model: Any, features: Tensor) -> Tensor:
    return as_tensor(model.encode(as_view(features)))


def _full(model: Any, reference: Reference) -> Distance:
    return distance(_encode(model, reference.features), reference.states)


def _trimmed(model: Any, reference: Reference) -> Distance:
    def states_of(clip: int) -> Distance:
        features, states = reference.trimmed(clip)
        return distance(_encode(model, features), states)

    return over_clips(reference, states_of)


def _row(compare: Callable[[Any, Reference], Distance]) -> Callable[[Path, Reference], Found]:
    return lambda folder, reference: Found(compare(_whisper(folder, reference), reference))


CONSUMERS = (
    Consumer("CTranslate2, 30 s", "ctranslate2", ("ctranslate2",),
             "models.Whisper(DIR/ctranslate2).encode([B, M, 3000])", _row(_full)),
    Consumer("CTranslate2, trimmed", "ctranslate2", ("ctranslate2",),
             "models.Whisper(DIR/ctranslate2).encode([1, M, F])", _row(_trimmed)),
)  # fmt: skip
