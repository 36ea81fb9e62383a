"""Reading manifests: values, errors with file and line, paths that try to leave, JSONL and Parquet alike."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whisper_aut.data.manifest import Clip, load_manifest, read_manifest
from whisper_aut.errors import ManifestError

ROW = {"id": "a", "audio": "a.wav", "offset_sec": 0, "duration_sec": 1.5, "text": "Ärger.", "domain": "speech"}


def _jsonl(folder, *rows):
    path = folder / "clips.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def _parquet(folder, *rows):
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / "clips.parquet")
    return folder / "clips.parquet"


@pytest.mark.parametrize("write", [_jsonl, _parquet])
def test_optional_columns_have_defaults_and_unknown_ones_are_ignored(tmp_path, write):
    manifest = load_manifest(write(tmp_path, ROW | {"label": "x"}, ROW | {"id": "b", "label": "y"}))
    assert len(manifest) == 2
    assert manifest.clip(0) == Clip("a", "a.wav", 0.0, 1.5, "Ärger.", "speech", "clips", "en", "train", "unknown")
    assert manifest.table.numbers["num_samples"].tolist() == [24_000, 24_000]
    assert manifest.where(1).endswith(f"{manifest.path.name}:2")


@pytest.mark.parametrize("write", [_jsonl, _parquet])
def test_given_optional_columns_are_kept_and_null_means_left_out(tmp_path, write):
    given = {"source": "s", "language": "de", "split": "validation", "license": "CC0-1.0"}
    manifest = load_manifest(write(tmp_path, ROW | given, ROW | {"id": "b"} | dict.fromkeys(given)))
    assert [getattr(manifest.clip(0), name) for name in given] == list(given.values())
    assert [getattr(manifest.clip(1), name) for name in given] == ["clips", "en", "train", "unknown"]


def test_the_fingerprint_changes_with_any_row_and_not_with_the_place(tmp_path):
    (tmp_path / "other").mkdir()
    here, there = (load_manifest(_jsonl(folder, ROW)) for folder in (tmp_path, tmp_path / "other"))
    assert here.fingerprint == there.fingerprint
    assert load_manifest(_jsonl(tmp_path, ROW | {"text": "Other."})).fingerprint != here.fingerprint


def test_blank_lines_keep_the_line_numbers_right(tmp_path):
    manifest = load_manifest(_jsonl(tmp_path, ROW, "", "  ", ROW | {"id": "b"}))
    assert manifest.where(1) == f"{manifest.path}:4"


BAD_VALUES = [
    ({"id": ""}, "id: is empty"),
    ({"text": "  \n"}, "text.*: is empty"),
    ({"audio": ""}, "audio.*: is empty"),
    ({"domain": "noise"}, "domain.*'noise' is none of speech, environment, music"),
    ({"duration_sec": 0.0}, "duration_sec.*0 s is no length"),
    ({"duration_sec": -1.0}, "duration_sec.*-1 s is no length"),
    ({"duration_sec": float("nan")}, "duration_sec.*not a finite"),
    ({"offset_sec": float("inf")}, "offset_sec.*not a finite"),
    ({"offset_sec": -0.5}, "offset_sec.*lies before the audio"),
    ({"id": None}, "id.*is missing"),
    ({"duration_sec": None}, "duration_sec.*is missing"),
    ({"audio": "nosuch://bucket/a.wav"}, "audio.*no such kind of URL"),
    ({"audio": "s3://"}, "audio.*names nothing"),
    ({"audio": "s3://bucket/../a.wav"}, r"audio.*'\.\.'"),
    ({"audio": "file://a.wav"}, "audio.*not absolute"),
    ({"audio": "simplecache://x::s3://bucket/a.wav"}, "audio.*chains"),
    ({"audio": "shard.tar#512"}, "audio.*not SHARD.tar#OFFSET:SIZE"),
    ({"audio": "shard.tar#-512:9"}, "audio.*not SHARD.tar#OFFSET:SIZE"),
    ({"audio": "shard.tar#512:9.5"}, "audio.*not SHARD.tar#OFFSET:SIZE"),
    ({"audio": "a.tar#512:9/b.tar#512:9"}, "audio.*not SHARD.tar#OFFSET:SIZE"),
    ({"audio": "shard.tar#0:900"}, "audio.*points at no member"),
    ({"audio": "shard.tar#700:900"}, "audio.*points at no member"),
    ({"audio": "shard.tar#512:999999999999"}, "audio.*more than 128 MiB"),
    ({"audio": "../shard.tar#512:900"}, r"audio.*'\.\.'"),
    ({"audio": "../a.wav"}, r"audio.*'\.\.'"),
    ({"audio": "x/../../a.wav"}, r"audio.*'\.\.'"),
    ({"audio": "x/.."}, r"audio.*'\.\.'"),
    ({"audio": "a\0.wav"}, "audio.*NUL"),
    ({"id": "first"}, "id.*of line 1 too"),
]


@pytest.mark.parametrize(("change", "message"), BAD_VALUES)
@pytest.mark.parametrize("write", [_jsonl, _parquet])
def test_a_bad_value_is_named_with_file_line_and_field(tmp_path, write, change, message):
    path = write(tmp_path, ROW | {"id": "first", "offset_sec": 0.0}, ROW | {"offset_sec": 0.0} | change)
    with pytest.raises(ManifestError, match=message) as caught:
        load_manifest(path)
    assert caught.value.where == f"{path}:2"
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{not json", "not JSON"),
        ("[" * 100_000, "not JSON"),
        (f'{{"id": {"9" * 5000}}}', "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ({name: value for name, value in ROW.items() if name != "text"}, "text of clip a: is missing"),
        (ROW | {"duration_sec": "1.5"}, "duration_sec of clip a: must be a number"),
        (ROW | {"duration_sec": True}, "duration_sec of clip a: must be a number"),
        (ROW | {"duration_sec": 10**400}, "duration_sec of clip a: must be a number"),
        (ROW | {"text": ["x"]}, "text of clip a: must be text"),
        (ROW | {"language": 3}, "language of clip a: must be text"),
        (ROW | {"text": "\ud800"}, "surrogate"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path, row, message):
    path = _jsonl(tmp_path, ROW | {"id": "first"}, row)
    with pytest.raises(ManifestError, match=message) as caught:
        load_manifest(path)
    assert caught.value.where == f"{path}:2"


def test_all_problems_are_listed_and_the_good_rows_kept(tmp_path):
    manifest, problems = read_manifest(_jsonl(tmp_path, "oops", ROW, ROW | {"id": "b", "text": "", "domain": "x"}))
    assert len(manifest) == 2
    assert [(problem.where.rpartition(":")[2], problem.field) for problem in problems] == [
        ("1", "row"),
        ("3", "text"),
        ("3", "domain"),
    ]
    with pytest.raises(ManifestError, match="and 2 more"):
        load_manifest(manifest.path)


def test_files_that_are_no_manifest_are_refused(tmp_path):
    with pytest.raises(ManifestError, match="no manifest at"):
        load_manifest(tmp_path / "none.jsonl")
    for name, content, message in (
        ("clips.csv", b"id,audio", r"ends in \.jsonl or \.parquet"),
        ("clips.jsonl", b"\n\xff\xfe\x00", r"not UTF-8.*\n  where: .*clips.jsonl:2"),
        ("clips.parquet", b"PAR1 not really", "not a whole Parquet file"),
        ("empty.jsonl", b"\n", "no rows"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ManifestError, match=message):
            load_manifest(tmp_path / name)
    with pytest.raises(ManifestError, match="no column text, domain"):
        load_manifest(_parquet(tmp_path, {name: ROW[name] for name in list(ROW)[:4]}))
    with pytest.raises(ManifestError, match="column duration_sec is string, not a number"):
        load_manifest(_parquet(tmp_path, ROW | {"duration_sec": "long"}))


def test_relative_and_absolute_audio_paths(tmp_path):
    manifest = load_manifest(_jsonl(tmp_path, ROW | {"audio": "x/a..b.wav"}, ROW | {"id": "b", "audio": "/data/b.wav"}))
    assert manifest.audio_source(0) == tmp_path.resolve() / "x" / "a..b.wav"
    assert str(manifest.audio_source(1)) == "/data/b.wav"


def test_a_link_cannot_lead_audio_out_of_the_folder(tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "audio").symlink_to(tmp_path / "secret")
    manifest = load_manifest(_jsonl(tmp_path / "data", ROW | {"audio": "audio/a.wav"}))
    with pytest.raises(ManifestError, match="leads out of") as caught:
        manifest.audio_source(0)
    assert caught.value.where == manifest.where(0)


def test_a_linked_manifest_folder_is_fine(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    manifest = load_manifest(_jsonl(tmp_path / "link", ROW))
    assert manifest.audio_source(0) == tmp_path.resolve() / "real" / "a.wav"


@pytest.mark.parametrize("name", ["speech", "environment", "music"])
def test_real_manifests_load(real_data_dir, name):
    manifest = load_manifest(real_data_dir / "train" / f"{name}.jsonl")
    assert len(manifest) > 1000
    assert manifest.clip(0).domain == name
    assert manifest.audio_source(len(manifest) - 1).is_file()


def _validated(tmp_path, *lines):
    (tmp_path / "v.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return [(problem.where.rpartition(":")[2], str(problem)) for problem in read_manifest(tmp_path / "v.jsonl")[1]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (json.dumps(ROW | {"offset_sec": 1e300}).encode(), "offset_sec: 1e+300 s is more than a week"),
        (json.dumps(ROW | {"text": "a\0b"}).encode(), "text: holds a NUL character"),
        (json.dumps(ROW | {"id": "a\0b"}).encode(), "id: holds a NUL character"),
        (json.dumps(ROW).encode()[:-1] + b', "text": "Another."}', "text: stands twice in the row"),
        (json.dumps(ROW | {"audio": "simplecache::file:///a.wav"}).encode(), "chains several URLs"),
        (json.dumps(ROW | {"audio": "zip://a.wav::file:///a.zip"}).encode(), "chains several URLs"),
        (json.dumps(ROW | {"audio": "memory://a::b"}).encode(), "chains several URLs"),
    ],
)
def test_what_no_clip_may_say_is_named(tmp_path, line, message):
    ((number, problem),) = _validated(tmp_path, line)
    assert number == "1" and message in problem


def test_names_that_a_file_may_have_are_no_chains(tmp_path):
    assert not _validated(tmp_path, json.dumps(ROW | {"audio": "a::b.wav"}).encode())


def test_a_line_that_is_not_utf8_hides_no_other(tmp_path):
    good = json.dumps(ROW).encode()
    found = _validated(tmp_path, good, "ü".encode("latin-1"), good, b"{")
    assert [number for number, _ in found] == ["2", "4", "3"] and "not UTF-8" in found[0][1]


def test_an_absurd_length_is_a_problem_and_no_warning(tmp_path, recwarn):
    ((_, problem),) = _validated(tmp_path, json.dumps(ROW | {"duration_sec": 1e308}).encode())
    assert "more than a day" in problem and not recwarn.list


def test_a_link_in_a_circle_is_a_file_that_is_not_there(tmp_path):
    (tmp_path / "circle.wav").symlink_to(tmp_path / "circle.wav")
    (tmp_path / "v.jsonl").write_text(json.dumps(ROW | {"audio": "circle.wav"}) + "\n")
    assert load_manifest(tmp_path / "v.jsonl").audio_source(0) == tmp_path / "circle.wav"
