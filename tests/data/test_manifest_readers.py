"""Manifests as people have them: every command that reads one gives the same texts, or names the same line."""

from __future__ import annotations

import json
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whisper_aut.data.locate import locate
from whisper_aut.data.manifest import load_manifest, read_manifest
from whisper_aut.data.manifest_cut import cut_manifest
from whisper_aut.data.manifest_filter import Conditions, filter_manifest, read_ids
from whisper_aut.data.manifest_merge import merge_manifests
from whisper_aut.data.manifest_report import validate_manifest
from whisper_aut.data.manifest_sample import write_sample
from whisper_aut.data.manifest_stream import num_rows, read_pieces
from whisper_aut.data.other_columns import other_columns
from whisper_aut.data.pack import PackSettings, pack_manifests
from whisper_aut.errors import ManifestError
from whisper_aut.leakage.sides import count_rows
from whisper_aut.speech.clips import _groups

ROW = {"id": "a", "audio": "a.wav", "offset_sec": 0.0, "duration_sec": 1.0, "text": "A.", "domain": "speech"}
OTHER = ROW | {"id": "b", "text": "B."}
PIECES = (
    "Rain",
    " ",
    '"',
    "\\",
    "\u2028",
    "\x85",
    "\x0c",
    "\n",
    "\r",
    "e\u0301",
    "كِتاب",
    "x\u06ddy",
    "👨\u200d👩",
    "🏴\U000e0067\U000e007f",
)
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map(lambda pieces: "x" + "".join(pieces))
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")


def lines(*rows, end="\n"):
    return end.join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows) + end


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("manifests")
    soundfile.write(folder / "a.wav", 0.3 * np.sin(np.arange(16_000) / 9), 16_000)
    return folder


def texts_of(manifest):
    return [clip.text for clip in manifest.clips()]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=5),
    encoding=st.sampled_from(ENCODINGS),
    end=st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    ascii=st.booleans(),
    form=st.sampled_from(["jsonl", "parquet"]),
)  # fmt: skip
def test_every_reader_gives_the_same_texts(folder, texts, encoding, end, ascii, form):
    rows = [
        ROW | {"id": f"c{number}", "text": text, "group": f"g{number}", "segments": "[]"}
        for number, text in enumerate(texts)
    ]
    path = folder / "clips.jsonl"
    path.write_bytes("".join(json.dumps(row, ensure_ascii=ascii) + end for row in rows).encode(encoding))
    manifest, problems = read_manifest(path)
    assert problems == [] and texts_of(manifest) == texts == texts_of(load_manifest(path))
    assert num_rows(path) == count_rows(path) == len(texts)
    assert other_columns(manifest)["group"].to_pylist() == [row["group"] for row in rows]
    assert _groups(manifest, {row["id"] for row in rows}) == {row["id"]: f"/{row['group']}" for row in rows}
    out = folder / f"out.{form}"
    merge_manifests([path], out)
    assert texts_of(load_manifest(out)) == texts
    filter_manifest(path, out, Conditions(min_sec=0.1))
    assert texts_of(load_manifest(out)) == texts
    cut_manifest(path, out, max_sec=30.0)
    assert texts_of(load_manifest(out)) == texts


FAULTS = [
    ("two objects", json.dumps(OTHER) + json.dumps(OTHER | {"id": "c"}), "Extra data"),
    ("a name twice", json.dumps(OTHER)[:-1] + ', "text": "C."}', "stands twice"),
    ("another name twice", json.dumps(OTHER)[:-1] + ', "speaker": "1", "speaker": "2"}', "stands twice"),
    ("a comma too many", json.dumps(OTHER)[:-1] + ",}", "not JSON"),
    ("a comma behind", json.dumps(OTHER) + ",", "Extra data"),
    ("an array", json.dumps([OTHER]), "not a JSON object but list"),
    ("half of an object", json.dumps(OTHER)[:-9], "not JSON"),
    ("zeros", "\0" * 9, "not JSON"),
]


@pytest.mark.parametrize(("line", "reason"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
@pytest.mark.parametrize("blank", [False, True])  # with a blank line Arrow's count of lines would be right by chance
def test_every_reader_names_the_line(folder, tmp_path, line, reason, blank):
    path = folder / "faulty.jsonl"
    path.write_text("\ufeff" + lines(ROW | {"segments": "[]"}, line, *([""] if blank else [])))
    manifest, problems = read_manifest(path)
    assert [problem.where for problem in problems] == [f"{path}:2"] and reason in str(problems[0])
    readers = {
        "merge": lambda: merge_manifests([path], tmp_path / "m.jsonl"),
        "filter": lambda: filter_manifest(path, tmp_path / "f.jsonl", Conditions(min_sec=0.1)),
        "cut": lambda: cut_manifest(path, tmp_path / "c.jsonl", max_sec=30.0),
        "sample": lambda: write_sample([path], 2, tmp_path / "s.html"),
        "leakage": lambda: count_rows(path),
        "pieces": lambda: list(read_pieces(path)),
        "others": lambda: other_columns(manifest),
    }
    if "speaker" not in line:  # which training does not read
        readers["train"] = lambda: load_manifest(path)
        readers["pack"] = lambda: pack_manifests([path], tmp_path / "p", PackSettings(), num_workers=0)
    for name, read in readers.items():
        with pytest.raises(ManifestError, match=reason) as raised:
            read()
        assert raised.value.where == f"{path}:2", name
    assert not list(tmp_path.glob("*.jsonl"))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("text", pa.array(["A.", "B."]).dictionary_encode()),
        ("text", pa.array(["A.", "B."], pa.large_string())),
        ("text", pa.array(["A.", "B."], pa.string_view())),
        ("duration_sec", pa.array([1, 1])),
        ("duration_sec", pa.array([1.0, 1.0], pa.float32())),
        ("source", pa.array(["x", None]).dictionary_encode()),
        ("note", pa.nulls(2)),
    ],
)
def test_columns_of_other_types_of_text_and_number(folder, tmp_path, column, values):
    path = folder / "types.parquet"
    table = pa.table({name: [ROW[name], OTHER[name]] for name in ROW})
    pq.write_table(table.drop_columns([column] if column in ROW else []).append_column(column, values), path)
    assert validate_manifest(path, check_audio=True).problems == []
    for out in (tmp_path / "m.jsonl", tmp_path / "m.parquet"):
        merge_manifests([path], out)
        assert texts_of(load_manifest(out)) == ["A.", "B."]
        assert filter_manifest(path, out.with_stem("f"), Conditions(min_sec=0.1)).kept.clips == 2
    assert write_sample([path], 2, tmp_path / "s.html") == (2, 0)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": [b"A.", b"B."]}, "column text is binary, not text"),
        ({"text": [["A."], ["B."]]}, "column text is list.*not text"),
        ({"duration_sec": ["1", "2"]}, "column duration_sec is string, not a number"),
    ],
)
def test_columns_of_another_kind_are_refused_by_every_reader(folder, tmp_path, columns, message):
    path = folder / "kinds.parquet"
    pq.write_table(pa.table({name: [ROW[name], OTHER[name]] for name in ROW} | columns), path)
    for read in (
        lambda: load_manifest(path),
        lambda: merge_manifests([path], tmp_path / "m.jsonl"),
        lambda: filter_manifest(path, tmp_path / "m.jsonl", Conditions(max_tokens=9)),
        lambda: write_sample([path], 2, tmp_path / "s.html"),
    ):
        with pytest.raises(ManifestError, match=message):
            read()


def test_texts_of_a_parquet_file_that_are_not_utf8_are_named_by_row(folder, tmp_path):
    offsets = pa.py_buffer(np.array([0, 1, 3], np.int32).tobytes())
    broken = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"A\xff\xfe")])
    for column in ("text", "note"):
        path = folder / f"broken-{column}.parquet"
        table = pa.table({name: [ROW[name], OTHER[name]] for name in ROW if name != column})
        pq.write_table(table.append_column(column, broken), path)
        for read in (
            lambda path=path: merge_manifests([path], tmp_path / "m.jsonl"),
            lambda path=path: other_columns(load_manifest(path)),
        ):
            with pytest.raises(ManifestError, match="is not UTF-8") as raised:
                read()
            assert raised.value.where == f"{path}:2"
    manifest, problems = read_manifest(folder / "broken-text.parquet")
    assert texts_of(manifest) == ["A"] and [problem.field for problem in problems] == ["text"]


def test_a_column_that_stands_twice_is_refused(folder, tmp_path):
    path = folder / "twice.parquet"
    columns = [pa.array([value]) for value in ROW.values()]
    pq.write_table(pa.Table.from_arrays([*columns, pa.array(["C."])], names=[*ROW, "text"]), path)
    for read in (lambda: load_manifest(path), lambda: merge_manifests([path], tmp_path / "m.jsonl")):
        with pytest.raises(ManifestError, match="column text stands twice"):
            read()


def test_what_json_cannot_hold_is_not_written_as_json(folder, tmp_path):
    path = folder / "blob.parquet"
    pq.write_table(pa.table({name: [value] for name, value in ROW.items()} | {"blob": [b"\xff"]}), path)
    with pytest.raises(ManifestError, match=r"column blob is binary[\s\S]*\.parquet"):
        merge_manifests([path], tmp_path / "m.jsonl")
    assert merge_manifests([path], tmp_path / "m.parquet").clips == 1


def test_utf16_without_a_mark_and_half_surrogates_are_named(folder, tmp_path):
    path = folder / "u16.jsonl"
    path.write_bytes(lines(ROW, OTHER).encode("utf-16-le"))
    for read in (load_manifest, count_rows):
        with pytest.raises(ManifestError, match="UTF-16 without a byte-order mark"):
            read(path)
    path.write_text(lines(ROW, json.dumps(OTHER | {"note": "\ud800"})))
    with pytest.raises(ManifestError, match=r"surrogate"):
        other_columns(load_manifest(path))
    with pytest.raises(ManifestError, match=r"surrogate"):
        merge_manifests([path], tmp_path / "m.jsonl")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("content", ["a\nb c\n", '["a", "b c"]', '{"id": "a"}\r\n"b c"\r\n', "a\rb c"])
def test_ids_in_any_encoding(tmp_path, content, encoding):
    (tmp_path / "ids.txt").write_bytes(content.encode(encoding))
    assert read_ids(tmp_path / "ids.txt") == {"a", "b c"}


@pytest.fixture
def accented(tmp_path):
    """A manifest that composes the accents of names that the disk decomposes, and its audio's real path."""
    name = unicodedata.normalize("NFD", "Übung/café.wav")
    (tmp_path / name).parent.mkdir()
    soundfile.write(tmp_path / name, 0.3 * np.sin(np.arange(16_000) / 9), 16_000)
    path = tmp_path / "clips.jsonl"
    path.write_text(lines(ROW | {"audio": unicodedata.normalize("NFC", name)}))
    return path, tmp_path / name


def test_audio_under_another_normal_form_is_found_by_every_command(accented, tmp_path):
    path, audio = accented
    assert validate_manifest(path, check_audio=True).problems == []
    assert load_manifest(path).audio_source(0) == audio
    assert write_sample([path], 1, tmp_path / "s.html") == (1, 0)
    assert pack_manifests([path], tmp_path / "packed", PackSettings(), num_workers=0)["rejected"] == 0
    merge_manifests([path], tmp_path / "elsewhere" / "m.jsonl")
    assert load_manifest(tmp_path / "elsewhere" / "m.jsonl").audio_source(0) == audio


def test_a_link_under_another_normal_form_leads_out_of_no_folder(tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / unicodedata.normalize("NFD", "é")).symlink_to(tmp_path / "secret")
    path = tmp_path / "data" / "clips.jsonl"
    path.write_text(lines(ROW | {"audio": "é/a.wav"}))
    for read in (
        lambda: load_manifest(path).audio_source(0),
        lambda: locate("é/a.wav", tmp_path / "data"),
        lambda: merge_manifests([path], tmp_path / "elsewhere" / "m.jsonl"),
    ):
        with pytest.raises(ManifestError, match="leads out of"):
            read()


@pytest.mark.parametrize(
    ("written", "cause"),
    [
        ("A.WAV", "capitals"),
        (" a.wav", "spaces"),
        ("%61.wav", "%XX"),
        (".\\a.wav", "/ where the name has"),
        ("n" * 300, "255"),
    ],
)
def test_audio_that_is_not_there_is_named_with_the_cause(folder, tmp_path, written, cause):
    path = folder / "names.jsonl"
    path.write_text(lines(ROW, OTHER | {"audio": written}))
    (problem,) = validate_manifest(path, check_audio=False).problems
    assert "there is no file" in problem.message and cause in problem.message
    pack_manifests([path], tmp_path / "packed", PackSettings(), num_workers=0, max_reject_rate=1)
    assert cause in (tmp_path / "packed" / "rejects.jsonl").read_text()
    merge_manifests([path], tmp_path / "m.jsonl")
