"""Unreadable clips among good ones: the run goes on, says so, and stops only when they get too many."""

import json
import re
import shutil

import pytest

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
