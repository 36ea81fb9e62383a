"""Whisper itself: loading a base, the encoder at any length, the token-level loss."""
