"""What can be wrong with a training command before anything is loaded: said in a second, without importing torch."""

from __future__ import annotations

from pathlib import Path

from whisper_aut.config import Recipe
from whisper_aut.data.manifest_file import check_present
from whisper_aut.errors import CheckpointError
from whisper_aut.machine import LIBRARIES_BYTES, require_memory
from whisper_aut.model.places import model_file, model_folder
from whisper_aut.train.strategy import read_strategy


def check_before_loading(recipe: Recipe, run_dir: Path | None) -> None:
    """Check that strategy, base and manifests are there and that the run's folder is none of another kind.

    Raises:
        WhisperAutError: one of them cannot be used.
    """
    require_memory(LIBRARIES_BYTES, "training")
    read_strategy(recipe.train.deepspeed)
    if model_file(recipe.base.model) is None:
        model_folder(recipe.base.model)
    for domain in recipe.data.mixture.values():
        for name in domain.manifests:
            check_present(recipe.data.root / name)
    if run_dir is not None and run_dir.exists() and not run_dir.is_dir():
        raise CheckpointError(
            "the run's folder cannot be made: a file is in its place", where=str(run_dir), remedy="give another --out"
        )
