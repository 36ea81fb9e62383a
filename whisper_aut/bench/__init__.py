"""Measurements of speed and memory: ``python -m whisper_aut.bench``. Benchmarks are not tests and have no limits."""
