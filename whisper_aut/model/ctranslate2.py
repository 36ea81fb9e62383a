"""Read Whisper from CTranslate2's ``model.bin`` (binary format 6) into Hugging Face names. No ctranslate2 needed.

The format is plain: version, specification, then for every tensor its name, shape, element type and bytes, and at the
end aliases (https://github.com/OpenNMT/CTranslate2, ``python/ctranslate2/specs/model_spec.py``). Query, key and value
are fused in ``self_attention/linear_0``, key and value of cross attention in ``attention/linear_1``; Whisper's keys
have no bias, so that part of a fused bias is zero.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from whisper_aut.errors import BaseModelError
from whisper_aut.model.tensors import LazyTensors, TensorPlace

BINARY_VERSION = 6
SPECIFICATION = "WhisperSpec"
_ELEMENT_TYPES: dict[int, np.dtype[np.generic]] = {  # CTranslate2's DataType enumeration
    0: np.dtype("<f4"),
    1: np.dtype("i1"),
    2: np.dtype("<i2"),
    3: np.dtype("<i4"),
    4: np.dtype("<f2"),
}
_MAX_NAME_BYTES = 512
_MAX_RANK = 4

OUTSIDE_LAYERS = {
    "encoder/conv1/weight": "model.encoder.conv1.weight",
    "encoder/conv1/bias": "model.encoder.conv1.bias",
    "encoder/conv2/weight": "model.encoder.conv2.weight",
    "encoder/conv2/bias": "model.encoder.conv2.bias",
    "encoder/position_encodings/encodings": "model.encoder.embed_positions.weight",
    "encoder/layer_norm/gamma": "model.encoder.layer_norm.weight",
    "encoder/layer_norm/beta": "model.encoder.layer_norm.bias",
    "decoder/embeddings/weight": "model.decoder.embed_tokens.weight",
    "decoder/position_encodings/encodings": "model.decoder.embed_positions.weight",
    "decoder/layer_norm/gamma": "model.decoder.layer_norm.weight",
    "decoder/layer_norm/beta": "model.decoder.layer_norm.bias",
}
# Within a layer: CTranslate2's name, Hugging Face's names (several where CTranslate2 fuses them, in order of rows).
INSIDE_LAYERS: dict[str, tuple[str, ...]] = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
    "ffn/layer_norm": ("final_layer_norm",),
}
LEAVES = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
_LAYER = re.compile(r"^(encoder|decoder)/layer_(\d+)/(.+)/(weight|bias|gamma|beta)$")
_NUM_HEADS = re.compile(r"^(encoder|decoder)(/layer_\d+/(self_)?attention)?/num_heads$")


@dataclass(frozen=True)
class _Entry:
    """One tensor of the file: where its bytes begin and what they mean."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    offset: int
    path: Path

    def array(self) -> np.ndarray:
        """The values, read from the file."""
        count = int(np.prod(self.shape, dtype=np.int64))
        try:
            found = np.fromfile(self.path, self.dtype, count, offset=self.offset)
        except OSError as error:
            raise BaseModelError(f"the weights cannot be read: {error}", where=str(self.path)) from None
        if found.size != count:
            raise _truncated(self.path)
        return found.reshape(self.shape)


def open_whisper(model_bin: Path) -> tuple[LazyTensors, dict[str, int]]:
    """The tensors of ``model.bin`` as float32 under the names of ``WhisperForConditionalGeneration``, read one at a
    time.

    Returns:
        Them (without the tied ``proj_out.weight``) and the attention heads of ``encoder`` and ``decoder``.

    Raises:
        BaseModelError: truncated, another format version, quantised weights or names that Whisper does not have.
    """
    places: dict[str, TensorPlace] = {}
    num_heads: dict[str, int] = {}
    for entry in _entries(model_bin):
        if match := _NUM_HEADS.match(entry.name):
            num_heads[match[1]] = int(entry.array())
        elif entry.shape:
            places |= _renamed(entry)
    return LazyTensors(places), num_heads


def read_whisper(model_bin: Path) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """All of :func:`open_whisper`, in memory."""
    tensors, num_heads = open_whisper(model_bin)
    return dict(tensors), num_heads


def _renamed(entry: _Entry) -> dict[str, TensorPlace]:
    name, path = entry.name, entry.path
    if name == "decoder/alignment_heads":  # word timestamps; no weight
        return {}
    if entry.dtype.kind != "f":
        raise BaseModelError(
            f"tensor '{name}' is quantised ({entry.dtype})",
            where=str(path),
            remedy="convert Whisper with --quantization float16 or float32; training cannot start from int8",
        )
    if name in OUTSIDE_LAYERS:
        return {OUTSIDE_LAYERS[name]: TensorPlace(entry.shape, partial(_float32, entry))}
    match = _LAYER.match(name)
    if match is None or match[3] not in INSIDE_LAYERS:
        raise BaseModelError(
            f"tensor '{name}' is not part of a Whisper model", where=str(path), remedy="give a Whisper conversion"
        )
    stack, layer, leaf = match[1], match[2], LEAVES[match[4]]
    targets = INSIDE_LAYERS[match[3]]
    if entry.shape[0] % len(targets):
        raise BaseModelError(f"tensor '{name}' of shape {entry.shape} does not hold {targets}", where=str(path))
    num_rows = entry.shape[0] // len(targets)
    places = {}
    for number, target in enumerate(targets):
        rows = slice(number * num_rows, (number + 1) * num_rows)
        if target.endswith("k_proj") and leaf == "bias":
            if entry.array()[rows].any():
                raise BaseModelError(f"the key's part of '{name}' is not zero; this is not Whisper", where=str(path))
            continue
        places[f"model.{stack}.layers.{layer}.{target}.{leaf}"] = TensorPlace(
            (num_rows, *entry.shape[1:]), partial(_rows, entry, rows)
        )
    return places


def _rows(entry: _Entry, rows: slice) -> torch.Tensor:
    return _float32(entry)[rows].clone()


def _float32(entry: _Entry) -> torch.Tensor:
    return torch.from_numpy(entry.array().astype(np.float32))


def _entries(path: Path) -> Iterator[_Entry]:
    with path.open("rb") as file:
        size = path.stat().st_size
        version = _unpack(file, "<I", path)
        if version != BINARY_VERSION:
            raise BaseModelError(
                f"CTranslate2 binary format {version}; this reader knows {BINARY_VERSION}",
                where=str(path),
                remedy="convert the model with a current ctranslate2",
            )
        specification = _name(file, path)
        if specification != SPECIFICATION:
            raise BaseModelError(f"the model is a '{specification}', not a {SPECIFICATION}", where=str(path))
        _unpack(file, "<I", path)  # revision of the specification
        for _ in range(_unpack(file, "<I", path)):
            name = _name(file, path)
            rank = _unpack(file, "<B", path)
            if rank > _MAX_RANK:
                raise BaseModelError(f"tensor '{name}' has {rank} dimensions; the file is damaged", where=str(path))
            shape = tuple(_unpack(file, "<I", path) for _ in range(rank))
            kind = _unpack(file, "<B", path)
            num_bytes = _unpack(file, "<I", path)
            dtype = _ELEMENT_TYPES.get(kind)
            if dtype is None:
                raise BaseModelError(f"tensor '{name}' has unknown element type {kind}", where=str(path))
            expected = math.prod(shape) * dtype.itemsize
            if num_bytes != expected:
                raise BaseModelError(f"tensor '{name}' has {num_bytes} bytes for shape {shape}", where=str(path))
            offset = file.tell()
            if offset + num_bytes > size:
                raise _truncated(path)
            yield _Entry(name, shape, dtype, offset, path)
            file.seek(offset + num_bytes)


def _name(file: BinaryIO, path: Path) -> str:
    length = _unpack(file, "<H", path)
    if length > _MAX_NAME_BYTES:
        raise BaseModelError(f"a name of {length} bytes; the file is damaged", where=str(path))
    return _exactly(file, length, path).rstrip(b"\0").decode("utf-8", errors="replace")


def _unpack(file: BinaryIO, form: str, path: Path) -> int:
    return int(struct.unpack(form, _exactly(file, struct.calcsize(form), path))[0])


def _exactly(file: BinaryIO, num_bytes: int, path: Path) -> bytes:
    data = file.read(num_bytes)
    if len(data) != num_bytes:
        raise _truncated(path)
    return data


def _truncated(path: Path) -> BaseModelError:
    return BaseModelError(
        f"the file ends early, after {path.stat().st_size} bytes", where=str(path), remedy="copy or install it again"
    )
