"""What an audit of a manifest finds, against the rows themselves."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from whisper_aut.data.audit import NUM_SHOWN, Audit, audit_lines, extremes_of


def _table(durations, texts="One.", domain="speech", **columns):
    rows = len(durations)
    texts = [texts] * rows if isinstance(texts, str) else texts
    given = {"id": [f"c{number}" for number in range(rows)], "duration_sec": durations, "text": texts}
    return pa.table(given | {"domain": [domain] * rows} | columns)


@pytest.mark.parametrize("piece", [7, 64, 1000])
def test_the_shortest_and_the_longest_are_those_of_all_rows_whatever_the_pieces(piece):
    durations = np.random.default_rng(0).integers(1, 300, 1000) / 10
    table, audit = _table(durations.tolist()), Audit()
    for start in range(0, len(table), piece):
        audit.add(table.slice(start, piece))
    order = np.argsort(durations, kind="stable")
    assert [value for value, _ in audit.shortest] == durations[order][:NUM_SHOWN].tolist()
    assert [value for value, _ in audit.longest] == np.sort(durations)[::-1][:NUM_SHOWN].tolist()
    assert all(durations[int(clip[1:])] == value for value, clip in audit.shortest + audit.longest)
    assert audit.shortest == [(durations[row], f"c{row}") for row in order[:NUM_SHOWN]]


def test_the_quietest_are_those_whose_level_is_known():
    audit = Audit()
    audit.add(_table([1.0, 1.0, 1.0], level_db=pa.array([-20.0, None, -60.0], pa.float32())))
    audit.add(_table([1.0], level_db=pa.array([None], pa.float32())))
    assert audit.quietest == [(-60.0, "c2"), (-20.0, "c0")]
    assert dict(extremes_of(audit.as_dict()))["quietest"] == [("-60.0 dB", "c2"), ("-20.0 dB", "c0")]


@pytest.mark.parametrize(
    ("text", "duration_sec", "impossible"),
    [
        ("word " * 39 + "word", 2.0, True),
        ("word " * 39 + "word", 10.0, False),
        ("one two three four five", 1.0, False),
        ("No.", 0.1, False),
        ("supercalifragilistic" * 6, 2.0, True),
        ("今天天气很好我们去公园散步吧" * 3, 2.0, True),
        ("今天天气很好我们去公园散步吧", 2.0, False),
        ("สวัสดีครับ" * 3, 2.0, False),
        ("किताब " * 30, 2.0, True),
    ],
)
def test_a_text_that_nobody_can_say_in_its_time(text, duration_sec, impossible):
    audit = Audit()
    audit.add(_table([duration_sec], text))
    assert (audit.spoken, audit.impossible) == (1, int(impossible))
    (line,) = audit_lines(audit.as_dict())
    assert ("c0 (" in line) == impossible and ("(100.0%)" in line) == impossible


def test_captions_are_not_spoken():
    audit = Audit()
    audit.add(_table([2.0], "word " * 40, domain="music"))
    assert (audit.spoken, audit.impossible) == (0, 0) and audit_lines(audit.as_dict()) == []


def test_texts_that_a_program_wrote_for_none_are_counted():
    audit = Audit()
    audit.add(_table([1.0] * 6, ["nan", " None ", "N/A", "null", "Nancy sings.", "none of them"]))
    assert audit.placeholders == 4 and audit.placeholder_examples[0] == "c0 ('nan')"
    assert any("texts that are none: 4" in line for line in audit_lines(audit.as_dict()))


def test_an_empty_table_and_null_values_are_nothing():
    audit = Audit()
    audit.add(_table([]))
    audit.add(_table(pa.array([None], pa.float64()), [None], domain=None))
    assert audit.spoken == 0 and audit.placeholders == 0
