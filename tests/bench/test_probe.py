"""The measurements measure what they say: small sizes, compared with scikit-learn and with the probe itself."""

import json

import numpy as np
import pytest
import soundfile

from whisper_aut.bench.head import measure_head, measure_heads
from whisper_aut.bench.probe import measure_embedding
from whisper_aut.bench.record import finish
from whisper_aut.errors import RecipeError


@pytest.fixture
def task(tmp_path):
    """Tones of two classes in two folds, half a second each."""
    rows = []
    for n in range(24):
        high = n % 2 == 0
        times = np.arange(8000) / 16_000
        wave = 0.3 * np.sin(2 * np.pi * (2000 if high else 300) * times)
        wave += np.random.default_rng(n).normal(scale=0.01, size=8000)
        soundfile.write(tmp_path / f"{n}.wav", wave, 16_000)
        rows.append({"id": str(n), "audio": f"{n}.wav", "duration_sec": 0.5, "label": "high" if high else "low",
                     "fold": 1 + n // 2 % 2})  # fmt: skip
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.mark.parametrize("num_classes", [2, 5])
def test_the_head_that_is_timed_ends_at_scikit_learns_optimum(num_classes):
    numbers = measure_head(600, 20, num_classes, 0.1, device="cpu", reference=True)
    assert numbers["largest difference of a coefficient"] < 5e-3 * numbers["largest coefficient"]
    assert 0 < numbers["prepare, s"] < numbers["prepare and fit, s"]


def test_heads_of_several_processes_are_timed_and_compared():
    numbers = measure_heads(100, 8, 3, num_encoders=1, jobs=2, rounds=1)
    assert numbers["heads"] == 25 and numbers["processes"] == 2
    (alone,), (whole,), (ready,) = (
        numbers[f"{side}, s, by round"] for side in ("one process", "several", "several, once ready")
    )
    assert 0 < ready < whole and numbers["ratio of times, once ready, by round"] == [alone / ready]
    (of_one,) = numbers["one process, processor s, by round"]
    (of_busiest,) = numbers["several, processor s of the busiest, by round"]
    assert of_busiest > 0 and numbers["ratio of processor times, median"] == of_one / of_busiest


def test_both_contexts_take_turns_and_are_judged(task, tmp_path):
    numbers = measure_embedding(task, "logmel", rounds=2, device="cpu", precision="float32")
    for context in ("full", "trimmed"):
        assert len(numbers[f"{context}: clips/s by round"]) == 2
        assert numbers[f"{context}: strict accuracy, %"] == 100.0
    assert numbers["clips"] == 24 and numbers["mean clip, s"] == pytest.approx(0.5)
    assert not list(tmp_path.glob("*.npy"))  # the cache of a measurement is gone with it


def test_an_unknown_precision_is_a_users_error(task):
    with pytest.raises(RecipeError, match="no precision 'fp4'"):
        measure_embedding(task, "logmel", rounds=1, device="cpu", precision="fp4")


def test_numbers_are_written_with_their_circumstances(tmp_path, capsys):
    finish({"clips/s": 12.345678}, tmp_path / "out.json")
    assert "clips/s  12.35" in capsys.readouterr().out
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["numbers"] == {"clips/s": 12.345678}
    assert {"command", "commit", "date", "machine", "versions"} < set(record)
    assert record["machine"]["threads"] >= 1
