"""Read Whisper from a file of the package openai-whisper (``{"dims", "model_state_dict"}``) into Hugging Face names.

Nothing is unpickled but tensors (``weights_only=True``), and the package is not needed.
"""

from __future__ import annotations

import pickle
import re
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from whisper_aut.errors import BaseModelError, first_line
from whisper_aut.model.tensors import LazyTensors, TensorPlace

# ``ModelDimensions`` of openai-whisper, in its order.
DIMENSIONS = (
    "n_mels", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer",
    "n_vocab", "n_text_ctx", "n_text_state", "n_text_head", "n_text_layer",
)  # fmt: skip
_OUTSIDE = {
    "encoder.conv1": "encoder.conv1",
    "encoder.conv2": "encoder.conv2",
    "encoder.ln_post": "encoder.layer_norm",
    "decoder.token_embedding": "decoder.embed_tokens",
    "decoder.ln": "decoder.layer_norm",
}
_POSITIONS = "positional_embedding"  # a tensor of its own there, a module's weight here
_INSIDE = {
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "cross_attn.query": "encoder_attn.q_proj",
    "cross_attn.key": "encoder_attn.k_proj",
    "cross_attn.value": "encoder_attn.v_proj",
    "cross_attn.out": "encoder_attn.out_proj",
    "cross_attn_ln": "encoder_attn_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
    "mlp_ln": "final_layer_norm",
}
_THEIR_LAYER = re.compile(r"^(encoder|decoder)\.blocks\.(\d+)\.(.+)\.(weight|bias)$")
_OUR_LAYER = re.compile(r"^model\.(encoder|decoder)\.layers\.(\d+)\.(.+)\.(weight|bias)$")
# A mapped file's pages count as ours until it is closed.
_MAPPED_BYTES = 1 << 30


def hugging_face_name(name: str) -> str | None:
    """``model.encoder.…`` for a name of openai-whisper; None for one that Whisper does not have."""
    if match := _THEIR_LAYER.match(name):
        stack, layer, module, leaf = match.groups()
        return f"model.{stack}.layers.{layer}.{_INSIDE[module]}.{leaf}" if module in _INSIDE else None
    module, _, leaf = name.rpartition(".")
    if leaf == _POSITIONS and module in {"encoder", "decoder"}:
        return f"model.{module}.embed_positions.weight"
    return f"model.{_OUTSIDE[module]}.{leaf}" if module in _OUTSIDE and leaf in {"weight", "bias"} else None


def openai_name(name: str) -> str:
    """The inverse of :func:`hugging_face_name`, for names that Whisper has."""
    if match := _OUR_LAYER.match(name):
        stack, layer, module, leaf = match.groups()
        return f"{stack}.blocks.{layer}.{_THEIR_INSIDE[module]}.{leaf}"
    module, _, leaf = name.removeprefix("model.").rpartition(".")
    if module.endswith(".embed_positions"):
        return f"{module.partition('.')[0]}.{_POSITIONS}"
    return f"{_THEIR_OUTSIDE[module]}.{leaf}"


_THEIR_INSIDE = {ours: theirs for theirs, ours in _INSIDE.items()}
_THEIR_OUTSIDE = {ours: theirs for theirs, ours in _OUTSIDE.items()}


def open_openai(path: Path) -> tuple[LazyTensors, dict[str, int]]:
    """The tensors of a file that ``whisper.load_model`` takes, and its dimensions. Tensors are as they are stored
    (OpenAI's are float16), under the names of ``WhisperForConditionalGeneration``.

    Raises:
        BaseModelError: damaged, pickled objects other than tensors, no Whisper, or names that Whisper does not have.
    """
    file = _TorchFile(path)
    content = file.content()
    dims = content.get("dims")
    if not isinstance(dims, dict) or set(dims) != set(DIMENSIONS):
        raise BaseModelError(
            "the file's 'dims' are not those of Whisper",
            where=str(path),
            remedy="give a file that whisper.load_model takes",
        )
    if not all(isinstance(value, int) and 0 <= value < 1 << 24 for value in dims.values()):
        raise BaseModelError(f"the file's 'dims' are no sizes: {dims}", where=str(path))
    places: dict[str, TensorPlace] = {}
    for name, tensor in content["model_state_dict"].items():
        ours = hugging_face_name(name) if isinstance(name, str) else None
        if ours is None or not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise BaseModelError(f"'{name}' is not a tensor of Whisper", where=str(path), remedy="give a whole Whisper")
        if tensor.numel():  # the empty decoder of an encoder-only file
            places[ours] = TensorPlace(tuple(tensor.shape), partial(file.tensor, name))
    return LazyTensors(places), dict(dims)


class _TorchFile:
    """A file of torch, mapped; opened anew after a gigabyte was read from it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content: dict[str, Any] | None = None
        self._read_bytes = 0

    def content(self) -> dict[str, Any]:
        """What is in the file.

        Raises:
            BaseModelError: it cannot be read without trusting it.
        """
        if self._content is None or self._read_bytes > _MAPPED_BYTES:
            self._content, self._read_bytes = None, 0
            content = _load(self._path)
            if not isinstance(content, dict) or not isinstance(content.get("model_state_dict"), dict):
                raise BaseModelError(
                    "the file has no 'model_state_dict'",
                    where=str(self._path),
                    remedy="give a file that whisper.load_model takes",
                )
            self._content = content
        return self._content

    def tensor(self, name: str) -> Tensor:
        """A copy of one tensor."""
        found: Tensor = self.content()["model_state_dict"][name]
        self._read_bytes += found.nbytes
        return found.detach().clone(memory_format=torch.contiguous_format)


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if not start:
            raise BaseModelError("the file is empty", where=str(path), remedy="copy the file again")
        is_zip = start == b"PK\x03\x04"  # before torch 1.6 it was none, and cannot be mapped
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that what follows names or refuses
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        # torch's message is a page that ends in advice to trust the file; what is of use is which global it asks for.
        asked = re.search(r"GLOBAL (\S+)", str(error))
        raise BaseModelError(
            f"the file holds more than tensors and is not unpickled: it asks for {asked[1]}"
            if asked
            else "the file is damaged, holds more than tensors, or is none of torch's; it is not unpickled",
            where=str(path),
            remedy="give OpenAI's own file, or an export of whisper-aut",
        ) from None
    except OSError as error:
        raise BaseModelError(
            f"the file cannot be read: {first_line(error)}", where=str(path), remedy="see that it is there and readable"
        ) from None
    except (RuntimeError, ValueError, EOFError, KeyError, IndexError, AttributeError, TypeError):
        raise BaseModelError(
            f"the file is truncated, damaged, or none of torch's ({path.stat().st_size:,} bytes)",
            where=str(path),
            remedy="copy the file again",
        ) from None
