"""docs/use_the_encoder.md: the example runs as it is printed, on real sounds where they are, else on made ones."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import soundfile

from whisper_aut.constants import SAMPLE_RATE

PAGE = Path(__file__).resolve().parents[1] / "docs" / "use_the_encoder.md"


def made_sounds(folder: Path) -> None:
    """Three kinds of sound: tones, noise, clicks; ten each."""
    generator = np.random.default_rng(0)
    times = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for number in range(10):
        kinds = {
            "tone": 0.3 * np.sin(2 * np.pi * generator.uniform(200, 800) * times),
            "noise": 0.1 * generator.normal(size=len(times)),
            "clicks": (generator.uniform(size=len(times)) < 0.001).astype(float),
        }
        for name, sound in kinds.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / name / f"{number}.wav", sound, SAMPLE_RATE)


def real_sounds(folder: Path, task: Path) -> None:
    """Ten recordings each of four classes of ESC-10."""
    rows = [json.loads(line) for line in (task / "clips.jsonl").read_text("utf-8").splitlines()]
    for label in sorted({row["label"] for row in rows})[:4]:
        (folder / label).mkdir(parents=True)
        for row in [row for row in rows if row["label"] == label][:10]:
            shutil.copy(task / row["audio"], folder / label)


def test_the_example_runs_as_shown(tiny_en, tmp_path, monkeypatch, capsys, repository):
    data = Path(os.environ.get("WHISPER_AUT_DATA", repository.parent / "shared" / "data")) / "probe" / "esc10"
    if data.is_dir():
        real_sounds(tmp_path / "sounds", data)
    else:
        made_sounds(tmp_path / "sounds")
    tiny_en.model.model.save_pretrained(tmp_path / "runs" / "demo" / "run" / "export")
    (example,) = re.findall(r"<!-- tested as shown.*?-->\n```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len([line for line in example.splitlines() if line and not line.startswith(("import", "from"))]) <= 10
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(PAGE), "exec"), {})
    assert float(capsys.readouterr().out) > 0.7


def test_what_the_page_says_of_states_runs(small_whisper, tiny_en, tmp_path, monkeypatch):
    """The second snippet, on the processor."""
    import torch

    import whisper_aut

    snippet = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1]
    tiny_en.model.model.save_pretrained(tmp_path / "runs" / "demo" / "run" / "export")
    monkeypatch.chdir(tmp_path)
    names = {"whisper_aut": whisper_aut, "torch": torch, "waveforms": torch.randn(2, 9_000), "lengths": [9_000, 4_000]}
    exec(snippet.replace('"cuda"', '"cpu"'), names)
    assert names["states"].shape == (2, 50, 384) and names["mask"].sum(dim=1).tolist() == [29, 13]
    assert names["states"].dtype == torch.bfloat16
