"""Fixtures of the report's tests: ``made`` makes results and run folders, the others are files made with it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """``made.py`` beside this file; tests are imported by path, so it cannot be imported by name."""
    spec = importlib.util.spec_from_file_location("report_made", Path(__file__).with_name("made.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def probe_json(tmp_path: Path, made: ModuleType) -> Path:
    path = tmp_path / "probe.json"
    path.write_text(made.demo_probe().to_json(), encoding="utf-8")
    return path


@pytest.fixture
def run_dir(tmp_path: Path, made: ModuleType) -> Path:
    folder = tmp_path / "run"
    made.write_run(folder)
    return folder
