"""Two clips of one domain heard at once, and a text that names both: more scenes than a small corpus holds.

Which clip meets which, when, and how loud is part of the plan; this file mixes. Label-like captions ("a dog barks") are
learnt by heart within a few passes; a clip that is met with another partner every time is not. The idea is
between-class learning (Tokozume et al., ICLR 2018) with captions in place of label ratios.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MAX_LEVEL_DB = 6.0  # a partner is at most this much louder or softer than the clip it joins
_SILENCE_RMS = 1e-4  # -80 dBFS: nothing to be heard beside


@dataclass(frozen=True, slots=True)
class Overlay:
    """How a partner joins a clip.

    Attributes:
        level_db: of the partner against the clip, both by root mean square.
        place: where the partner begins, 0 at the clip's begin, 1 as late as it fits.
    """

    level_db: float
    place: float


def overlaid(
    clip: npt.NDArray[np.float32], partner: npt.NDArray[np.float32], overlay: Overlay
) -> npt.NDArray[np.float32] | None:
    """The sum of both, as long as the clip; None where there is nothing to add: a silent one, a longer partner.

    Args:
        clip: float32 [S].
        partner: float32 [S'], S' at most S.
        overlay: level and place of the partner.
    """
    if len(partner) > len(clip) or min(_rms(clip), _rms(partner)) < _SILENCE_RMS:
        return None
    mixed = clip.copy()
    start = round(overlay.place * (len(clip) - len(partner)))
    gain = _rms(clip) / _rms(partner) * 10 ** (overlay.level_db / 20)
    mixed[start : start + len(partner)] += np.float32(gain) * partner
    return mixed / np.float32(max(1.0, np.abs(mixed).max()))


def joined_text(clip: str, partner: str, overlay: Overlay) -> str:
    """Both texts, the louder sound first; one where they say the same."""
    first, second = (partner, clip) if overlay.level_db > 0 else (clip, partner)
    if first == second:
        return clip
    return f"{first.rstrip()} {second.lstrip()}"


def _rms(waveform: npt.NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
