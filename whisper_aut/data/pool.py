"""Some clips of one domain over one or more manifests: what a plan draws from, eight bytes a clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whisper_aut.config import SilentClips
from whisper_aut.constants import Domain
from whisper_aut.data.clip_table import CHUNK_ROWS, ClipTable
from whisper_aut.data.locate import AudioSource
from whisper_aut.data.manifest import Clip, Manifest


@dataclass(frozen=True)
class Pool:
    """Some clips of one domain, numbered from 0, in the order of their manifests.

    Attributes:
        manifests: where the clips come from.
        rows: uint32 [N], rows of the manifests counted through all of them, ascending.
        num_samples: int32 [N], length of each clip at 16 kHz, at least 1.
        silent_clips: what becomes of clips in which nothing is heard.
    """

    domain: Domain
    manifests: tuple[Manifest, ...]
    rows: npt.NDArray[np.uint32]
    num_samples: npt.NDArray[np.int32]
    silent_clips: SilentClips = "warn"

    def __len__(self) -> int:
        return len(self.rows)

    def clip(self, row: int) -> Clip:
        """The clip numbered ``row``."""
        manifest, manifest_row = self._locate(row)
        return manifest.clip(manifest_row)

    def audio_source(self, row: int) -> AudioSource:
        """Where the clip's audio lies.

        Raises:
            ManifestError: it leaves the manifest's folder.
        """
        manifest, manifest_row = self._locate(row)
        return manifest.audio_source(manifest_row)

    def where(self, row: int) -> str:
        """``file:line`` of the clip."""
        manifest, manifest_row = self._locate(row)
        return manifest.where(manifest_row)

    def starts(self) -> list[int]:
        """Where each manifest's clips begin in the pool, and the pool's end."""
        return list(map(int, places(self.rows, np.cumsum([0, *map(len, self.manifests)]))))

    def parts(self) -> Iterator[tuple[int, ClipTable, npt.NDArray[np.int64]]]:
        """(number of a manifest, its table, rows of it that are in the pool), a million rows of the pool at once."""
        starts = self.starts()
        offsets = np.cumsum([0, *map(len, self.manifests)])
        for index, manifest in enumerate(self.manifests):
            for start in range(starts[index], starts[index + 1], CHUNK_ROWS):
                stop = min(start + CHUNK_ROWS, starts[index + 1])
                yield index, manifest.table, self.rows[start:stop].astype(np.int64) - offsets[index]

    def _locate(self, row: int) -> tuple[Manifest, int]:
        place = int(self.rows[row])
        for manifest in self.manifests:
            if place < len(manifest):
                return manifest, place
            place -= len(manifest)
        raise IndexError(row)


def places(rows: npt.NDArray[np.uint32], values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Where ``values`` would stand in ``rows``, which ascend; in their own type, else NumPy copies all of them."""
    return np.searchsorted(rows, np.asarray(values).astype(rows.dtype))
