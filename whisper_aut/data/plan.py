"""The plan: which clip is in which micro-batch of which step, a pure function of recipe and manifests.

A step is computed from its number alone, so that a run's place in its data is one integer. Positions of the endless
stream of clips go through four stages: the mixture's pattern (position to domain and draw), a keyed permutation per
pass over the domain (draw to row), windows of steps sorted by duration and cut into micro-batches, and a keyed deal
of the window's micro-batches to its steps. The number of ranks plays no part in any of them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from whisper_aut.constants import (
    BUCKET_FRAMES,
    FRAMES_PER_SEC,
    HOP_LENGTH,
    SAMPLE_RATE,
    WINDOW_FRAMES,
    WINDOW_SAMPLES,
    Context,
    Domain,
    context_frames,
)
from whisper_aut.data.mixture import Pattern
from whisper_aut.data.overlay import MAX_LEVEL_DB, Overlay
from whisper_aut.data.permutation import derive_key, mix, permute, shuffled
from whisper_aut.errors import ManifestError, RecipeError

_VERSION = 2  # counts up whenever the same recipe would give other steps
_WINDOW_MICRO_BATCHES = 256  # at least, in a window: enough that sorted neighbours are of nearly the same length
_SUBSTITUTE_CANDIDATES = 64
_STATS_WINDOWS = 20  # windows that padding is measured on; more change its third digit and take minutes for a long run


@dataclass(frozen=True, slots=True)
class ClipRef:
    """A clip by the row of its domain's training pool."""

    domain: Domain
    row: int


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """The clips of one forward on one rank.

    Attributes:
        step: number of the step, from 0.
        index: place in the step, from 0, in order of ``num_frames``.
        clips: the clips, shortest first.
        context: whether the encoder computes the full window or the longest clip's length.
        num_frames: F, mel frames that the encoder computes for each clip.
    """

    step: int
    index: int
    clips: tuple[ClipRef, ...]
    context: Context
    num_frames: int


@dataclass(frozen=True, slots=True)
class PlanStats:
    """What a number of steps reads.

    Attributes:
        num_clips: clips read by domain.
        realised: share of clips by domain.
        hours: of audio by domain.
        passes: how often a domain's clips are read.
        padding_fraction: share of computed frames that are padding, in micro-batches of trimmed context; over the first
            windows of a long run.
        full_window_fraction: share of micro-batches that are computed on the full window.
    """

    num_clips: dict[Domain, int]
    realised: dict[Domain, float]
    hours: dict[Domain, float]
    passes: dict[Domain, float]
    padding_fraction: float
    full_window_fraction: float


@dataclass(frozen=True, slots=True)
class _Window:
    """K steps of m micro-batches of b clips.

    Attributes:
        domains: [K, m, b] indices into the pattern's domains.
        rows: [K, m, b] rows of the domains' pools.
        num_samples: [K, m, b] samples of the clips.
        num_frames: [K, m] mel frames that are computed for each clip.
        full: [K, m] whether the context is the full window.
    """

    number: int
    domains: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    num_samples: npt.NDArray[np.int64]
    num_frames: npt.NDArray[np.int64]
    full: npt.NDArray[np.bool_]


class Plan:
    """All steps of a run.

    Args:
        num_samples: samples at 16 kHz of every clip in each domain's training pool.
        weights: share of each domain.
        clips_per_step: clips in one step over all ranks, a multiple of ``micro_batch_clips``.
        micro_batch_clips: clips in one micro-batch.
        full_window_fraction: share of micro-batches that are computed on the full window.
        seed: decides every order in the plan.
        overlay_fractions: share of each domain's clips that a second clip of the domain joins; 0 where left out.
        num_steps: steps of the run, so that its last window holds them and no more: the mixture of the whole run is
            then exact as well, to one clip. Endless where None.

    Attributes:
        micro_batches_per_step: micro-batches in each step.
        window_steps: K, steps in a window; the mixture is exact over every window.
        fingerprint: SHA-256 over all arguments: equal fingerprints mean equal steps.

    Raises:
        RecipeError: weights that no pattern fits, or a step that is no whole number of micro-batches.
        ManifestError: a domain without clips, or a clip longer than Whisper's window.
    """

    def __init__(
        self,
        num_samples: Mapping[Domain, npt.NDArray[np.integer]],
        weights: Mapping[Domain, float],
        clips_per_step: int,
        micro_batch_clips: int,
        full_window_fraction: float,
        seed: int,
        overlay_fractions: Mapping[Domain, float] | None = None,
        num_steps: int | None = None,
    ) -> None:
        if clips_per_step % micro_batch_clips:
            raise RecipeError(
                f"clips_per_step ({clips_per_step}) must be a multiple of micro_batch_clips ({micro_batch_clips})"
            )
        self._pattern = Pattern(weights)
        self._num_samples = {domain: np.asarray(num_samples[domain]) for domain in self._pattern.domains}
        for domain, samples in self._num_samples.items():
            if not len(samples):
                raise ManifestError(f"domain {domain} has no clip to train on", remedy="add clips or drop the domain")
            if samples.min() < 1 or samples.max() > WINDOW_SAMPLES:
                raise ManifestError(f"domain {domain} has a clip of {samples.max()} samples, not 1 to {WINDOW_SAMPLES}")
        self.clips_per_step, self.micro_batch_clips, self.seed = clips_per_step, micro_batch_clips, seed
        self._overlay_fractions = {domain: share for domain, share in (overlay_fractions or {}).items() if share}
        self.micro_batches_per_step = clips_per_step // micro_batch_clips
        self._full_fraction = Fraction(full_window_fraction).limit_denominator(1_000_000)
        # The shortest window in which the pattern comes out even, repeated until it holds enough micro-batches.
        even_steps = self._pattern.length // math.gcd(self._pattern.length, clips_per_step)
        self.window_steps = even_steps * -(-_WINDOW_MICRO_BATCHES // (even_steps * self.micro_batches_per_step))
        self._num_steps = num_steps
        self.fingerprint = self._fingerprint()
        self._cached: _Window | None = None

    def step(self, n: int) -> tuple[MicroBatch, ...]:
        """All micro-batches of step ``n`` (from 0), over all ranks, in order of ``num_frames``."""
        assert n >= 0 and (self._num_steps is None or n < self._num_steps)
        number, place = divmod(n, self.window_steps)
        window = self._window(number)
        return tuple(
            MicroBatch(
                step=n,
                index=index,
                clips=tuple(
                    ClipRef(self._pattern.domains[domain], int(row))
                    for domain, row in zip(window.domains[place, index], window.rows[place, index], strict=True)
                ),
                context="full" if window.full[place, index] else "trimmed",
                num_frames=int(window.num_frames[place, index]),
            )
            for index in range(self.micro_batches_per_step)
        )

    def rank_share(self, n: int, rank: int, world: int) -> tuple[MicroBatch, ...]:
        """Micro-batches of step ``n`` that ``rank`` of ``world`` computes; side by side, ranks have similar lengths.

        Raises:
            RecipeError: the step's micro-batches cannot be shared out evenly.
        """
        self.check_world_size(world)
        assert 0 <= rank < world
        return self.step(n)[rank::world]

    def check_world_size(self, world: int) -> None:
        """Refuse a number of ranks that does not divide the step's micro-batches.

        Raises:
            RecipeError: it does not; the numbers that do are named.
        """
        count = self.micro_batches_per_step
        if world < 1 or count % world:
            fitting = ", ".join(str(ranks) for ranks in range(1, count + 1) if count % ranks == 0)
            raise RecipeError(
                f"{world} rank(s) cannot share the {count} micro-batch(es) of a step evenly",
                where="train.clips_per_step / train.micro_batch_clips",
                remedy=f"run {fitting} rank(s), or change clips_per_step or micro_batch_clips",
            )

    def substitute(self, ref: ClipRef, attempt: int) -> ClipRef:
        """The clip that takes the place of an unreadable one: of the same domain and, where one is found among the
        candidates of this attempt, no longer than it, so that it fits the micro-batch. A pure function.

        Of ``_SUBSTITUTE_CANDIDATES`` keyed candidates the longest that is no longer is taken, else the shortest.
        """
        return self._other_clip(ref, derive_key(self.seed, "substitute", ref.domain, ref.row, attempt))

    def partner(self, ref: ClipRef, step: int) -> tuple[ClipRef, Overlay] | None:
        """The clip that joins ``ref`` in ``step``, and how; None where it is heard alone. A pure function, another
        partner in every step. The partner is extra: the pass over the domain counts it not.
        """
        fraction = self._overlay_fractions.get(ref.domain, 0.0)
        if not fraction:
            return None
        key = derive_key(self.seed, "overlay", ref.domain, ref.row, step)
        chance, level, place = mix(np.arange(3, dtype=np.uint64), key).astype(np.float64) / 2.0**64
        if chance >= fraction:
            return None
        overlay = Overlay(level_db=float(2 * level - 1) * MAX_LEVEL_DB, place=float(place))
        return self._other_clip(ref, key), overlay

    def _other_clip(self, ref: ClipRef, key: int) -> ClipRef:
        """The longest of the keyed candidates that is no longer than ``ref``'s clip, else the shortest of them."""
        samples = self._num_samples[ref.domain]
        candidates = (mix(np.arange(_SUBSTITUTE_CANDIDATES, dtype=np.uint64), key) % np.uint64(len(samples))).astype(
            np.int64
        )
        others = candidates[candidates != ref.row]
        if not len(others):  # a pool of one clip, or of so few that luck ran out
            return ClipRef(ref.domain, (ref.row + 1) % len(samples))
        lengths = samples[others]
        fitting = lengths <= samples[ref.row]
        best = np.where(fitting, lengths, -1).argmax() if fitting.any() else lengths.argmin()
        return ClipRef(ref.domain, int(others[best]))

    def stats(self, steps: int) -> PlanStats:
        """What the first ``steps`` steps read."""
        whole, rest = divmod(steps, self.window_steps)
        # Of whole windows the mixture is exact; only the last, where it is cut, has to be looked at.
        positions = whole * self.window_steps * self.clips_per_step
        clips = {domain: positions * count // self._pattern.length for domain, count in self._pattern.counts.items()}
        samples = {domain: self._samples_read(domain, count) for domain, count in clips.items()}
        num_full = math.floor(self._full_fraction * whole * self.window_steps * self.micro_batches_per_step)
        if rest:
            cut = self._window(whole)
            for index, domain in enumerate(self._pattern.domains):
                mine = cut.domains[:rest] == index
                clips[domain] += int(mine.sum())
                samples[domain] += int(cut.num_samples[:rest][mine].sum())
            num_full += int(cut.full[:rest].sum())
        total = max(1, steps * self.clips_per_step)
        return PlanStats(
            num_clips=clips,
            realised={domain: count / total for domain, count in clips.items()},
            hours={domain: count / SAMPLE_RATE / 3600 for domain, count in samples.items()},
            passes={domain: count / len(self._num_samples[domain]) for domain, count in clips.items()},
            padding_fraction=self._padding_fraction(steps),
            full_window_fraction=float(num_full / max(1, steps * self.micro_batches_per_step)),
        )

    def _samples_read(self, domain: Domain, num_draws: int) -> int:
        """Samples in the first draws of a domain: whole passes, and what of the next is begun."""
        samples = self._num_samples[domain]
        passes, begun = divmod(num_draws, len(samples))
        draws = np.arange(passes * len(samples), passes * len(samples) + begun, dtype=np.int64)
        return passes * int(samples.sum()) + int(samples[self._rows(domain, draws)].sum())

    def _padding_fraction(self, steps: int) -> float:
        real = computed = 0.0
        for number in range(min(_STATS_WINDOWS, -(-steps // self.window_steps))):
            window = self._window(number)
            kept = slice(0, min(self.window_steps, steps - number * self.window_steps))
            trimmed = ~window.full[kept]
            real += window.num_samples[kept][trimmed].sum() / HOP_LENGTH
            computed += float(window.num_frames[kept][trimmed].sum()) * self.micro_batch_clips
        return float(1 - real / computed) if computed else 0.0

    def _window(self, number: int) -> _Window:
        if self._cached is None or self._cached.number != number:
            self._cached = self._build(number)
        return self._cached

    def _steps_of(self, number: int) -> int:
        """Steps of a window: K, or what the run has left of it."""
        if self._num_steps is None:
            return self.window_steps
        return min(self.window_steps, self._num_steps - number * self.window_steps)

    def _build(self, number: int) -> _Window:
        first, num_clips = (
            number * self.window_steps * self.clips_per_step,
            self._steps_of(number) * self.clips_per_step,
        )
        domains, draws = self._pattern.between(first, first + num_clips)
        rows = np.empty(num_clips, dtype=np.int64)
        samples = np.empty(num_clips, dtype=np.int64)
        for index, domain in enumerate(self._pattern.domains):
            mine = domains == index
            rows[mine] = self._rows(domain, draws[mine])
            samples[mine] = self._num_samples[domain][rows[mine]]
        dealt = self._deal(number, samples)
        longest = samples[dealt[..., -1]]
        full = self._full_contexts(number)
        frames = np.array(
            [
                context_frames(int(count), "full" if is_full else "trimmed")
                for count, is_full in zip(longest.ravel(), full.ravel(), strict=True)
            ]
        ).reshape(longest.shape)
        order = np.argsort(frames, axis=1, kind="stable")
        dealt = np.take_along_axis(dealt, order[..., None], axis=1)
        return _Window(
            number=number,
            domains=domains[dealt],
            rows=rows[dealt],
            num_samples=samples[dealt],
            num_frames=np.take_along_axis(frames, order, axis=1),
            full=np.take_along_axis(full, order, axis=1),
        )

    def _rows(self, domain: Domain, draws: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Rows that the draws of a domain read: pass after pass, each pass in its own order."""
        size = len(self._num_samples[domain])
        passes, places = np.divmod(draws, size)
        rows = np.empty(len(draws), dtype=np.int64)
        for number in np.unique(passes):
            mine = passes == number
            rows[mine] = permute(places[mine], size, derive_key(self.seed, "pass", domain, int(number)))
        return rows

    def _deal(self, number: int, samples: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Positions [K, m, b] of the window's clips, sorted by length inside each micro-batch.

        Each step gets one micro-batch from each of m strata of length, so that steps cost about the same and none
        sees short clips only.
        """
        num_steps = self._steps_of(number)
        by_length = np.argsort(samples, kind="stable").reshape(
            self.micro_batches_per_step, num_steps, self.micro_batch_clips
        )
        strata = [
            stratum[shuffled(num_steps, derive_key(self.seed, "deal", number, index))]
            for index, stratum in enumerate(by_length)
        ]
        return np.stack(strata, axis=1)

    def _full_contexts(self, number: int) -> npt.NDArray[np.bool_]:
        """Which micro-batches [K, m] of a window see the full 30 s: an exact number, with the remainder carried on."""
        before = number * self.window_steps * self.micro_batches_per_step
        count = self._steps_of(number) * self.micro_batches_per_step
        num_full = math.floor(self._full_fraction * (before + count)) - math.floor(self._full_fraction * before)
        full = np.zeros(count, dtype=np.bool_)
        full[shuffled(count, derive_key(self.seed, "full", number))[:num_full]] = True
        return full.reshape(-1, self.micro_batches_per_step)

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(
            repr(
                (
                    _VERSION, _WINDOW_MICRO_BATCHES, BUCKET_FRAMES, FRAMES_PER_SEC, WINDOW_FRAMES, self.seed,
                    self.clips_per_step, self.micro_batch_clips, self._full_fraction, self._pattern.counts,
                    sorted(self._overlay_fractions.items()), self._num_steps,
                )
            ).encode()
        )  # fmt: skip
        for domain, samples in self._num_samples.items():
            digest.update(domain.encode() + np.ascontiguousarray(samples, dtype="<i8").tobytes())
        return digest.hexdigest()
