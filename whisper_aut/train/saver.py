"""Saves checkpoints on rank 0, in the background where that pays, and keeps those that the recipe wants kept."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from whisper_aut.config import TrainConfig
from whisper_aut.errors import CheckpointError
from whisper_aut.train.checkpoint import TrainedState, check_finite, remove_obsolete, save_checkpoint

# A full disk at night is mended in the morning; a run that nobody mends must not burn GPUs for ever.
MAX_FAILURES_IN_A_ROW = 3


class CheckpointSaver:
    """One save at a time. Tensors given to it must not change afterwards: the engine's ``gather`` copies them.

    Args:
        checkpoints: folder of the checkpoints.
        config: what is kept, and whether writing and hashing (some 20 s for large-v3) happen beside training.
    """

    def __init__(self, checkpoints: Path, config: TrainConfig) -> None:
        self._checkpoints, self._config = checkpoints, config
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._failures_in_a_row = 0

    def save(self, step: int, trained: TrainedState, state: Mapping[str, Any]) -> None:
        """Start saving; in the foreground, finish it.

        Raises:
            BrokenWeights: a weight is not finite.
            CheckpointError: as :meth:`wait`.
        """
        check_finite(step, trained.weights)
        self.wait()
        self._pending = self._writer.submit(self._write, step, trained, state)
        if not self._config.save_in_background:
            self.wait()

    def wait(self) -> None:
        """Return when what was saved last stands.

        Raises:
            CheckpointError: it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            pending.result()
            self._failures_in_a_row = 0
        except CheckpointError:
            self._failures_in_a_row += 1
            raise

    @property
    def hopeless(self) -> bool:
        """Whether so many saves in a row have failed that training on is a waste."""
        return self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW

    def _write(self, step: int, trained: TrainedState, state: Mapping[str, Any]) -> None:
        save_checkpoint(self._checkpoints, step, trained, state)
        remove_obsolete(
            self._checkpoints,
            keep_last=self._config.keep_checkpoints,
            keep_every_steps=self._config.keep_every_steps,
            keep_best=self._config.keep_best,
        )
