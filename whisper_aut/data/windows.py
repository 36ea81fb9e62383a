"""How the clips of a window of steps are put together: cut by length into micro-batches, and these dealt to the steps.

Legend: K steps in the window, m micro-batches in a step, G = K m groups, n clips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whisper_aut.constants import BUCKET_FRAMES, HOP_LENGTH, WINDOW_FRAMES
from whisper_aut.data.permutation import derive_key, shuffled

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Groups:
    """The micro-batches of a window.

    Attributes:
        order: [n] places of the window's clips, those of a group side by side, shortest first.
        bounds: [G + 1] where each group begins in ``order``.
        num_frames: [G] mel frames that are computed for each clip of a group.
        full: [G] whether a group is computed on the full window.
        dealt: [K, m] groups of each step, in order of ``num_frames``.
    """

    order: Indices
    bounds: Indices
    num_frames: Indices
    full: npt.NDArray[np.bool_]
    dealt: Indices


def groups_of_equal_size(
    samples: npt.NDArray[np.integer], num_steps: int, num_clips: int, full: npt.NDArray[np.bool_], keys: tuple[int, ...]
) -> Groups:
    """Groups of ``num_clips`` clips each.

    Args:
        samples: [n] lengths of the clips.
        num_steps: K.
        num_clips: in a group; divides n into K m groups.
        full: [K, m] whether the micro-batch at a place is computed on the full window.
        keys: seed and number of the window, which decide the deal.
    """
    order = np.argsort(samples, kind="stable")
    bounds = np.arange(0, len(samples) + 1, num_clips)
    dealt = _dealt(len(bounds) - 1, num_steps, keys)
    is_full = np.empty(len(bounds) - 1, dtype=np.bool_)
    is_full[dealt] = full
    return _grouped(samples, order, bounds, is_full, dealt)


def groups_of_equal_cost(
    samples: npt.NDArray[np.integer],
    num_steps: int,
    num_groups: int,
    num_full: int,
    clips_per_full: int,
    keys: tuple[int, ...],
) -> Groups:
    """Groups of about equal padded cost: short clips many at once, long ones few.

    Args:
        samples: [n] lengths of the clips.
        num_steps: K.
        num_groups: G, a multiple of K.
        num_full: groups that are computed on the full window, of clips drawn from all lengths.
        clips_per_full: clips in each of these.
        keys: seed and number of the window, which decide draw and deal.
    """
    clips_per_full = min(clips_per_full, (len(samples) - (num_groups - num_full)) // max(1, num_full))
    drawn = np.zeros(len(samples), dtype=np.bool_)
    drawn[shuffled(len(samples), derive_key(*keys, "full clips"))[: num_full * clips_per_full]] = True
    by_length = np.argsort(samples, kind="stable")
    trimmed = by_length[~drawn[by_length]]
    # Drawn clips side by side as they come, and inside a group by length.
    found = np.flatnonzero(drawn)
    full_clips = found[shuffled(len(found), derive_key(*keys, "full groups"))].reshape(num_full, clips_per_full)
    full_clips = np.take_along_axis(full_clips, np.argsort(samples[full_clips], axis=1, kind="stable"), axis=1)
    sizes = _sizes_of_equal_cost(samples[trimmed], num_groups - num_full)
    bounds = np.cumsum([0, *sizes, *[clips_per_full] * num_full])
    is_full = np.arange(num_groups) >= num_groups - num_full
    order = np.concatenate([trimmed, full_clips.ravel()])
    return _grouped(samples, order, bounds, is_full, _dealt(num_groups, num_steps, keys))


def micro_batches_for(
    samples: npt.NDArray[np.integer], clips_per_step: int, budget_frames: int, full_fraction: float
) -> int:
    """How many micro-batches a step needs so that hardly ever one computes more than ``budget_frames``.

    One of 1, 2, 4 and the multiples of 8, which the usual numbers of ranks divide.

    Args:
        samples: [n] lengths of many clips of the mixture.
        clips_per_step: on average.
        budget_frames: of a micro-batch; at least the window.
        full_fraction: share of micro-batches that are computed on the full window.
    """
    per_clip = len(_cut(_buckets(samples), budget_frames)) / len(samples)
    full_clips = budget_frames // WINDOW_FRAMES
    # m f micro-batches of full_clips leave C - m f full_clips clips to the m (1 - f) others: solved for m. A window's
    # clips may be longer than the mixture's, hence three per cent more.
    needed = 1.03 * per_clip * clips_per_step / (1 - full_fraction + per_clip * full_fraction * full_clips)
    return next(count for count in (1, 2, 4) if needed <= count) if needed <= 4 else 8 * math.ceil(needed / 8)


def frames_of(samples: npt.NDArray[np.integer]) -> Indices:
    """[n] mel frames that clips of these lengths compute at trimmed context; ``context_frames`` for arrays."""
    buckets = -(-samples.astype(np.int64) // (BUCKET_FRAMES * HOP_LENGTH))
    return np.clip(buckets, 1, WINDOW_FRAMES // BUCKET_FRAMES) * BUCKET_FRAMES


def _grouped(
    samples: npt.NDArray[np.integer], order: Indices, bounds: Indices, full: npt.NDArray[np.bool_], dealt: Indices
) -> Groups:
    frames = np.where(full, WINDOW_FRAMES, frames_of(samples[order[bounds[1:] - 1]]))
    in_order = np.argsort(frames[dealt], axis=1, kind="stable")
    return Groups(order, bounds, frames, full, np.take_along_axis(dealt, in_order, axis=1))


def _dealt(num_groups: int, num_steps: int, keys: tuple[int, ...]) -> Indices:
    """[K, m] groups of each step: one from each of m strata of length, so that steps cost about the same and none sees
    short clips only."""
    seed, number = keys
    strata = np.arange(num_groups).reshape(-1, num_steps)
    return np.stack(
        [stratum[shuffled(num_steps, derive_key(seed, "deal", number, index))] for index, stratum in enumerate(strata)],
        axis=1,
    )


def _sizes_of_equal_cost(samples: npt.NDArray[np.integer], num_groups: int) -> list[int]:
    """Sizes of ``num_groups`` groups of ascending lengths whose largest padded cost is as small as can be."""
    if not num_groups:
        return []
    buckets = _buckets(samples)
    low, high = buckets[0][0] - 1, buckets[0][0] * len(samples)
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        if len(_cut(buckets, middle)) <= num_groups:
            high = middle
        else:
            low = middle
    sizes = _cut(buckets, high)
    while len(sizes) < num_groups:  # whole clips do not come out even: the fullest gives half of its clips away
        place = max(range(len(sizes)), key=sizes.__getitem__)
        sizes[place : place + 1] = [sizes[place] // 2, sizes[place] - sizes[place] // 2]
    return sizes[::-1]


def _buckets(samples: npt.NDArray[np.integer]) -> list[tuple[int, int, int]]:
    """(frames that a clip computes, places of the first and behind the last such clip by length), longest first."""
    costs, counts = np.unique(frames_of(samples), return_counts=True)
    ends = np.cumsum(counts).tolist()
    return list(zip(costs.tolist(), [0, *ends[:-1]], ends, strict=True))[::-1]


def _cut(buckets: list[tuple[int, int, int]], limit: int) -> list[int]:
    """Sizes of groups, longest clips first, none of which costs more than ``limit`` frames."""
    sizes: list[int] = []
    left = buckets[0][2]
    for frames, begin, _ in buckets:
        size = max(1, limit // frames)
        num_groups = -(-(left - begin) // size) if left > begin else 0  # the last may reach into shorter buckets
        sizes += [min(size, left - index * size) for index in range(num_groups)]
        left = max(0, left - num_groups * size)
    return sizes
