"""Names, values and states against the reference: what differs is said by name, how much by number.

Weights must be equal to the last bit of the export's precision; states may differ by rounding. The difference of states
is measured in units of the reference's own root mean square, twice: its largest value, and its root mean square.
The largest alone is not enough: in half precision a few positions of padded silence go their own way (0.5 in float16
for tiny.en) while the mean is a thousandth. Two layers exchanged in tiny.en give 0.7 in the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import torch
from torch import Tensor


class Mismatch(Exception):
    """The consumer does not have the reference's encoder; the message names the key or the difference."""


@dataclass(frozen=True)
class Distance:
    """How far states are from the reference's, in units of the reference's root mean square."""

    largest: float
    rms: float


TOLERANCES: Mapping[str, Distance] = {
    "float32": Distance(5e-3, 5e-4),
    "float16": Distance(2.0, 2e-2),
    "bfloat16": Distance(4.0, 1e-1),
}
"""By the export's precision. Measured for tiny.en on speech: 6e-4 and 1e-5 in float32 (through faster-whisper's own
spectrogram), 0.5 and 1.4e-3 in float16, 0.5 and 1.4e-2 in bfloat16."""


def distance(found: Tensor, expected: Tensor) -> Distance:
    """Of two state tensors of the same shape.

    Raises:
        Mismatch: other shapes, or values that are not finite.
    """
    if found.shape != expected.shape:
        raise Mismatch(f"its states are {tuple(found.shape)}, the reference's are {tuple(expected.shape)}")
    difference = found.detach().cpu().double() - expected.double()
    scale = expected.double().square().mean().sqrt().clamp(min=1e-12)
    if not bool(difference.isfinite().all()):
        raise Mismatch("its states hold values that are not finite")
    return Distance(float(difference.abs().max() / scale), float(difference.square().mean().sqrt() / scale))


def largest(distances: Sequence[Distance]) -> Distance:
    """The larger of each measure."""
    return Distance(max(d.largest for d in distances), max(d.rms for d in distances))


def check_names(found: Set[str], expected: Set[str], where: str) -> None:
    """Both directions at once.

    Raises:
        Mismatch: a name is missing or unexpected; the message names the first of each.
    """
    missing, unexpected = sorted(expected - found), sorted(found - expected)
    if missing or unexpected:
        parts = [
            f"{len(names)} {what}, the first is '{names[0]}'"
            for what, names in (("missing", missing), ("unexpected", unexpected))
            if names
        ]
        raise Mismatch(f"keys of {where}: {'; '.join(parts)}")


def check_weights(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
    """The same names, shapes and values, each value rounded to the precision in which it was found.

    Raises:
        Mismatch: the first tensor that differs, with its largest difference.
    """
    check_names(set(found), set(expected), where)
    for name in sorted(expected):
        have, want = found[name].detach().cpu(), expected[name]
        if have.shape != want.shape:
            raise Mismatch(f"'{name}' of {where} is {tuple(have.shape)}, in the reference {tuple(want.shape)}")
        if not torch.equal(have, want.to(have.dtype)):
            size = float((have.double() - want.double()).abs().max())
            raise Mismatch(f"'{name}' of {where} has other values than the reference: up to {size:.3g} apart")
