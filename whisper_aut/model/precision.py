"""Which arithmetic a device is fast in: bfloat16 or float32, measured instead of assumed.

A CPU with AMX or AVX-512-BF16 multiplies bfloat16 several times faster than float32; one without computes it a hundred
times slower. So one small product of each kind is timed on one core, once per process. Float32 is the more exact one:
it is taken unless bfloat16 is clearly faster.
"""

from __future__ import annotations

import functools
import sys
import time
from dataclasses import dataclass
from typing import Literal

import torch

from whisper_aut.errors import RecipeError

DTYPES = {
    "float32": torch.float32, "fp32": torch.float32, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16,
}  # fmt: skip
"""Precisions by the names that PyTorch and Hugging Face's trainers use for them."""

_SIDE = 192  # 14 MFLOP: 0.15 ms in float32, 30 ms in bfloat16 that is emulated
_MIN_PRODUCTS, _MEASURE_SEC = 4, 0.05  # of each kind; the best counts, since others may use the core meanwhile
_CLEARLY_FASTER = 1.25
SLOW_FACTOR = 2.0
"""A 16-bit type whose products take so many times as long as float32's is slow: worth a warning, or another choice."""


@dataclass(frozen=True)
class PrecisionChoice:
    """A precision and why it was taken.

    Attributes:
        dtype: ``torch.float32`` or ``torch.bfloat16``.
        reason: a clause for logs and reports.
        warning: why the choice costs time; empty where it does not.
    """

    dtype: torch.dtype
    reason: str
    warning: str = ""

    @property
    def name(self) -> str:
        """``float32`` or ``bfloat16``."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def short_name(self) -> Literal["bf16", "fp32"]:
        """``fp32`` or ``bf16``, as recipes say it."""
        return "bf16" if self.dtype == torch.bfloat16 else "fp32"


def choose_precision(asked: str, device: torch.device | str) -> PrecisionChoice:
    """Return the precision for ``device``; ``auto`` takes bfloat16 where it is clearly faster there.

    Args:
        asked: ``auto``, or a name of ``DTYPES``.
        device: where products will be computed.

    Raises:
        RecipeError: there is no such precision.
    """
    if asked not in ("auto", *DTYPES):
        raise RecipeError(f"there is no precision '{asked}'", remedy="use auto, float32 (fp32) or bfloat16 (bf16)")
    kind = torch.device(device).type
    if kind == "cpu":
        return _choose_on_cpu(asked)
    if asked != "auto":
        return PrecisionChoice(DTYPES[asked], "asked for")
    if kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return PrecisionChoice(torch.bfloat16, f"{torch.cuda.get_device_name(device)} computes bfloat16")
    return PrecisionChoice(torch.float32, f"bfloat16 is not computed by this {kind} device")


def choose_and_say(asked: str, device: torch.device | str, *, command: str) -> PrecisionChoice:
    """Choose as ``choose_precision`` does, and say on standard error what was taken and why."""
    choice = choose_precision(asked, device)
    if choice.warning:
        print(f"warning: {choice.warning}", file=sys.stderr)
    elif asked == "auto":
        print(f"{command}: precision {choice.name}: {choice.reason}", file=sys.stderr)
    return choice


def cpu_product_flops(dtype: torch.dtype) -> float:
    """Return the FLOP/s of products of ``dtype`` on one core of this CPU: the best of a few small ones."""
    return _measure_products(torch.bfloat16 if dtype == torch.float32 else dtype)[dtype]


def compare_on_cpu(dtype: torch.dtype) -> tuple[float, str]:
    """Return how many times as long as float32's products of a 16-bit ``dtype`` take on this CPU, and both speeds."""
    measured = _measure_products(dtype)
    fp32, other = measured[torch.float32], measured[dtype]
    name = str(dtype).removeprefix("torch.")
    return fp32 / other, f"products run at {gflops(other)} GFLOP/s a core in {name}, {gflops(fp32)} in float32"


def warn_if_slow(dtype: torch.dtype) -> str:
    """Return what a 16-bit ``dtype`` costs on this CPU where it is slow; empty where it is not."""
    times_as_long, speeds = compare_on_cpu(dtype)
    if times_as_long <= SLOW_FACTOR:
        return ""
    factor = f"{str(dtype).removeprefix('torch.')} is {times_as_long:.0f} times slower than float32"
    return f"{factor} on this CPU ({speeds}): use auto or float32"


def gflops(flops: float) -> str:
    """Return a speed in GFLOP/s with two digits, or as a whole number."""
    return f"{flops / 1e9:.2g}" if flops < 10e9 else f"{flops / 1e9:.0f}"


def _choose_on_cpu(asked: str) -> PrecisionChoice:
    if DTYPES.get(asked) == torch.float32:
        return PrecisionChoice(torch.float32, "asked for")
    if asked != "auto":
        return PrecisionChoice(torch.bfloat16, "asked for", warn_if_slow(torch.bfloat16))
    times_as_long, speeds = compare_on_cpu(torch.bfloat16)
    return PrecisionChoice(torch.bfloat16 if times_as_long * _CLEARLY_FASTER < 1 else torch.float32, speeds)


@functools.cache
def _measure_products(reduced: torch.dtype) -> dict[torch.dtype, float]:
    """Return FLOP/s of float32 and of a 16-bit type. Takes 0.1 s, 0.3 s where that type is emulated.

    One thread: the ratio is the same with more, but beside other jobs threads that wait for each other time those jobs.
    """
    best_sec = dict.fromkeys((torch.float32, reduced), float("inf"))
    factors = {dtype: torch.ones(2, _SIDE, _SIDE, dtype=dtype) for dtype in best_sec}
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            for left, right in factors.values():
                torch.mm(left, right)  # the first one prepares kernels
            begun_sec, num_products = time.perf_counter(), 0
            while num_products < _MIN_PRODUCTS or time.perf_counter() - begun_sec < _MEASURE_SEC:
                for dtype, (left, right) in factors.items():
                    product_sec = time.perf_counter()
                    torch.mm(left, right)
                    best_sec[dtype] = min(best_sec[dtype], time.perf_counter() - product_sec)
                num_products += 1
    finally:
        torch.set_num_threads(num_threads)
    return {dtype: 2 * _SIDE**3 / seconds for dtype, seconds in best_sec.items()}
