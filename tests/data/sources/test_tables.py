"""Tables as people have them: what comes out, and what is rejected, by its line."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whisper_aut.data.sources.folders import read_table
from whisper_aut.errors import SourceError

NAMES = ("a", "b", "c")


@pytest.fixture
def table(make_source, build, rejects, data, disk):
    """Builds a list of columns file and text; (texts by clip, [(line, reason)])."""

    def run(content, form="csv", **read):
        for name in NAMES:
            disk.audio(data / "small" / f"{name}.wav")
        (data / "small" / f"list.{form}").write_bytes(content if isinstance(content, bytes) else content.encode())
        split = {"files": [f"list.{form}"]}
        described = {"kind": "list", "format": form, "splits": {"train": [split]}} | read
        clip = {"id": "{file}", "audio": ["{file}.wav"], "text": ["{text}"]}
        rows = build(make_source(read=described, clip=clip))
        found = [(reject["where"].rpartition(":")[2], reject["reason"]) for reject in rejects("small")]
        return {row["id"].removeprefix("small-"): row["text"] for row in rows}, found

    return run


def parquet(columns, names=("file", "text")):
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays([pa.array(column) for column in columns], names=names), buffer)
    return buffer.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("content", "texts", "rejected"),
    [
        ("file,text\na,A dog\nb,Rain, then a car\nc,x\n", {"a": "A dog", "c": "x"}, [("3", "3 columns, not 2")]),
        ("file,text\na,1\nb\nc,3\n", {"a": "1", "c": "3"}, [("3", "1 columns, not 2")]),
        ('file,text\na,1\nb,"2\nc,3', {"a": "1", "c": "3"}, [("3", "a quotation mark opens here")]),
        ('file,text\na,"1"x\nb,2\n', {"b": "2"}, [("2", "text stands behind a closing quotation mark")]),
        ('file,text\na,"1 \\"2\\""\nb,2\n', {"b": "2"}, [("2", "behind a closing quotation mark")]),
        ('file,text\na, "1, 2"\nb, 3\n', {"b": "3"}, [("2", "stands behind a space")]),
        ('file,text\na,5" pipe\nb,"he said ""x"""\n', {"a": '5" pipe', "b": 'he said "x"'}, []),
        ('file,text\na,"two\r\nlines, and more"\nb,2\n', {"a": "two lines, and more", "b": "2"}, []),
        ("file,text\na,1\0\nb,2\n", {"b": "2"}, [("2", "NUL")]),
        ("file,text\ra,1\rb,2\r", {"a": "1", "b": "2"}, []),
        ("file,text\r\na,1\r\nb,2", {"a": "1", "b": "2"}, []),
        ("file,text\na,1\rb,2\nc,3\n", {"c": "3"}, [("2", "line ends are mixed")]),
        ("\n\nfile,text\n\na,1\n\n", {"a": "1"}, []),
        ('\ufeff\ufeff"file","text"\na,1\n', {"a": "1"}, []),
        ("file,text\na,nan\n", {"a": "nan"}, []),
        (f"file,text\na,{'x' * 200_000}\nb,\"{'y' * 200_000}\"\n", {"a": "x" * 200_000, "b": "y" * 200_000}, []),
        ("file,text\na,Café\n".encode("utf-16"), {"a": "Café"}, []),
        ("file,text\na,1\nb,Café\n".encode("latin-1"), {"a": "1"}, [("3", "not UTF-8")]),
    ],
)  # fmt: skip
def test_a_csv_file(table, content, texts, rejected):
    found, told = table(content)
    assert found == texts
    assert [line for line, _ in told] == [line for line, _ in rejected]
    assert all(reason in said for (_, said), (_, reason) in zip(told, rejected, strict=True))


def test_an_open_mark_takes_in_no_line_that_looks_like_a_row(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text('file,text\na.wav,"1\nb.wav,2"\nc.wav,"3\nand, more"\n')
    row, taken, other = read_table(path, "csv", ["file", "text"])
    assert row.where == f"{path}:2" and "line 3, which it would take in" in row.reason
    assert [taken.columns["text"], other.columns["text"]] == ['2"', "3\nand, more"]


@pytest.mark.parametrize(
    ("content", "read", "texts"),
    [
        ("file;text\na;1, 2\n", {"delimiter": ";"}, {"a": "1, 2"}),
        ('a|"x\nb|2\n', {"delimiter": "|", "quote": "", "columns": ["file", "text"]}, {"a": '"x', "b": "2"}),
        ("file,text\na,Café\n".encode("latin-1"), {"encoding": "latin-1"}, {"a": "Café"}),
        ("file,text\na,打雷\n".encode("gb18030"), {"encoding": "gb18030"}, {"a": "打雷"}),
        ('file, text\na, "1, 2"\n', {"skip_spaces": True}, {"a": "1, 2"}),
        ('# made by hand\nfile,text\na,"one\n# two"\n#b,2\n', {"comment": "#"}, {"a": "one # two"}),
    ],
)  # fmt: skip
def test_how_a_file_is_written_can_be_said(table, content, read, texts):
    assert table(content, **read) == (texts, [])


def test_a_tab_separated_file_may_be_quoted(table):
    assert table('file\ttext\na\t"1\t2"\n', "tsv", quote='"') == ({"a": "1 2"}, [])
    assert table('file\ttext\na\t"1\n', "tsv") == ({"a": '"1'}, [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,text,text\na,1,2\n", "2 columns 'text'"),
        ("#file,text\na,1\n", "did you mean '#file'"),
        ("file;text\na;1\n", "delimiter: ';'"),
        ('file,"text\n', r"headings cannot be read[\s\S]*list.csv:1"),
        ("file,text\na,1\n".encode("utf-16-le"), r"UTF-16 without a byte-order mark[\s\S]*list.csv:1"),
        (b"file,text\na," + b"x" * 2**24 + b"\n", r"characters or more[\s\S]*list.csv:2"),
    ],
)
def test_a_csv_file_that_cannot_be_read_at_all(table, content, message):
    with pytest.raises(SourceError, match=message):
        table(content)


@pytest.mark.parametrize("key", [{"delimiter": ";;"}, {"delimiter": '"'}, {"encoding": "klingon"}, {"encoding": "hex"}])
def test_a_layout_that_is_none_is_refused(make_source, key):
    read = {"kind": "list", "format": "csv", "splits": {"train": [{"files": ["a.csv"]}]}} | key
    with pytest.raises(ValueError, match=r"character|encoding"):
        make_source(read=read)


def test_json_lines(table):
    lines = [
        '{"file": "a", "text": "one\u2028two"}',
        '{"file": "b", "text": "2", "text": "3"}',
        '{"file": "b", "text": "2"}{"file": "b", "text": "3"}',
        '{"file": "b", "text": "2",}',
        '{"file": "b", "text": ["2"]}',
        '{"file": "b", "text": NaN}',
        '{"file": "b", "text": "\\ud800"}',
        '{"file": "b", "text": "2\\u0092"}',
        '{"file": "b", "text": 7}',
    ]
    found, told = table("\ufeff" + "\r\n".join(lines), "jsonl")
    assert found == {"a": "one two", "b": "7"}
    reasons = ["stands twice", "Extra data", "not JSON", "is a list", "is empty", "surrogate", "U+0092"]
    assert [line for line, _ in told] == [str(number) for number in range(2, 9)]
    assert all(reason in said for reason, (_, said) in zip(reasons, told, strict=True))


def test_a_json_file_with_names_that_stand_twice(table):
    found, told = table(
        '\ufeff{"k1": {"file": "a", "text": "1"},\n"k1": {"file": "b", "text": "2"},\n'
        '"k2": {"file": "c", "text": "1", "text": "2"},\n"k3": {"file": "a", "text": "3"}}',
        "json",
    )
    assert found == {"a": "3"}
    assert [line for line, _ in told] == ["2", "1"] and all("stands twice" in reason for _, reason in told)


def test_transcripts(table, make_source, build, rejects, data):
    table("file,text\na,1\n")
    (data / "small" / "t.txt").write_text("\ufeffa one\ttwo \u2028three\nb\tx\ry\nc \n", newline="")
    read = {"kind": "list", "format": "transcripts", "splits": {"train": [{"files": ["t.txt"]}]}}
    clip = {"id": "{id}", "audio": ["{id}.wav"], "text": ["{text}"]}
    assert [row["text"] for row in build(make_source(read=read, clip=clip))] == ["one two three"]
    assert [reject["where"].rpartition(":")[2] for reject in rejects("small")] == ["2", "3"]


def test_a_parquet_file(table):
    offsets = pa.py_buffer(np.array([0, 1, 3, 4], np.int32).tobytes())
    broken = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"1\xff\xfe3")])
    assert table(parquet([NAMES, broken]), "parquet") == ({"a": "1", "c": "3"}, [("2", "text is not UTF-8")])
    found, told = table(parquet([NAMES, [b"1", b"\xff", "Café".encode()]]), "parquet")
    assert found == {"a": "1", "c": "Café"} and told == [("2", "a value is bytes that are not UTF-8, not text")]
    assert table(parquet([NAMES, [7.0, float("nan"), 8.0]]), "parquet") == (
        {"a": "7", "c": "8"}, [("2", "the text is empty")]
    )  # fmt: skip
    with pytest.raises(SourceError, match="2 columns 'text'"):
        table(parquet([NAMES, NAMES, NAMES], ("file", "text", "text")), "parquet")


def test_a_joined_table_in_doubt_gives_no_value(table, data):
    (data / "small").mkdir()
    (data / "small" / "more.csv").write_text("file,more\na,x\na,y\nb,z\nb,z\nq,w,e\n")
    join = [{"file": "more.csv", "key": "file", "by": "file", "take": {"text": "more"}}]
    found, told = table("file\na\nb\nc\n", join=join)
    assert found == {"b": "z"}
    assert [line for line, _ in told] == ["2", "4"]
    assert "different values at" in told[0][1] and "more.csv:6 is broken" in told[1][1]


def test_rejects_say_which_file_and_line(table, data, tmp_path):
    table("file,text\na,1\nb,2,3\n")
    (line,) = (tmp_path / "out" / ".build" / "small" / "rejects.jsonl").read_text().splitlines()
    assert json.loads(line)["where"] == f"{data / 'small' / 'list.csv'}:3"
