"""JSON lines, read many at a time, against Python's parser one by one."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_aut.data.json_lines import DoubledName, json_objects, load_json
from whisper_aut.data.text_lines import MAX_LINE_CHARS, TextFileError, numbered_lines

# Pieces of lines that could be taken for objects when they are parsed together.
PIECES = (
    '{"a":1}', '{"a": 1, "b": 2}', '{"a":1,"a":2}', '{"a" :1,"a":2}', '{"a":"\\":"}', '{"a":"{"}', "}", "{", "[", "]",
    '{"a":[1', '{"c":2}]}', ',5', ",", '"x"', "5", '{"a":{"b":1}}', '{"a":"}\\n{"}', "{}",
    "\ufeff", " ", '{"b":\t1}', "null",
)  # fmt: skip


def _one_by_one(line):
    def unique(pairs):
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    try:
        found = json.loads(line.lstrip("\ufeff"), object_pairs_hook=unique)
    except (ValueError, AssertionError):
        return None
    return found if isinstance(found, dict) else None


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join), min_size=1, max_size=6))
def test_lines_that_are_parsed_together_are_what_each_is_alone(tmp_path_factory, lines):
    path = tmp_path_factory.getbasetemp() / "lines.jsonl"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    found = dict(json_objects(path))
    for number, line in enumerate(lines, start=1):
        if line.strip("\ufeff \t"):
            assert (found[number] if isinstance(found[number], dict) else None) == _one_by_one(line)


def test_a_name_that_stands_twice_at_any_depth_is_named():
    for text, name in (
        ('{"a": 1, "a": 1}', "a"),
        ('[{"x": {"b": 1, "c": 2, "b": 3}}]', "b"),
        (b'\xef\xbb\xbf{"":1,"":2}', ""),
    ):
        with pytest.raises(DoubledName) as raised:
            load_json(text)
        assert raised.value.args == (name,)
    assert load_json('{"a": {"a": 1}}') == {"a": {"a": 1}}


def test_a_compressed_file_is_read_up_to_its_damage(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress(b"".join(b'{"n": %d}\n' % n for n in range(50_000)))
    path.write_bytes(whole)
    assert sum(1 for _ in json_objects(path)) == 50_000
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TextFileError, match="compression is damaged") as raised:
        list(json_objects(path))
    assert raised.value.line > 1000
    path.write_bytes(b"no gzip")
    with pytest.raises(TextFileError, match="compression is damaged"):
        list(json_objects(path))


def test_lines_end_as_the_first_one_and_at_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    for content, lines in (
        (b"a\nb\rc\n", ["a\n", "b\rc\n"]),
        (b"a\r\nb\r\n", ["a\r\n", "b\r\n"]),
        (b"a\rb\nc\r", ["a\r", "b\nc\r"]),
        ("a\u2028b\x85c\x0bd\x1e\n".encode(), ["a\u2028b\x85c\x0bd\x1e\n"]),
        ("\ufeff\ufeffa\n\ufeffb".encode(), ["a\n", "\ufeffb"]),
        ("a\nb".encode("utf-16"), ["a\n", "b"]),
        (b"\xff\n", ["\udcff\n"]),
        (b"", []),
    ):
        path.write_bytes(content)
        assert list(numbered_lines(path)) == list(enumerate(lines, start=1))


def test_what_is_no_text_is_named_with_its_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\n" + b"x" * MAX_LINE_CHARS)
    with pytest.raises(TextFileError, match="characters or more") as raised:
        list(numbered_lines(path))
    assert raised.value.line == 2
    path.write_bytes("a\nb".encode("utf-16")[:-1])
    with pytest.raises(TextFileError, match="not utf-16"):
        list(numbered_lines(path))
    path.write_bytes("file,text\na,b\n".encode("utf-16-be"))
    with pytest.raises(TextFileError, match="UTF-16 without a byte-order mark"):
        list(numbered_lines(path))
