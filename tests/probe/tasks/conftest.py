"""Official layouts in miniature: real small audio files, the benchmarks' own lists."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def write_audio() -> Callable[..., None]:
    """Writes a tone whose pitch comes from the path, so that no two files are equal; the ending says the format."""

    def write(path: Path, *, duration_sec: float = 0.2, rate: int = 16_000) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        times = np.arange(round(duration_sec * rate)) / rate
        pitch_hz = 200 + sum(path.name.encode()) % 1500
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch_hz * times), rate)

    return write


@pytest.fixture
def write_csv() -> Callable[[Path, Sequence[str], Sequence[Sequence[object]]], None]:
    """Writes a table with a heading line."""

    def write(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
        path.write_text("\n".join(lines) + "\n")

    return write


@pytest.fixture
def parts_of() -> Callable[..., dict[object, list[str]]]:
    """Ids by fold or part."""

    def parts(clips) -> dict[object, list[str]]:
        found: dict[object, list[str]] = {}
        for clip in clips:
            found.setdefault(clip.fold, []).append(clip.id)
        return found

    return parts
