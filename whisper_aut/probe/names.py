"""What can be named on a command line of probes. Imports nothing that takes time: a wrong name is said at once."""

from __future__ import annotations

from typing import Literal, get_args

from whisper_aut.errors import ProbeError

ProtocolName = Literal["paper", "strict", "xares", "xares-knn", "few-shot"]
PROTOCOL_NAMES: tuple[ProtocolName, ...] = get_args(ProtocolName)
DEFAULT_PROTOCOLS: tuple[ProtocolName, ...] = ("paper", "strict")
Statistic = Literal["mean", "mean+std", "max"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
Layer = int | Literal["last", "weighted"]
PRECISION_NAMES = ("auto", "float32", "fp32", "bfloat16", "bf16")  # as whisper_aut.model.precision takes them


def parse_layer(text: str) -> Layer:
    """``last``, ``weighted``, or a number from 0.

    Raises:
        ProbeError: none of these.
    """
    if text in {"last", "weighted"}:
        return "last" if text == "last" else "weighted"
    if text.isascii() and text.isdigit():
        return int(text)
    raise ProbeError(f"there is no layer '{text}'", remedy="give last, weighted, all, or a number from 0")
