"""The processes that train together: who this one is, and the few things they tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import Store

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ranks:
    """This process among all.

    Attributes:
        rank: of this process, from 0.
        world_size: number of ranks.
        device: this rank's.
        store: key-value store of the launch; it works while a collective hangs.
    """

    rank: int
    world_size: int
    device: torch.device
    store: Store

    @property
    def speaks(self) -> bool:
        """Whether this is the rank that prints and writes."""
        return self.rank == 0

    def sum(self, *values: float | Tensor) -> Tensor:
        """Float64 sums over all ranks, on the CPU; a collective."""
        total = torch.tensor([float(value) for value in values], dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.cpu()

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in order of ranks; a collective."""
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def from_first(self, value: Value) -> Value:
        """Rank 0's value, on every rank; a collective."""
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]
