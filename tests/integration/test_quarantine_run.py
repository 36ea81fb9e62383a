"""Unreadable clips among good ones: the run goes on, says so, and stops only when they get too many."""

import json
import re
import shutil

import pytest
import soundfile

pytestmark = pytest.mark.integration


CORRUPT = (1, 4, 7, 10)


def test_corrupt_clips_are_quarantined_counted_and_replaced(start_training, corpus, make_recipe, small_base, tmp_path):
    folder = tmp_path / "corpus"
    shutil.copytree(corpus, folder)
    for number in CORRUPT:
        (folder / "audio" / f"music-{number:03d}.wav").write_text("not a sound")
    recipe = make_recipe(folder, base=small_base, checkpoint_every_steps=100)
    training = start_training(recipe, tmp_path / "run", "data.holdout_clips=3")
    code, errors = training.finish()
    assert code == 0, errors

    ledger = [json.loads(line) for line in (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()]
    assert ledger
    assert {entry["id"] for entry in ledger} <= {f"music-{number:03d}" for number in CORRUPT}
    assert all(f"{folder / 'music.jsonl'}:" in entry["where"] and entry["reason"] for entry in ledger)
    steps = training.steps()
    assert sum(line["quarantined"] for line in steps.values()) == len(ledger)
    assert [line["num_clips"] for line in steps.values()] == [4] * 6  # each got its substitute
    assert f"{len(ledger)} of {24 + len(ledger)} clips were unreadable and replaced by others" in errors
    named = re.search(
        r"warning: validation leaves out [123] of 3 clips of music, unreadable; the first is music-(\d+)", errors
    )
    assert named is not None and int(named[1]) in CORRUPT


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_corpus_without_one_readable_clip_of_a_domain_stops_the_run(
    start_training, corpus, make_recipe, small_base, tmp_path, num_workers
):
    folder = tmp_path / "corpus"
    shutil.copytree(corpus, folder)
    for path in (folder / "audio").glob("music-*.wav"):
        path.write_bytes(b"")
    # With workers too it must end: they ignore the signal that would stop them.
    training = start_training(make_recipe(folder, base=small_base), tmp_path / "run", f"data.num_workers={num_workers}")
    code, errors = training.finish()
    assert code == 2
    assert "unreadable" in errors
    assert "music.jsonl:" in errors
    assert "Traceback" not in errors


def test_silent_clips_are_replaced_or_counted_and_said_once(start_training, corpus, make_recipe, tmp_path):
    folder = tmp_path / "corpus"
    shutil.copytree(corpus, folder)
    for number in range(12):
        path = folder / "audio" / f"music-{number:03d}.wav"
        wave, rate = soundfile.read(path)
        if number % 3 == 0:
            soundfile.write(path, 0 * wave, rate)
        elif number % 3 == 1:
            soundfile.write(path, 5e-4 * wave / abs(wave).max(), rate)
    training = start_training(make_recipe(folder, steps=12), tmp_path / "run", "data.holdout_clips=3")
    code, errors = training.finish()
    assert code == 0, errors
    read = {name: [json.loads(line) for line in (tmp_path / "run" / f"{name}.jsonl").read_text().splitlines()]
            for name in ("quarantine", "silent")}  # fmt: skip
    assert all("digital silence" in entry["reason"] and int(entry["id"][-3:]) % 3 == 0 for entry in read["quarantine"])
    assert all("near silence" in entry["reason"] and int(entry["id"][-3:]) % 3 == 1 for entry in read["silent"])
    steps = training.steps().values()
    assert sum(line["quarantined"] for line in steps) == len(read["quarantine"]) > 0
    assert sum(line["silent"] for line in steps) == len(read["silent"]) > 0
    assert errors.count("the clip is near silence") == 1
    assert f"in {len(read['silent'])} of " in errors
