"""docs/probing.md shows what was measured, and its snippets run."""

import re
import subprocess
import sys

import pytest
import torchaudio
from transformers import WhisperModel

SECTION = "## With X-ARES and mteb"


@pytest.fixture
def section(repository) -> str:
    page = (repository / "docs" / "probing.md").read_text("utf-8")
    return page.split(SECTION)[1].split("\n## ")[0]


@pytest.fixture
def run_snippet(section, write_corpus_task, small_whisper, tmp_path, monkeypatch):
    """Runs the one Python snippet that holds a text, with a small export and a small task in place of the reader's."""

    def run(holding: str) -> dict:
        WhisperModel(small_whisper().config).save_pretrained(tmp_path / "RUN" / "export")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(torchaudio, "load", torchaudio.load)
        blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", section, re.MULTILINE)
        (snippet,) = (block for block in blocks if holding in block)
        assert len(snippet.strip().splitlines()) <= 14
        names: dict = {}
        exec(compile(re.sub("^    ", "", snippet, flags=re.MULTILINE), "docs/probing.md", "exec"), names)
        return names

    write_corpus_task(tmp_path / "DIR")
    return run


@pytest.fixture
def write_corpus_task():
    import json

    import numpy as np
    import soundfile

    def write(folder):
        folder.mkdir()
        rows = []
        for number in range(32):
            label, fold = ("high", "low")[number % 2], 1 + number // 2 % 4
            times = np.arange(8000) / 16_000
            tone = 0.3 * np.sin(2 * np.pi * (2000 if label == "high" else 300) * times)
            noise = 0.01 * np.random.default_rng(number).normal(size=8000)
            soundfile.write(folder / f"{number}.wav", tone + noise, 16_000)
            rows.append(
                {"id": str(number), "audio": f"{number}.wav", "duration_sec": 0.5, "label": label, "fold": fold}
            )
        (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    return write


def test_the_table_is_that_of_the_results(repository, section):
    command = [sys.executable, "docs/xares_agreement.py", "docs/results/xares_agreement.json"]
    made = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert made.stdout in section


def test_our_encoder_in_a_file_for_x_ares(run_snippet):
    names = run_snippet("OurEncoder")
    encoder = names["OurEncoder"]()
    assert (encoder.output_dim, encoder.context) == (16, "full")


def test_x_ares_on_a_task_of_ours(run_snippet):
    pytest.importorskip("xares.task", reason="X-ARES is not installed: the extra [bridges]")
    names = run_snippet("XaresTask")
    assert 0 <= names["mlp"] <= 1 and 0 <= names["knn"] <= 1


def test_mteb_on_a_task_of_ours(run_snippet):
    pytest.importorskip("mteb", reason="mteb is not installed: the extra [bridges]")
    (result,) = run_snippet("mteb.evaluate")["results"].task_results
    assert result.task_name == "DIR-fold-1"
