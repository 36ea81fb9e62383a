"""What a probe asks of an encoder: states of every layer in one pass, and which positions saw audio of the clip.

Legend: B clips in a batch, S samples, T positions, D width, K layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from whisper_aut.constants import SAMPLE_RATE, WINDOW_SEC, Context
from whisper_aut.probe.names import Statistic

Positions = Literal["all", "real"]


@dataclass(frozen=True, slots=True)
class Pooling:
    """How the states of a clip become one vector: a statistic over all positions, or over those of real audio."""

    statistic: Statistic
    positions: Positions

    def __str__(self) -> str:
        return f"{self.statistic} over {self.positions} positions"


@dataclass(frozen=True)
class States:
    """One batch's states: the layers one after another, so that none but the pooled vectors has to stay in memory."""

    layers: Iterator[Tensor]  # K times [B, T, D], the input of the first block first
    real: Tensor  # bool [B, T]: positions that saw audio of the clip itself


class Kind(NamedTuple):
    """What an encoder is to others."""

    family: str
    is_floor: bool


class ProbedEncoder(ABC):
    """A frozen encoder. Its states of a clip do not depend on the clips beside it.

    ``content_sha256`` covers all that a state depends on beside the clip: weights, front end, version of the adapter.
    """

    name: str  # as given
    family: str  # encoders of one family are versions of each other: a base and its adaptation
    is_floor = False  # what any trained encoder should beat: random weights, plain statistics of the spectrum
    weights_sha256: str
    content_sha256: str
    num_layers: int  # K; the last is the encoder's output
    width: int  # D
    num_parameters: int
    sample_rate: int = SAMPLE_RATE  # Hz
    window_sec: float = WINDOW_SEC  # of a longer clip only this much is heard
    trims: bool = False  # whether ``trimmed`` differs from ``full``
    statistic: Statistic | None = None  # the only one that makes sense, whatever the protocol asks
    notes: tuple[str, ...] = ()  # what the reader of a result must know of the encoder
    made_by: str = ""  # the command that wrote the folder, where an export says so

    @property
    def kind(self) -> Kind:
        """Its family, and whether it is a floor."""
        return Kind(self.family, self.is_floor)

    @abstractmethod
    def to(self, device: str) -> None:
        """Move the weights."""

    @abstractmethod
    def padded_samples(self, num_samples: int, context: Context) -> int:
        """S of a clip of ``num_samples`` samples; clips of equal S share a batch."""

    @abstractmethod
    def encode(self, waveforms: Tensor, num_samples: Sequence[int]) -> States:
        """States of ``waveforms`` [B, S], padded with silence; ``num_samples`` of each clip are its own."""

    def vector_size(self, statistic: Statistic) -> int:
        """Numbers in one pooled vector."""
        return self.width * (2 if (self.statistic or statistic) == "mean+std" else 1)
