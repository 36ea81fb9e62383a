"""Write safetensors tensor after tensor: the header first, then the values, each in memory only while it is written.

``safetensors.torch.save_file`` wants all tensors at once; of large-v3 those are 6 GB. The bytes are the same.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from whisper_aut.model.tensors import INDEX, WEIGHTS

MAX_SHARD_BYTES = 5_000_000_000
_TYPE_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
_ALIGNMENT = 8


def write_safetensors(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    read: Callable[[str], Tensor],
    dtype: torch.dtype,
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write ``model.safetensors``, or shards of at most ``max_shard_bytes`` with ``model.safetensors.index.json``.

    Args:
        folder: where to; it exists.
        shapes: of every tensor, by name.
        read: gives a tensor of that shape, in ``dtype``.
        dtype: float32, bfloat16 or float16.
        max_shard_bytes: of values in a shard; a larger tensor has a shard to itself.

    Raises:
        OSError: the disk is full or not writable.
    """
    sizes = {name: math.prod(shape) * dtype.itemsize for name, shape in shapes.items()}
    shards: list[list[str]] = [[]]
    filled_bytes = 0
    for name in sorted(shapes):
        if shards[-1] and filled_bytes + sizes[name] > max_shard_bytes:
            shards.append([])
            filled_bytes = 0
        shards[-1].append(name)
        filled_bytes += sizes[name]
    if len(shards) == 1:
        _write_file(folder / WEIGHTS, shards[0], shapes, read, dtype)
        return
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_file(folder / file, names, shapes, read, dtype)
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The values of a contiguous tensor as bytes, little-endian, without a copy."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _write_file(
    path: Path,
    names: list[str],
    shapes: Mapping[str, tuple[int, ...]],
    read: Callable[[str], Tensor],
    dtype: torch.dtype,
) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name in names:
        end = offset + math.prod(shapes[name]) * dtype.itemsize
        header[name] = {"dtype": _TYPE_NAMES[dtype], "shape": list(shapes[name]), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            tensor = read(name)
            assert tuple(tensor.shape) == shapes[name] and tensor.dtype == dtype, name
            file.write(tensor_bytes(tensor))
