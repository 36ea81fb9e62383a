"""Measurements of the leakage check: the numbers belong to what was measured, and a miss is named."""

import json

import numpy as np
import pytest
import soundfile

from whisper_aut.bench.leak_index import measure_leak_index
from whisper_aut.bench.leak_recall import CHANGES, measure_leak_recall, table
from whisper_aut.leakage.landmarks import INDEX_LANDMARKS_PER_SEC


@pytest.fixture
def noisy_task(tmp_path):
    """Three clips: two of noise that comes and goes, one of silence, which nothing can find."""
    rng = np.random.default_rng(0)
    clips = []
    for name in ("a", "b", "silent"):
        times = np.arange(64_000) / 16_000
        loudness = np.interp(times, np.linspace(0, 4, 30), rng.uniform(0, 0.3, 30))
        wave = rng.normal(size=64_000) * loudness if name != "silent" else np.zeros(64_000)
        soundfile.write(tmp_path / f"{name}.wav", wave, 16_000)
        clips.append({"id": name, "audio": f"{name}.wav", "duration_sec": 4.0, "label": "x", "fold": 1})
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(clip) + "\n" for clip in clips), "utf-8")
    return tmp_path


def test_the_index_bench_counts_what_it_indexed(make_corpus):
    manifest = make_corpus(clips_per_domain=12) / "environment.jsonl"
    numbers = measure_leak_index([manifest], max_clips=6, generated_hours=0.02)
    assert numbers["clips"] == 6
    assert numbers["bytes an hour"] > 0
    assert numbers["generated hours"] == pytest.approx(0.02, rel=0.05)
    assert numbers["generated index, landmarks"] > 0
    parts = numbers["decoding alone, times real time a core"], numbers["landmarks alone, times real time a core"]
    assert numbers["build with decoding, times real time a core"] < min(parts)


def test_bytes_an_hour_stay_below_what_a_thousand_hours_in_a_gigabyte_allow(noisy_task):
    numbers = measure_leak_index([noisy_task / "clips.jsonl"], max_clips=2, generated_hours=0)
    assert numbers["bytes an hour"] <= 4 * INDEX_LANDMARKS_PER_SEC * 3600 < 1e9 / 1000


def test_copies_are_counted_change_by_change_and_misses_named(noisy_task):
    numbers = measure_leak_recall(noisy_task, noisy_task / "clips.jsonl", num_clips=3)
    assert set(numbers["changes"]) == set(CHANGES)
    unchanged = numbers["changes"]["as it is"]
    assert (unchanged["found"], unchanged["missed"]) == (2, ["silent"])
    assert unchanged["weakest"] > 12
    assert table(numbers)[2].startswith("| as it is | 2 of 3 |")
