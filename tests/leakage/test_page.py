"""The page: sound inside it, no network, names that cannot inject, and what is not shown is said."""

import base64
import io
import re

import numpy as np
import pytest
import soundfile

from whisper_aut.leakage.confirm import Confirmation
from whisper_aut.leakage.page import render_page
from whisper_aut.leakage.pairs import Pair
from whisper_aut.leakage.search import Match
from whisper_aut.leakage.sides import Segment

EVIL = "<script>alert('x')</script>"
SUMMARY = {
    "command": f"whisper-aut leakage {EVIL}", "leaks": 1, "leaked_train_clips": 1, "leaked_eval_clips": 1,
    "train": [{"name": EVIL, "clips": 1, "hours": 1.0, "unreadable": 1, "silent": 1}], "eval": [],
}  # fmt: skip


@pytest.fixture
def pair(sounds, tmp_path):
    wave = sounds.make_sound(1)
    sides = []
    for name, samples in (("train", wave[16_000:]), ("eval", wave)):
        soundfile.write(tmp_path / f"{name}.wav", samples, 16_000)
        sides.append(Segment(EVIL, 0, EVIL, tmp_path / f"{name}.wav", 0.0, None, frozenset({"freesound:1"})))
    found = Confirmation(1.0, 1.0, 0.9, 100.0, 50.0, 60.0, 0.0, 4.0)
    return Pair(*sides, Match(0, 99, found))


def sounds_in(page):
    found = re.findall(r'<audio[^>]* src="data:audio/mpeg;base64,([^"]+)"', page)
    return [soundfile.read(io.BytesIO(base64.b64decode(each)), dtype="float32") for each in found]


def test_both_sides_and_both_together_are_in_the_page(pair):
    waves = sounds_in(render_page(SUMMARY, [pair], [], 10))
    assert [wave.ndim for wave, _ in waves] == [1, 1, 2]
    assert all(rate == 16_000 for _, rate in waves)
    together = waves[2][0]
    # Both begin at the same moment of the shared sound: left and right are one.
    assert np.corrcoef(together[:60_000, 0], together[:60_000, 1])[0, 1] > 0.95


def test_nothing_is_asked_of_the_network_and_no_name_is_run(pair):
    page = render_page(SUMMARY, [pair], [pair], 10)
    assert EVIL not in page
    assert "<script" not in page
    sources = re.findall(r'(?:src|href)="([^"]{0,24})', page)
    assert sources and all(source.startswith("data:audio/mpeg;base64") for source in sources)


def test_pairs_beyond_the_players_are_listed_without_sound(pair):
    page = render_page(SUMMARY, [pair] * 5, [], 2)
    assert len(sounds_in(page)) == 6
    assert "first 2 of 5" in page
    assert page.count("<tr>") == 6


def test_a_suspicion_is_no_leak(pair):
    page = render_page(SUMMARY | {"leaks": 0}, [], [Pair(pair.train, pair.eval, None)], 10)
    assert "No training clip shares audio" in page
    assert "freesound:1" in page
    assert len(sounds_in(page)) == 2


def test_a_file_that_is_gone_by_now_costs_its_player_alone(pair, tmp_path):
    (tmp_path / "eval.wav").unlink()
    page = render_page(SUMMARY, [pair], [], 10)
    assert len(sounds_in(page)) == 1
    assert "cannot be read" in page
