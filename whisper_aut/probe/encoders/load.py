"""From what was typed to an encoder: a Whisper, ``random:SPEC``, ``mfcc``, ``logmel`` or ``hf:NAME_OR_DIR``."""

from __future__ import annotations

import json
from pathlib import Path

from whisper_aut.model.base import load_encoder
from whisper_aut.probe.encoders.base import Kind, ProbedEncoder
from whisper_aut.probe.encoders.floors import logmel, mfcc
from whisper_aut.probe.encoders.hugging_face import hugging_face_config, load_hugging_face
from whisper_aut.probe.encoders.spec import HUGGING_FACE, RANDOM
from whisper_aut.probe.encoders.whisper import RandomWhisper, WhisperProbed
from whisper_aut.probe.results import Role


def load_probed(spec: str, seed: int = 0) -> ProbedEncoder:
    """Load an encoder to probe.

    Args:
        spec: as for ``whisper_aut.model.base.load_encoder``; or ``random:`` and such a name or ``hf:...``: its shape
            with random weights; ``mfcc`` or ``logmel``; ``hf:`` and a hub name or a folder: any encoder that
            ``load_hugging_face`` knows.
        seed: of random weights.

    Raises:
        BaseModelError: it cannot be loaded, or is of no known kind.
        EnvironmentProblem: a package that it needs does not work.
    """
    if spec in {"mfcc", "logmel"}:
        return mfcc() if spec == "mfcc" else logmel()
    if spec.startswith(RANDOM):
        shape = spec.removeprefix(RANDOM)
        if not shape.startswith(HUGGING_FACE):
            return RandomWhisper(load_encoder(shape), seed)
        return load_hugging_face(shape.removeprefix(HUGGING_FACE), spec, random_seed=seed)
    if spec.startswith(HUGGING_FACE):
        source = spec.removeprefix(HUGGING_FACE)
        if hugging_face_config(source).model_type == "whisper":
            return WhisperProbed(load_encoder(source))  # our own path computes any length and every layer
        return load_hugging_face(source, spec)
    encoder = WhisperProbed(load_encoder(spec))
    encoder.made_by = _made_by(Path(spec))
    return encoder


def _made_by(folder: Path) -> str:
    """The command in an export's ``whisper_aut.json``; empty for any other encoder."""
    try:
        found = json.loads((folder / "whisper_aut.json").read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    command = found.get("command") if isinstance(found, dict) else None
    return command if isinstance(command, str) else ""


def role_of(encoder: Kind, base: Kind | None) -> Role:
    """What an encoder is beside the base: floors are never judged, of the others only the base's own family is.

    Without a base, it is the base. Beside a floor as the base nothing is an adaptation.
    """
    if base is None:
        return "base"
    if encoder.is_floor:
        return "floor"
    return "adapted" if not base.is_floor and encoder.family == base.family else "reference"
