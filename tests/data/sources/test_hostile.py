"""Lists that somebody else wrote: nothing outside the corpus is read, nothing is run, what is wrong is named."""

from __future__ import annotations

import json
import os

import pytest

from whisper_aut.errors import SourceError


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../outside", "climbs with '..'"),
        ("x/../../outside", "climbs with '..'"),
        ("/etc/passwd", "is an absolute path outside"),
        ("link/outside", "leads by a link outside"),
        ("away", "leads by a link outside"),
        ("https://example.org/a", "no path under the corpus' folder"),
        ("missing", "there is no file missing.wav"),
        ("pipe", "there is no file pipe.wav"),
        ("folder", "there is no file folder.wav"),
    ],
)
def test_a_path_that_is_none_of_the_corpus(small, build, rejects, data, disk, name, reason):
    disk.audio(data / "outside.wav")
    (data / "small" / "folder.wav").mkdir(parents=True)
    os.mkfifo(data / "small" / "pipe.wav")
    (data / "small" / "link").symlink_to(data)
    (data / "small" / "away.wav").symlink_to(data / "outside.wav")
    spec = small(rows=[("good", "Good.")])
    (data / "small" / "clips.csv").write_text(f"name,text\ngood,Good.\n{name},Bad.\n")
    assert [row["text"] for row in build(spec)] == ["Good."]
    (reject,) = rejects("small")
    assert reason in reject["reason"] and reject["where"] == f"{data}/small/clips.csv:3"
    assert reject["id"] == f"small-{name}"


def test_a_link_inside_the_corpus_and_a_corpus_that_is_a_link_are_fine(small, build, data, disk):
    spec = small(rows=[("a", "A.")])
    (data / "small" / "b.wav").symlink_to("a.wav")
    disk.csv(data / "small" / "clips.csv", [("name", "text"), ("a", "A."), ("b", "B.")])
    (data / "small").rename(data / "elsewhere")
    (data / "small").symlink_to(data / "elsewhere")
    assert [row["audio"] for row in build(spec)] == [str(data / "elsewhere" / "a.wav")] * 2


@pytest.mark.parametrize("pattern", ["../other/*.csv", "/etc/*.csv", "linked/*.csv"])
def test_a_list_outside_the_corpus_is_refused(small, make_source, build, data, disk, pattern):
    small()
    disk.csv(data / "other" / "clips.csv", [("name", "text")])
    (data / "small" / "linked").symlink_to(data / "other")
    read = {"kind": "list", "format": "csv", "splits": {"train": [{"files": [pattern]}]}}
    with pytest.raises(SourceError, match=r"leaves the corpus|outside"):
        build(make_source(read=read))


def test_a_column_that_the_list_has_not(small, build, data, disk):
    spec = small()
    disk.csv(data / "small" / "clips.csv", [("nam", "text"), ("a", "A.")])
    with pytest.raises(SourceError) as raised:
        build(spec)
    assert "no column 'name'; did you mean 'nam'?" in str(raised.value) and "clips.csv:1" in str(raised.value)


def test_short_rows_and_bytes_that_are_not_utf8_are_rejected(small, build, rejects, data):
    spec = small(rows=[("a", "A.")])
    (data / "small" / "clips.csv").write_bytes(b"name,text\na,A.\nb\n\xff\xfe,x\n")
    assert len(build(spec)) == 1
    assert [(reject["where"].rpartition(":")[2], reject["reason"]) for reject in rejects("small")] == [
        ("3", "the line has 1 columns, not 2"), ("4", "the line is not UTF-8"),
    ]  # fmt: skip


def test_a_quotation_mark_that_stays_open_costs_its_own_row(small, build, rejects, data):
    spec = small(rows=[(name, name.upper()) for name in "abc"])
    (data / "small" / "clips.csv").write_text('name,text\na,A.\nb,"never closed\n' + "c,x\n" * 10_000)
    assert [row["text"] for row in build(spec)] == ["A.", "x"]
    assert [reject["where"].rpartition(":")[2] for reject in rejects("small")] == [
        str(n) for n in (3, *range(5, 10_004))
    ]
    assert "a quotation mark opens here" in rejects("small")[0]["reason"]


def test_an_empty_list(small, build, data):
    spec = small()
    (data / "small" / "clips.csv").write_text("")
    with pytest.raises(SourceError, match="no column 'name'"):
        build(spec)


@pytest.fixture
def lines(small, make_source, build, rejects, data, disk):
    """Builds JSON lines; (texts, rejects)."""

    def run(listed):
        disk.audio(data / "small" / "a.wav")
        disk.jsonl(data / "small" / "clips.jsonl", listed)
        read = {"kind": "list", "format": "jsonl", "splits": {"train": [{"files": ["clips.jsonl"]}]}}
        clip = {"id": "{name}", "audio": ["a.wav"], "text": ["{text}"], "offset_sec": "at", "duration_sec": "long"}
        rows = build(make_source(read=read, clip=clip))
        return [row["text"] for row in rows], rejects("small")

    return run


def test_a_broken_line_deep_in_a_file(lines, data):
    good = [{"name": f"n{index}", "text": f"{index}", "at": 0, "long": 1} for index in range(10_000)]
    texts, rejected = lines([*good[:9_000], '{"name": "x", ', *good[9_000:], "[1, 2]", "\x00"])
    assert len(texts) == 10_000
    assert [reject["where"].rpartition(":")[2] for reject in rejected] == ["9001", "10002", "10003"]
    assert "not JSON" in rejected[0]["reason"] and "not a JSON object but list" in rejected[1]["reason"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": ""}, "the id is empty"),
        ({"name": "\ud800"}, "id is not UTF-8"),
        ({"text": "  "}, "the text is empty"),
        ({"text": None}, "the text is empty"),
        ({"text": ...}, "the row has no 'text'"),
        ({"at": "early"}, "at is 'early', not a number"),
        ({"at": -1}, "the clip begins at -1.0 s"),
        ({"long": float("nan")}, "long is nan"),
        ({"long": 0}, "0 s of audio"),
        ({"long": 1e9}, "longer than Whisper's window"),
        ({"long": [1]}, "not a number"),
    ],
)
def test_a_row_that_makes_no_clip(lines, change, reason):
    good = {"name": "a", "text": "A.", "at": 0, "long": 1}
    bad = {key: value for key, value in ({"name": "b"} | good | {"name": "b"} | change).items() if value is not ...}
    texts, (reject,) = lines([good, bad])
    assert texts == ["A."] and reason in reject["reason"]


def test_json_that_is_cut_off_is_named_with_its_line(small, make_source, build, data):
    small()
    (data / "small" / "clips.json").write_text(json.dumps([{"name": "a", "text": "A."}] * 9, indent=1)[:-40])
    read = {"kind": "list", "format": "json", "splits": {"train": [{"files": ["clips.json"]}]}}
    with pytest.raises(SourceError, match=r"not JSON[^\n]*\n  where: .*clips.json:\d+"):
        build(make_source(read=read))


def test_files_that_are_no_audio(small, build, rejects, data):
    spec = small(rows=[("a", "A."), ("b", "B."), ("c", "C.")])
    (data / "small" / "b.wav").write_text("a text")
    (data / "small" / "c.wav").write_bytes(b"")
    assert [row["text"] for row in build(spec)] == ["A."]
    assert all("not readable audio" in reject["reason"] for reject in rejects("small"))


def test_a_header_that_claims_hours_of_audio(small, build, rejects, data):
    spec = small(rows=[("a", "A."), ("b", "B.")])
    content = bytearray((data / "small" / "b.wav").read_bytes())
    content[24:28] = (1).to_bytes(4, "little")  # a sample rate of 1 Hz: four hours and a half
    (data / "small" / "b.wav").write_bytes(content)
    assert len(build(spec)) == 1
    assert "a sample rate of 1 Hz" in rejects("small")[0]["reason"]
