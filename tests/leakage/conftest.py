"""Fixtures of the leakage check's tests: ``sounds`` makes and changes waveforms, ``write_sides`` writes both sides."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile


@pytest.fixture(scope="session")
def sounds() -> ModuleType:
    """``sounds.py`` beside this file; tests are imported by path, so it cannot be imported by name."""
    spec = importlib.util.spec_from_file_location("leakage_sounds", Path(__file__).with_name("sounds.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def write_sides(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Writes a training manifest and a task folder from waveforms by id: the paths of both."""

    def write(train: dict[str, np.ndarray], evaluation: dict[str, np.ndarray]) -> tuple[Path, Path]:
        for folder, waves in (("train", train), ("task", evaluation)):
            (tmp_path / folder).mkdir(exist_ok=True)
            for name, wave in waves.items():
                soundfile.write(tmp_path / folder / f"{name}.wav", wave, 16_000, subtype="FLOAT")
        rows = [
            {
                "id": name, "audio": f"{name}.wav", "offset_sec": 0.0, "duration_sec": len(wave) / 16_000,
                "text": "A sound.", "domain": "environment",
            }
            for name, wave in train.items()
        ]  # fmt: skip
        (tmp_path / "train" / "sounds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        clips = [
            {"id": name, "audio": f"{name}.wav", "duration_sec": len(wave) / 16_000, "label": "sound", "fold": 1}
            for name, wave in evaluation.items()
        ]
        (tmp_path / "task" / "clips.jsonl").write_text("".join(json.dumps(clip) + "\n" for clip in clips), "utf-8")
        return tmp_path / "train" / "sounds.jsonl", tmp_path / "task"

    return write
