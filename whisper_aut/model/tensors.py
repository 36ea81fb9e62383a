"""Tensors by name that are read when they are asked for and not kept: a model larger than memory is no obstacle."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from whisper_aut.errors import BaseModelError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class TensorPlace:
    """A tensor that is known by its shape; ``read`` gives its values anew each time."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]

    def mapped(self, change: Callable[[Tensor], Tensor]) -> TensorPlace:
        """The same, changed by a function that keeps its shape whenever it is read."""
        return TensorPlace(self.shape, lambda: change(self.read()))


class LazyTensors(Mapping[str, Tensor]):
    """A mapping from names to tensors in which each look-up reads from the file."""

    def __init__(self, places: Mapping[str, TensorPlace]) -> None:
        self._places = dict(places)

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> LazyTensors:
        """Of tensors that are in memory."""
        return cls({name: TensorPlace(tuple(t.shape), partial(_in_memory, t)) for name, t in state.items()})

    def __getitem__(self, name: str) -> Tensor:
        return self._places[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape, without reading it."""
        return self._places[name].shape

    def under(self, prefix: str, new_prefix: str = "") -> LazyTensors:
        """Those whose names begin with ``prefix``, which is replaced by ``new_prefix``."""
        return LazyTensors(
            {
                new_prefix + name.removeprefix(prefix): place
                for name, place in self._places.items()
                if name.startswith(prefix)
            }
        )

    def with_others(self, others: LazyTensors) -> LazyTensors:
        """These and the others; the others' where a name is in both."""
        return LazyTensors(self._places | others._places)

    def places(self) -> dict[str, TensorPlace]:
        """Where each is read from, for renaming."""
        return dict(self._places)


def safetensors_file(path: Path) -> LazyTensors:
    """The tensors of one safetensors file. It is opened for each of them, so that no page of it stays mapped.

    Raises:
        BaseModelError: missing or damaged; also later, when a tensor is read.
    """

    def reader(name: str) -> Callable[[], Tensor]:
        def read() -> Tensor:
            try:
                with safe_open(path, framework="pt") as file:
                    tensor: Tensor = file.get_tensor(name)
                    return tensor.clone()
            except (OSError, SafetensorError) as error:
                raise _unreadable(path, error) from None

        return read

    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from None
    return LazyTensors({name: TensorPlace(shape, reader(name)) for name, shape in shapes.items()})


def safetensors_folder(folder: Path) -> LazyTensors:
    """The tensors of ``model.safetensors``, or of the shards that its index names.

    Raises:
        BaseModelError: neither is there, the index names a file outside the folder, or a file is damaged.
    """
    if (folder / WEIGHTS).is_file():
        return safetensors_file(folder / WEIGHTS)
    shards = shard_names(folder)
    tensors = LazyTensors({})
    for shard in sorted(set(shards.values())):
        tensors = tensors.with_others(safetensors_file(folder / shard))
    differing = sorted(set(shards) ^ set(tensors))
    if differing:
        raise BaseModelError(
            f"{INDEX} and the shards differ in {len(differing)} tensors, the first is '{differing[0]}'",
            where=str(folder),
            remedy="copy the folder again",
        )
    return tensors


def shard_names(folder: Path) -> dict[str, str]:
    """The shard of each tensor, by ``model.safetensors.index.json``.

    Raises:
        BaseModelError: there is none, or it cannot be used.
    """
    path = folder / INDEX
    try:
        names = json.loads(path.read_text("utf-8"))["weight_map"]
        if not all(isinstance(file, str) and Path(file).name == file for file in names.values()):
            raise ValueError("it names files that are not in the folder")
    except FileNotFoundError:
        pickled = ", ".join(sorted(file.name for file in folder.glob("pytorch_model*.bin")))
        raise BaseModelError(
            f"the folder has neither {WEIGHTS} nor {INDEX}" + (f", but {pickled}" if pickled else ""),
            where=str(folder),
            remedy="give a folder with safetensors; pickled weights are not read",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaseModelError(f"{INDEX} cannot be read: {error}", where=str(folder)) from None
    return dict(names)


def blended(trained: LazyTensors, base: LazyTensors, share: float) -> LazyTensors:
    """``share`` x trained + (1 - ``share``) x base in float32, by name; the trained tensors themselves for 1.

    Raises:
        BaseModelError: a tensor is missing in the base or has another shape.
    """
    if share == 1:
        return trained
    for name in trained:
        if name not in base or base.shape(name) != trained.shape(name):
            raise BaseModelError(f"the base has no '{name}' of shape {trained.shape(name)} to blend with")

    def place(name: str) -> TensorPlace:
        return TensorPlace(trained.shape(name), lambda: torch.lerp(base[name].float(), trained[name].float(), share))

    return LazyTensors({name: place(name) for name in trained})


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is infinite or NaN; by the extremes, which need no memory of the tensor's size."""
    return tensor.numel() == 0 or all(bool(extreme.isfinite()) for extreme in tensor.aminmax())


def _in_memory(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu()


def _unreadable(path: Path, error: Exception) -> BaseModelError:
    return BaseModelError(f"the weights cannot be read: {error}", where=str(path), remedy="copy the file again")
