"""Which clip the n-th draw from a domain is: pass after pass over its pool, or over each of its weighted sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from whisper_aut.constants import Domain
from whisper_aut.data.mixture import Pattern
from whisper_aut.data.permutation import derive_key, permute
from whisper_aut.errors import ManifestError

_CHUNK_DRAWS = 1_000_000


class Draws:
    """The endless sequence of draws from one domain, each in O(1).

    Args:
        num_clips: of the domain's pool.
        seed: decides the order of every pass.
        domain: name of the pool.
        sources: (clips, relative weight) of consecutive parts of the pool; each part has passes of its own then. None
            draws from the pool as one.

    Raises:
        ManifestError: a source without clips.
        RecipeError: weights that no pattern fits.
    """

    def __init__(
        self, num_clips: int, seed: int, domain: Domain, sources: Sequence[tuple[int, float]] | None = None
    ) -> None:
        self._seed, self._domain = seed, domain
        self._sizes = [count for count, _ in sources] if sources else [num_clips]
        assert sum(self._sizes) == num_clips
        self._starts = np.cumsum([0, *self._sizes])
        self._pattern: Pattern[int] | None = None
        if sources:
            if 0 in self._sizes:
                raise ManifestError(
                    f"manifest {self._sizes.index(0) + 1} of {domain} has a weight and no clip to train on",
                    where=f"data.mixture.{domain}.manifests",
                    remedy="leave it out, or add clips",
                )
            total = sum(weight for _, weight in sources)
            shares = {index: weight / total for index, (_, weight) in enumerate(sources)}
            self._pattern = Pattern(shares, f"data.mixture.{domain}.manifest_weights")

    def rows(self, draws: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Rows of the pool that these draws read."""
        if self._pattern is None:
            return self._in_passes(draws, self._sizes[0], ())
        parts, places = self._pattern.of(draws)
        rows = np.empty(len(draws), dtype=np.int64)
        for part, size in enumerate(self._sizes):
            mine = parts == part
            rows[mine] = self._starts[part] + self._in_passes(places[mine], size, (part,))
        return rows

    def of_sources(self, num_draws: int) -> list[int]:
        """Clips of each source among the first draws; empty where sources have no weights."""
        return self._pattern.turns_before(num_draws) if self._pattern is not None else []

    def in_sources(self, rows: npt.NDArray[np.int64]) -> list[int]:
        """How many of these rows are of each source; empty where sources have no weights."""
        if self._pattern is None:
            return []
        parts = np.searchsorted(self._starts, rows, side="right") - 1
        return [int(count) for count in np.bincount(parts, minlength=len(self._sizes))]

    def total(self, samples: npt.NDArray[np.integer], num_draws: int) -> int:
        """Sum of ``samples`` [N] over the clips of the first draws."""
        total = 0
        counts = self.of_sources(num_draws) or [num_draws]
        for part, (size, count) in enumerate(zip(self._sizes, counts, strict=True)):
            mine = samples[self._starts[part] : self._starts[part + 1]]
            passes, begun = divmod(count, size)
            total += passes * int(mine.sum(dtype=np.int64))
            for start in range(passes * size, passes * size + begun, _CHUNK_DRAWS):
                draws = np.arange(start, min(start + _CHUNK_DRAWS, passes * size + begun), dtype=np.int64)
                rows = self._in_passes(draws, size, (part,) if self._pattern is not None else ())
                total += int(mine[rows].sum(dtype=np.int64))
        return total

    def described(self) -> str:
        """What decides the order besides pool, seed and domain; empty where sources have no weights."""
        return repr((self._sizes, self._pattern.counts)) if self._pattern is not None else ""

    def _in_passes(self, draws: npt.NDArray[np.int64], size: int, part: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """Rows of a part that its draws read: pass after pass, each in its own order."""
        passes, places = np.divmod(draws, size)
        rows = np.empty(len(draws), dtype=np.int64)
        for number in np.unique(passes):
            mine = passes == number
            rows[mine] = permute(places[mine], size, derive_key(self._seed, "pass", self._domain, *part, int(number)))
        return rows
