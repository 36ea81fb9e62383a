"""Whisper-AuT: turn Whisper into an audio encoder for speech, environmental sound and music."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whisper_aut.encoder import AudioEncoder, load_encoder

__version__ = "0.1.0"
__all__ = ["AudioEncoder", "__version__", "load_encoder"]


def __getattr__(name: str) -> object:
    # Only when asked for: torch and transformers take seconds to import, and `whisper-aut --help` needs neither.
    if name in ("AudioEncoder", "load_encoder"):
        from whisper_aut import encoder

        return getattr(encoder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
