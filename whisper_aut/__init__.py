"""Whisper-AuT: turn Whisper into an audio encoder for speech, environmental sound and music."""

__version__ = "0.1.0"
