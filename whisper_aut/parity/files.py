"""The safetensors of a form as they lie on the disk: names and tensors, one file or several."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


def names_of(folder: Path) -> set[str]:
    """Names of all tensors, read from the files' own headers.

    Raises:
        OSError: a file is missing.
        SafetensorError: a file is damaged.
    """
    names: set[str] = set()
    for path in _files(folder):
        with safe_open(path, "pt") as file:
            names |= set(file.keys())
    return names


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """All tensors by name; errors as :func:`names_of`."""
    tensors: dict[str, Tensor] = {}
    for path in _files(folder):
        with safe_open(path, "pt") as file:
            tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    return tensors


def has_weights(folder: Path) -> bool:
    """Whether there are safetensors in the folder."""
    return (folder / _SINGLE).is_file() or (folder / _INDEX).is_file()


def _files(folder: Path) -> list[Path]:
    if (folder / _INDEX).is_file():
        parts = json.loads((folder / _INDEX).read_text("utf-8"))["weight_map"].values()
        return [folder / Path(part).name for part in sorted(set(parts))]
    return [folder / _SINGLE]
