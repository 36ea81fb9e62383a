"""What ``wer`` is asked for, checked before models are loaded; imports nothing that takes time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from whisper_aut.errors import ProbeError


def is_run(folder: Path) -> bool:
    """Return whether the folder holds a training run."""
    return (folder / "run.json").is_file()


def check_clips_given(adapted: str, run_dir: Path | None, manifests: Sequence[Path]) -> None:
    """Check that a run or manifests say which clips are transcribed.

    Raises:
        ProbeError: nothing does.
    """
    if run_dir is None and not manifests and not is_run(Path(adapted)):
        raise ProbeError(
            "there are no clips to hear" + ("" if Path(adapted).exists() else ", and there is no folder of this name"),
            where=adapted,
            remedy="give --run, which held clips out, or --manifest",
        )
