"""What is exported, whatever the form: tensors to read one at a time, in one precision, and what describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from whisper_aut.errors import CheckpointError
from whisper_aut.model.hashes import weights_sha256
from whisper_aut.model.stored import DECODER, ENCODER
from whisper_aut.model.tensors import LazyTensors, TensorPlace, is_finite

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase, WhisperConfig

DtypeName = Literal["float32", "bfloat16", "float16"]
DTYPE_NAMES: tuple[DtypeName, ...] = get_args(DtypeName)
DTYPES: dict[DtypeName, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
KeepDecoder = Literal["adapted", "original", "none"]
KEEP_DECODER: tuple[KeepDecoder, ...] = get_args(KeepDecoder)


@dataclass(frozen=True)
class Content:
    """One model to be written.

    Attributes:
        tensors: under the names of ``WhisperForConditionalGeneration`` (``model.encoder.…`` and, where the decoder is
            kept, ``model.decoder.…``), each cast to ``dtype`` when it is read.
        config: of the model that they were trained as.
        dtype_name: precision of what is written.
        tokenizer: where the decoder is kept.
        generation: settings of ``generate``, where the decoder is kept.
    """

    tensors: LazyTensors
    config: WhisperConfig
    dtype_name: DtypeName
    tokenizer: PreTrainedTokenizerBase | None = None
    generation: GenerationConfig | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Of every tensor."""
        return DTYPES[self.dtype_name]

    @property
    def has_decoder(self) -> bool:
        """Whether it can write text."""
        return any(name.startswith(DECODER) for name in self.tensors)

    @property
    def encoder(self) -> LazyTensors:
        """The encoder's tensors under the bare names of ``WhisperEncoder``."""
        return self.tensors.under(ENCODER)

    def encoder_sha256(self) -> str:
        """What ``load_encoder(EXPORT).weights_sha256`` will be: of the written values, taken as float32."""
        return weights_sha256(self.encoder, dtype=torch.float32)


def shapes_of(tensors: LazyTensors) -> dict[str, tuple[int, ...]]:
    """Name and shape of each."""
    return {name: tensors.shape(name) for name in tensors}


def cast(tensors: LazyTensors, dtype: torch.dtype) -> LazyTensors:
    """The same tensors, each cast when it is read.

    Raises:
        CheckpointError: when a tensor is read: a value is not finite, or beyond what ``dtype`` can hold.
    """
    return LazyTensors(
        {name: TensorPlace(place.shape, partial(_cast, name, place, dtype)) for name, place in tensors.places().items()}
    )


def _cast(name: str, place: TensorPlace, dtype: torch.dtype) -> Tensor:
    tensor = place.read()
    found = tensor.to(dtype)
    if is_finite(found):
        return found
    if not is_finite(tensor):
        raise CheckpointError(
            f"'{name}' holds values that are not finite", remedy="export another checkpoint; this model is broken"
        )
    raise CheckpointError(
        f"'{name}' holds {tensor.abs().max():g}, more than {str(dtype).removeprefix('torch.')} can",
        remedy="export with --dtype bfloat16 or float32",
    )


def check_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, call: str, where: str) -> None:
    """Compare what was read back with what should have been written, name by name, value by value, and by type.

    Args:
        found: as read back.
        expected: as it was to be written.
        call: by which it was read back, for the message.
        where: folder or file.

    Raises:
        CheckpointError: a tensor is missing, too many or different.
    """
    wrong = sorted(set(found) ^ set(expected))
    for name in sorted(set(found) & set(expected)):
        ours, theirs = expected[name], found[name]
        # Equal as bytes: -0 is not 0, and what was read back may be anything.
        if ours.dtype != theirs.dtype or ours.shape != theirs.shape or not _same_bytes(ours, theirs):
            wrong.append(name)
    if wrong:
        raise CheckpointError(
            f"{call} does not give the trained weights: {len(wrong)} tensors differ, the first is '{wrong[0]}'",
            where=where,
            remedy="the disk is failing, or this release of a library writes Whisper differently; report its version",
        )


def _same_bytes(a: Tensor, b: Tensor) -> bool:
    def as_bytes(tensor: Tensor) -> Tensor:
        return tensor.contiguous().reshape(-1).view(torch.uint8)

    return torch.equal(as_bytes(a), as_bytes(b))
