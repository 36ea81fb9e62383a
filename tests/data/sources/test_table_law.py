"""One law over random tables: every row comes out as it is written, or is a reject with its line."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whisper_aut.data.sources.cleanup import clean_text
from whisper_aut.data.sources.folders import read_table
from whisper_aut.data.sources.layout import Separated
from whisper_aut.data.sources.rows import Reject

# What texts are made of that went wrong somewhere: marks, joiners, flags, signs, other ends of lines, quotes.
PIECES = (
    "Rain falls", " then", ",", ";", "\t", "|", '"', '""', "'", "#", "\n", "\r\n", "\u2028", "\x0b", "\x0c", "\x85",
    "\x1e", "e\u0301", "é", "किताब", "สวัสดี", "می\u200cروم", "क्\u200dष", "x\u06ddy", "\u202bעברית\u202c", "co\u00adop",
    "\ufeff", "👨\u200d👩\u200d👧", "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", "🇩🇪", "❤\ufe0f",
    "ﬁ", "½", "  ", "nan",
)  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
tables = st.lists(texts, min_size=1, max_size=8)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le-mark", "utf-16-be-mark", "utf-32", "gb18030")


def _encoded(text: str, encoding: str) -> bytes:
    if encoding.endswith("-mark"):
        return ("\ufeff" + text).encode(encoding.removesuffix("-mark"))
    return text.encode(encoding)


def _read(path, form, layout=None):
    rows = list(read_table(path, form, ["file", "text"], layout or Separated()))
    return (
        {row.columns["file"]: row.columns["text"] for row in rows if not isinstance(row, Reject)},
        {int(row.where.rpartition(":")[2]): row.reason for row in rows if isinstance(row, Reject)},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


_many = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_many
@given(
    table=tables,
    delimiter=st.sampled_from([",", ";", "\t", "|", ":"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(ENCODINGS),
    final_end=st.booleans(),
)
def test_separated_values_come_out_as_they_are(folder, table, delimiter, quoting, end, encoding, final_end):
    written = io.StringIO()
    quoting = csv.QUOTE_ALL if end == "\r" else quoting  # else Python's writer leaves line feeds bare
    writer = csv.writer(written, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerows([("file", "text"), *((f"clip{number}.wav", text) for number, text in enumerate(table))])
    content = written.getvalue()
    path = folder / "table.csv"
    path.write_bytes(_encoded(content if final_end else content.removesuffix(end), encoding))
    layout = Separated(delimiter=delimiter, encoding="gb18030" if encoding == "gb18030" else "utf-8")
    assert _read(path, "csv", layout) == ({f"clip{number}.wav": text for number, text in enumerate(table)}, {})


@_many
@given(table=tables, stray=st.sampled_from(['"', ",", "\n", "\r", '\n"', '",', "\0"]), data=st.data())
def test_a_stray_mark_moves_no_text_between_rows(folder, table, stray, data):
    # Cells of one line: a mark inside one of several may make two rows of it that are as valid.
    flat = [re.sub("[\r\n]", " ", text) for text in table]
    whole = {f"clip{number}.wav": f"<{number}> {text} <{number}>" for number, text in enumerate(flat)}
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(("file", "text"))
    first = written.tell()
    writer.writerows(whole.items())
    content = written.getvalue()
    place = data.draw(st.integers(first, len(content)))
    path = folder / "stray.csv"
    path.write_bytes((content[:place] + stray + content[place:]).encode())
    found, rejects = _read(path, "csv")
    for name, text in found.items():
        own = re.fullmatch(r"clip(\d+)\.wav", name)
        assert own is None or set(re.findall(r"<(\d+)>", text)) <= {own[1]}, (name, text)
    as_written = {(name.replace(stray, ""), text.replace(stray, "")) for name, text in found.items()}
    changed = [row for row in whole.items() if row not in found.items()]
    assert len(changed) <= 2
    for name, text in changed:
        assert rejects or (name.replace(stray, ""), text.replace(stray, "")) in as_written


@_many
@given(table=tables, end=st.sampled_from(["\n", "\r\n"]), encoding=st.sampled_from(ENCODINGS[:-1]), ascii=st.booleans())
def test_json_lines_come_out_as_they_are(folder, table, end, encoding, ascii):
    rows = [{"file": f"{number}", "text": text} for number, text in enumerate(table)]
    path = folder / "table.jsonl"
    path.write_bytes(_encoded("".join(json.dumps(row, ensure_ascii=ascii) + end for row in rows), encoding))
    assert _read(path, "jsonl") == ({row["file"]: row["text"] for row in rows}, {})
    path.write_bytes(_encoded(json.dumps(rows, ensure_ascii=ascii), encoding))
    assert _read(path, "json") == ({row["file"]: row["text"] for row in rows}, {})


@_many
@given(
    table=st.lists(st.one_of(st.none(), texts), min_size=1, max_size=8),
    kind=st.sampled_from(["string", "large_string", "dictionary", "string_view", "binary"]),
)
def test_parquet_comes_out_as_it_is(folder, table, kind):
    texts = pa.array(table, pa.string())
    if kind == "dictionary":
        texts = texts.dictionary_encode()
    elif kind != "string":
        texts = texts.cast(
            {"large_string": pa.large_string(), "string_view": pa.string_view(), "binary": pa.binary()}[kind]
        )
    path = folder / "table.parquet"
    pq.write_table(pa.table({"file": [f"{number}" for number in range(len(table))], "text": texts}), path)
    found, rejects = _read(path, "parquet")
    assert not rejects
    assert [text.decode() if isinstance(text, bytes) else text for text in found.values()] == table


@_many
@given(table=tables, end=st.sampled_from(["\n", "\r\n"]))
def test_transcripts_come_out_as_they_are(folder, table, end):
    whole = [re.sub(r"[\n\r]", " ", text).strip(" \t") for text in table]
    path = folder / "text"
    path.write_text(
        "".join(f"u{number} {text}{end}" for number, text in enumerate(whole)), encoding="utf-8", newline=""
    )
    rows = list(read_table(path, "transcripts", []))
    assert [(row.columns["id"], row.columns["text"]) for row in rows] == [
        (f"u{number}", text) for number, text in enumerate(whole)
    ]


@_many
@given(text=texts)
def test_a_text_loses_nothing_but_what_is_said(text):
    expected = " ".join(unicodedata.normalize("NFC", text).replace("\ufeff", "").split())
    assert clean_text(text, []) == expected
