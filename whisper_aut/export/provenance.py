"""What an export carries of its making beside the weights: the recipe, word for word, and how to cite it."""

from __future__ import annotations

import shutil
from pathlib import Path

from whisper_aut.resources import resource

RECIPE, CITATION = "recipe.yaml", "CITATION.cff"


def add_provenance(export_dir: Path, source: Path) -> None:
    """Copy the recipe and the project's ``CITATION.cff`` into an export that is being written.

    Args:
        export_dir: the export.
        source: the run, or an export of one that is put into other forms; any other model has no recipe to copy.
    """
    if (source / RECIPE).is_file():
        shutil.copyfile(source / RECIPE, export_dir / RECIPE)
    citation = resource(CITATION)
    if citation.is_file():
        shutil.copyfile(citation, export_dir / CITATION)
