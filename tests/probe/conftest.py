"""Small labelled tasks with real WAV files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from whisper_aut.constants import SAMPLE_RATE

Row = dict[str, Any]


def write_tone(path: Path, frequency_hz: float, duration_sec: float, seed: int = 0) -> None:
    """A tone with a little noise, so that no two clips are equal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(duration_sec * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.random.default_rng(seed).normal(scale=0.01, size=len(times))
    soundfile.write(path, (0.3 * np.sin(2 * np.pi * frequency_hz * times) + noise).astype(np.float32), SAMPLE_RATE)


@pytest.fixture
def rows() -> list[Row]:
    """Two classes, four folds, two clips of each class in each fold, one recording a clip."""
    return [
        {
            "id": f"{label}-{fold}-{n}",
            "audio": f"audio/{label}-{fold}-{n}.wav",
            "duration_sec": 0.4 + 0.3 * n,
            "label": label,
            "fold": fold,
            "group": f"{label}-{fold}-{n}",
            "license": "CC0-1.0",
        }
        for fold in (1, 2, 3, 4)
        for label in ("high", "low")
        for n in range(2)
    ]


@pytest.fixture
def write_task(tmp_path: Path) -> Callable[[list[Row]], Path]:
    """Writes rows and their audio as a task folder: 'high' sounds at 2 kHz, everything else at 300 Hz."""

    def write(rows: list[Row], name: str = "tones") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for seed, row in enumerate(rows):
            path = folder / str(row.get("audio", "audio/none.wav"))
            if path.suffix == ".wav" and ".." not in path.parts and not path.exists():
                seconds = row.get("duration_sec", 1.0)
                seconds = float(seconds) if isinstance(seconds, int | float) and 0 < seconds < 60 else 1.0
                write_tone(path, 2000.0 if "high" in str(row.get("label")) else 300.0, seconds, seed)
        (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return write
