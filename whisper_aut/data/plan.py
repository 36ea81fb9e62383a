"""The plan: which clip is in which micro-batch of which step, a pure function of recipe and manifests.

A step is computed from its number alone, so that a run's place in its data is one integer. Positions of the endless
stream of clips go through four stages: the mixture's pattern (position to domain and draw), a keyed permutation per
pass over the domain (draw to row), windows of steps sorted by duration and cut into micro-batches, and a keyed deal
of the window's micro-batches to its steps. The number of ranks plays no part in any of them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from whisper_aut.constants import (
    BUCKET_FRAMES,
    DOMAINS,
    FRAMES_PER_SEC,
    HOP_LENGTH,
    SAMPLE_RATE,
    WINDOW_FRAMES,
    WINDOW_SAMPLES,
    WINDOW_SEC,
    Context,
    Domain,
)
from whisper_aut.data.draws import Draws
from whisper_aut.data.mixture import Pattern
from whisper_aut.data.overlay import MAX_LEVEL_DB, Overlay
from whisper_aut.data.permutation import derive_key, mix, shuffled
from whisper_aut.data.windows import Groups, Indices, groups_of_equal_cost, groups_of_equal_size, micro_batches_for
from whisper_aut.errors import ManifestError, RecipeError

_VERSION = 2  # counts up whenever the same recipe would give other steps
_WINDOW_MICRO_BATCHES = 256  # at least, in a window: enough that sorted neighbours are of nearly the same length
_SUBSTITUTE_CANDIDATES = 64
_MAX_WINDOW_CLIPS = 100_000  # so that any step is found within a fraction of a second
_SAMPLED_CLIPS = 10_000  # of the mixture, to say how many micro-batches a budget of audio makes of a step
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
        clips: the clips, shortest first; as many in each, or as many as fit a budget of audio.
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
        source_clips: clips read of each manifest, of the domains whose manifests have weights.
        padding_fraction: share of computed frames that are padding, in micro-batches of trimmed context; over the first
            windows of a long run.
        full_window_fraction: share of micro-batches that are computed on the full window.
    """

    num_clips: dict[Domain, int]
    realised: dict[Domain, float]
    hours: dict[Domain, float]
    passes: dict[Domain, float]
    source_clips: dict[Domain, list[int]]
    padding_fraction: float
    full_window_fraction: float


@dataclass(frozen=True, slots=True)
class _Window:
    """K steps of m micro-batches, n clips in all.

    Attributes:
        domains: [n] indices into the pattern's keys.
        rows: [n] rows of the domains' pools.
        num_samples: [n] samples of the clips.
        groups: how they are put together.
    """

    number: int
    domains: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    num_samples: npt.NDArray[np.int64]
    groups: Groups

    def clips_of(self, step: int) -> npt.NDArray[np.int64]:
        """Places of the window's clips that are in its first ``step`` steps."""
        bounds = self.groups.bounds
        return np.concatenate(
            [self.groups.order[bounds[group] : bounds[group + 1]] for group in self.groups.dealt[:step].ravel()]
        )


class Plan:
    """All steps of a run.

    Args:
        num_samples: samples at 16 kHz of every clip in each domain's training pool.
        weights: share of each domain.
        clips_per_step: clips in one step over all ranks, a multiple of ``micro_batch_clips``; on average where
            ``micro_batch_sec`` is given.
        micro_batch_clips: clips in one micro-batch.
        full_window_fraction: share of micro-batches that are computed on the full window.
        seed: decides every order in the plan.
        overlay_fractions: share of each domain's clips that a second clip of the domain joins; 0 where left out.
        num_steps: steps of the run, so that its last window holds them and no more: the mixture of the whole run is
            then exact as well, to one clip. Endless where None.
        sources: (clips, relative weight) of consecutive parts of a domain's pool, where they are not to be drawn from
            in proportion to their clips.
        micro_batch_sec: seconds of computed audio in one micro-batch, in place of ``micro_batch_clips``.

    Attributes:
        micro_batches_per_step: micro-batches in each step.
        window_steps: K, steps in a window; the mixture is exact over every window, to one clip where weights have no
            short period.
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
        sources: Mapping[Domain, Sequence[tuple[int, float]]] | None = None,
        micro_batch_sec: float | None = None,
    ) -> None:
        if micro_batch_sec is None and clips_per_step % micro_batch_clips:
            raise RecipeError(
                f"clips_per_step ({clips_per_step}) must be a multiple of micro_batch_clips ({micro_batch_clips})"
            )
        self._pattern = Pattern({domain: weights[domain] for domain in DOMAINS if domain in weights})
        self._num_samples = {domain: np.asarray(num_samples[domain]) for domain in self._pattern.keys}
        self._draws = {
            domain: Draws(len(samples), seed, domain, (sources or {}).get(domain))
            for domain, samples in self._num_samples.items()
        }
        for domain, samples in self._num_samples.items():
            if not len(samples):
                raise ManifestError(f"domain {domain} has no clip to train on", remedy="add clips or drop the domain")
            if samples.min() < 1 or samples.max() > WINDOW_SAMPLES:
                raise ManifestError(f"domain {domain} has a clip of {samples.max()} samples, not 1 to {WINDOW_SAMPLES}")
        self.clips_per_step, self.micro_batch_clips, self.seed = clips_per_step, micro_batch_clips, seed
        self._overlay_fractions = {domain: share for domain, share in (overlay_fractions or {}).items() if share}
        self.micro_batch_sec = micro_batch_sec
        self._full_fraction = Fraction(full_window_fraction).limit_denominator(1_000_000)
        self.micro_batches_per_step = self._num_micro_batches()
        # The shortest window in which the pattern comes out even, repeated until it holds enough micro-batches. Where
        # that is long, any window is as good: over every stretch of clips the pattern is less than a clip off.
        even_steps = self._pattern.length // math.gcd(self._pattern.length, clips_per_step)
        if even_steps * clips_per_step > _MAX_WINDOW_CLIPS:
            even_steps = 1
        self.window_steps = even_steps * -(-_WINDOW_MICRO_BATCHES // (even_steps * self.micro_batches_per_step))
        self._num_steps = num_steps
        self.fingerprint = self._fingerprint()
        self._cached: _Window | None = None

    def step(self, n: int) -> tuple[MicroBatch, ...]:
        """All micro-batches of step ``n`` (from 0), over all ranks, in order of ``num_frames``."""
        assert n >= 0 and (self._num_steps is None or n < self._num_steps)
        number, place = divmod(n, self.window_steps)
        window = self._window(number)
        groups, keys = window.groups, self._pattern.keys
        micro_batches = []
        for index, group in enumerate(groups.dealt[place].tolist()):
            places = groups.order[groups.bounds[group] : groups.bounds[group + 1]]
            clips = zip(window.domains[places].tolist(), window.rows[places].tolist(), strict=True)
            micro_batches.append(
                MicroBatch(
                    step=n,
                    index=index,
                    clips=tuple(ClipRef(keys[domain], row) for domain, row in clips),
                    context="full" if groups.full[group] else "trimmed",
                    num_frames=int(groups.num_frames[group]),
                )
            )
        return tuple(micro_batches)

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
        clips = dict(zip(self._pattern.keys, self._pattern.turns_before(positions), strict=True))
        samples = {domain: self._draws[domain].total(self._num_samples[domain], n) for domain, n in clips.items()}
        of_sources = {domain: draws.of_sources(clips[domain]) for domain, draws in self._draws.items()}
        num_full = math.floor(self._full_fraction * whole * self.window_steps * self.micro_batches_per_step)
        if rest:
            cut = self._window(whole)
            read = cut.clips_of(rest)
            for index, domain in enumerate(self._pattern.keys):
                mine = read[cut.domains[read] == index]
                clips[domain] += len(mine)
                samples[domain] += int(cut.num_samples[mine].sum())
                for part, count in enumerate(self._draws[domain].in_sources(cut.rows[mine])):
                    of_sources[domain][part] += count
            num_full += int(cut.groups.full[cut.groups.dealt[:rest]].sum())
        total = max(1, sum(clips.values()))
        return PlanStats(
            num_clips=clips,
            realised={domain: count / total for domain, count in clips.items()},
            hours={domain: count / SAMPLE_RATE / 3600 for domain, count in samples.items()},
            passes={domain: count / len(self._num_samples[domain]) for domain, count in clips.items()},
            source_clips={domain: counts for domain, counts in of_sources.items() if counts},
            padding_fraction=self._padding_fraction(steps),
            full_window_fraction=float(num_full / max(1, steps * self.micro_batches_per_step)),
        )

    def _padding_fraction(self, steps: int) -> float:
        real = computed = 0.0
        for number in range(min(_STATS_WINDOWS, -(-steps // self.window_steps))):
            window = self._window(number)
            groups = window.groups
            kept = groups.dealt[: max(0, min(self.window_steps, steps - number * self.window_steps))].ravel()
            trimmed = kept[~groups.full[kept]]
            sums = np.add.reduceat(window.num_samples[groups.order], groups.bounds[:-1])
            real += sums[trimmed].sum() / HOP_LENGTH
            computed += float((groups.num_frames * np.diff(groups.bounds))[trimmed].sum())
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
        domains, rows, samples = self._clips_at(first, num_clips)
        return _Window(number, domains, rows, samples, self._groups(number, samples))

    def _clips_at(self, first: int, num_clips: int) -> tuple[Indices, Indices, Indices]:
        """Domains, rows and samples of the clips at positions of the endless stream."""
        domains, draws = self._pattern.between(first, first + num_clips)
        rows = np.empty(num_clips, dtype=np.int64)
        samples = np.empty(num_clips, dtype=np.int64)
        for index, domain in enumerate(self._pattern.keys):
            mine = domains == index
            rows[mine] = self._draws[domain].rows(draws[mine])
            samples[mine] = self._num_samples[domain][rows[mine]]
        return domains, rows, samples

    def _groups(self, number: int, samples: npt.NDArray[np.int64]) -> Groups:
        num_steps, keys = self._steps_of(number), (self.seed, number)
        if self.micro_batch_sec is None:
            full = self._full_contexts(number)
            return groups_of_equal_size(samples, num_steps, self.micro_batch_clips, full, keys)
        num_full, clips_per_full = self._num_full(number), max(1, int(self.micro_batch_sec // WINDOW_SEC))
        num_groups = num_steps * self.micro_batches_per_step
        return groups_of_equal_cost(samples, num_steps, num_groups, num_full, clips_per_full, keys)

    def _num_micro_batches(self) -> int:
        """Micro-batches in a step; with a budget, what the mean clip of the mixture needs."""
        if self.micro_batch_sec is None:
            return self.clips_per_step // self.micro_batch_clips
        num_clips = self.clips_per_step * -(-_SAMPLED_CLIPS // self.clips_per_step)
        samples = self._clips_at(0, num_clips)[2]
        budget = int(self.micro_batch_sec * FRAMES_PER_SEC)
        count = micro_batches_for(samples, self.clips_per_step, budget, float(self._full_fraction))
        if count > self.clips_per_step:
            raise RecipeError(
                f"{self.clips_per_step} clips of {samples.mean() / SAMPLE_RATE:.1f} s on average do not fill {count} "
                f"micro-batches of {self.micro_batch_sec:g} s",
                where="train.micro_batch_sec",
                remedy="raise train.micro_batch_sec or train.clips_per_step",
            )
        return count

    def _num_full(self, number: int) -> int:
        """Micro-batches of a window that see the full 30 s: the remainder is carried on to the next."""
        before = number * self.window_steps * self.micro_batches_per_step
        count = self._steps_of(number) * self.micro_batches_per_step
        return math.floor(self._full_fraction * (before + count)) - math.floor(self._full_fraction * before)

    def _full_contexts(self, number: int) -> npt.NDArray[np.bool_]:
        """Which micro-batches [K, m] of a window see the full 30 s."""
        count = self._steps_of(number) * self.micro_batches_per_step
        full = np.zeros(count, dtype=np.bool_)
        full[shuffled(count, derive_key(self.seed, "full", number))[: self._num_full(number)]] = True
        return full.reshape(-1, self.micro_batches_per_step)

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(
            repr(
                (
                    _VERSION, _WINDOW_MICRO_BATCHES, BUCKET_FRAMES, FRAMES_PER_SEC, WINDOW_FRAMES, self.seed,
                    self.clips_per_step, self.micro_batch_clips, self._full_fraction, self._pattern.counts,
                    sorted(self._overlay_fractions.items()), self._num_steps,
                    *([self.micro_batch_sec] if self.micro_batch_sec is not None else []),
                )
            ).encode()
        )  # fmt: skip
        for domain, samples in self._num_samples.items():
            digest.update(domain.encode() + self._draws[domain].described().encode())
            for start in range(0, len(samples), 1_000_000):
                digest.update(np.ascontiguousarray(samples[start : start + 1_000_000], dtype="<i8").tobytes())
        return digest.hexdigest()
