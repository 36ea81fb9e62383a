"""``whisper_aut.json``: what an export says of itself, and by which a folder is known to be one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whisper_aut.errors import CheckpointError

PROVENANCE = "whisper_aut.json"
FORMAT_VERSION = 1  # of whisper_aut.json


def read_about(export_dir: Path) -> dict[str, Any]:
    """``whisper_aut.json`` of an export.

    Raises:
        CheckpointError: the folder is not an export, or the file is damaged or of a newer release.
    """
    try:
        about = json.loads((export_dir / PROVENANCE).read_text("utf-8"))
        if not isinstance(about, dict):
            raise ValueError(f"it holds a {type(about).__name__}, not a mapping")
        if not isinstance(about.get("run", {}), dict | None):
            raise ValueError("its run is not what an export writes")
        blend = about.get("blend", 1.0)
        if not (isinstance(blend, int | float) and math.isfinite(blend)):
            raise ValueError(f"its blend is {blend!r}")
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            "this is not an export: whisper_aut.json is missing",
            where=str(export_dir),
            remedy="give a folder that `whisper-aut export` wrote",
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"whisper_aut.json cannot be read: {error}", where=str(export_dir), remedy="export again"
        ) from None
    if about.get("format_version", FORMAT_VERSION) > FORMAT_VERSION:
        raise CheckpointError(
            f"the export has format {about['format_version']}, this whisper-aut reads {FORMAT_VERSION}",
            where=str(export_dir),
            remedy="use the whisper-aut that wrote it, or a newer one",
        )
    return about


def keeps_decoder(about: Mapping[str, Any]) -> bool:
    """Whether an export has a decoder; the first exports did not say, and had none."""
    return str(about.get("keep_decoder", "none")) != "none"
