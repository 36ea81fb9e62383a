"""The ledger of unreadable clips and the rate at which it stops a run."""

from __future__ import annotations

import json

import pytest

from whisper_aut.data.containers.ffmpeg import NEEDS_FFMPEG
from whisper_aut.data.quarantine import Quarantine, QuarantineEntry
from whisper_aut.errors import ManifestError


def _entry(number: int) -> QuarantineEntry:
    return QuarantineEntry(f"clip-{number}", f"speech.jsonl:{number}", "the audio is damaged")


def test_entries_are_appended_as_json_lines_and_survive_a_restart(tmp_path):
    path = tmp_path / "quarantine.jsonl"
    Quarantine(path, 0.5).record([_entry(1)], 8)
    Quarantine(path, 0.5).record([_entry(2)], 8)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[1] == {"id": "clip-2", "where": "speech.jsonl:2", "reason": "the audio is damaged"}
    assert [row["id"] for row in rows] == ["clip-1", "clip-2"]


def test_nothing_is_written_when_all_is_readable(tmp_path):
    Quarantine(tmp_path / "quarantine.jsonl", 0.0).record([], 1000)
    assert not (tmp_path / "quarantine.jsonl").exists()


def test_the_first_hundred_clips_stop_nothing(tmp_path):
    quarantine = Quarantine(tmp_path / "quarantine.jsonl", 0.02)
    quarantine.record([_entry(number) for number in range(99)], 99)
    with pytest.raises(ManifestError, match="99 of 100 clips"):
        quarantine.record([], 1)


def test_a_rate_at_the_limit_goes_on_and_one_above_stops_with_counts_ids_and_ledger(tmp_path):
    path = tmp_path / "quarantine.jsonl"
    quarantine = Quarantine(path, 0.02)
    quarantine.record([_entry(number) for number in range(4)], 200)
    with pytest.raises(ManifestError, match=r"5 of 200 clips.*clip-0 \(speech\.jsonl:0\).*clip-2") as caught:
        quarantine.record([_entry(4)], 0)
    assert caught.value.where == str(path)
    assert len(path.read_text().splitlines()) == 5


def test_the_end_of_a_run_says_what_was_replaced_and_whether_it_is_more_than_allowed(tmp_path):
    quarantine = Quarantine(tmp_path / "quarantine.jsonl", 0.02)
    assert quarantine.summary() == ""
    quarantine.record([_entry(1)], 9)
    assert "1 of 9 clips" in quarantine.summary()
    assert "more than data.max_quarantine_rate=0.02" in quarantine.summary()
    assert "quarantine.jsonl" in quarantine.summary()
    quarantine.record([], 91)
    assert "more than" not in quarantine.summary()


def test_what_ffmpeg_would_mend_is_said_once(tmp_path, capsys):
    quarantine = Quarantine(tmp_path / "quarantine.jsonl", 1.0)
    for number in range(3):
        quarantine.record([QuarantineEntry(f"c{number}", f"m:{number}", f"WebM {NEEDS_FFMPEG}, which is missing")], 1)
    assert capsys.readouterr().err.count("need FFmpeg") == 1
