"""Clips in which there is nothing to hear: digital silence, channels that cancel, hardly anything at all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from whisper_aut.data.channels import Channels
from whisper_aut.data.containers.layout import Frames

QUIET_PEAK = 1e-3  # of full scale, -60 dB: 33 steps of 16 bits
CANCELLED = 0.1  # of the channels' level, -20 dB: two unlike sounds mixed have 0.7 of it
_ROUNDING = 2 / 32768


@dataclass(frozen=True, slots=True)
class Silence:
    """Why nothing is heard.

    Attributes:
        is_digital: every sample of the clip is the same; where channels cancel, but for the rounding of 16 bits.
        what: in words.
    """

    is_digital: bool
    what: str


def find_silence(frames: Frames, channels: Channels, mono: np.ndarray, low: float, high: float) -> Silence | None:
    """Whether a clip is silent.

    Args:
        frames: float32 [S, C], as they are in the file.
        channels: that were mixed; none: all.
        mono: float32 [S], the mix.
        low: its lowest sample.
        high: its highest.
    """
    chosen = frames[:, list(channels)] if channels else frames
    if chosen.shape[1] > 1 and (cancelled := _cancelled(chosen, mono, is_digital=high - low <= _ROUNDING)):
        return cancelled
    if low == high:
        return Silence(True, f"the clip is digital silence: every sample is {low:g}")
    peak = (high - low) / 2  # a constant beside it is nothing that is heard
    if peak < QUIET_PEAK:
        return Silence(False, f"the clip is near silence: its peak is {20 * math.log10(peak):.0f} dB of full scale")
    return None


def _cancelled(chosen: Frames, mono: np.ndarray, *, is_digital: bool) -> Silence | None:
    flat = np.ascontiguousarray(chosen).reshape(-1)
    level = math.sqrt(float(flat @ flat) / flat.size)  # of the channels, RMS
    mix = math.sqrt(float(mono @ mono) / mono.size)
    if level < QUIET_PEAK or mix >= CANCELLED * level:
        return None
    by = "altogether" if not mix else f"by {20 * math.log10(level / mix):.0f} dB"
    return Silence(is_digital, f"the file's channels cancel when they are mixed, {by}: name one of them as channel")
