"""Merging, filtering and listening: rows and columns that stay, audio that is found again, what is refused."""

from __future__ import annotations

import base64
import io
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from whisper_aut.cli import main
from whisper_aut.data import manifest_stream
from whisper_aut.data.manifest import load_manifest
from whisper_aut.data.manifest_filter import Conditions, filter_manifest, read_ids
from whisper_aut.data.manifest_merge import merge_manifests
from whisper_aut.data.manifest_sample import write_sample
from whisper_aut.data.manifest_stream import read_pieces, read_schema, whole_manifest
from whisper_aut.errors import ManifestError


def _rows(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(params=[".jsonl", ".parquet"])
def ending(request):
    return request.param


@pytest.fixture
def written(write_manifest, ending):
    """A manifest of either form."""

    def write(name, rows, **options):
        path = write_manifest(f"{name}.jsonl", rows, **options)
        if ending == ".jsonl":
            return path
        target = path.with_suffix(".parquet")
        schema = read_schema(path)
        with whole_manifest(target, schema) as writer:
            for piece in read_pieces(path, schema):
                writer.write(piece.table)
        path.unlink()
        return target

    return write


def test_a_merged_manifest_has_all_rows_and_columns_in_order(written, tmp_path, ending):
    first = written("first", [{"id": "a", "speaker": "s1"}, {"id": "b", "speaker": "s2"}])
    second = written("second", [{"id": "c", "loudness": -3.5, "language": "de"}])
    counts = merge_manifests([first, second], tmp_path / f"both{ending}")
    rows = _rows(tmp_path / f"both{ending}")
    assert counts.clips == 3 and [row["id"] for row in rows] == ["a", "b", "c"]
    assert [row.get("speaker") for row in rows] == ["s1", "s2", None]
    assert [row.get("loudness") for row in rows] == [None, None, -3.5]
    assert [row.get("language") for row in rows] == [None, None, "de"]
    assert len(load_manifest(tmp_path / f"both{ending}")) == 3


def test_audio_is_found_from_another_folder(written, tmp_path, ending):
    rows = [{"id": "a"}, {"id": "b", "audio": "audio/shard.tar#0:10"}, {"id": "c", "audio": "/x.wav"}]
    path = written("sub/first", rows, audio=False)
    out = tmp_path / "elsewhere" / f"all{ending}"
    merge_manifests([path], out)
    home = path.parent
    assert [row["audio"] for row in _rows(out)] == [f"{home}/audio/a.wav", f"{home}/audio/shard.tar#0:10", "/x.wav"]
    merge_manifests([path], home / f"beside{ending}")
    assert _rows(home / f"beside{ending}")[0]["audio"] == "audio/a.wav"


@pytest.mark.parametrize("audio", ["../secret.wav", "audio/../../secret.wav", "link/secret.wav", "away.wav"])
def test_a_path_that_leaves_its_folder_is_not_made_absolute(written, tmp_path, audio, ending):
    path = written("sub/first", [{"id": "a"}, {"id": "b", "audio": audio}], audio=False)
    (tmp_path / "secret.wav").write_text("")
    (tmp_path / "sub" / "link").symlink_to(tmp_path)
    (tmp_path / "sub" / "away.wav").symlink_to(tmp_path / "secret.wav")
    with pytest.raises(ManifestError, match="leads out of") as raised:
        merge_manifests([path], tmp_path / "elsewhere" / f"all{ending}")
    assert f"{path}:2" in str(raised.value)
    assert not list((tmp_path / "elsewhere").glob("*"))


def test_an_id_that_two_files_have_is_named_with_both_places(written, tmp_path, ending):
    first = written("first", [{"id": "a"}, {"id": "b"}])
    second = written("second", [{"id": "c"}, {"id": "b"}], audio=False)
    with pytest.raises(ManifestError) as raised:
        merge_manifests([first, second], tmp_path / f"both{ending}")
    assert f"the id 'b' stands at {first}:2 too" in str(raised.value) and f"{second}:2" in str(raised.value)
    assert not (tmp_path / f"both{ending}").exists()


def test_prefixed_ids_are_different(written, tmp_path, ending):
    paths = [written(name, [{"id": "a"}], audio=False) for name in ("first", "second")]
    merge_manifests(paths, tmp_path / f"both{ending}", prefix_ids=True)
    assert [row["id"] for row in _rows(tmp_path / f"both{ending}")] == ["first-a", "second-a"]


def test_domains_are_not_mixed(written, tmp_path, ending):
    paths = [written(name, [{"id": name}], domain=name, audio=False) for name in ("speech", "music")]
    with pytest.raises(ManifestError, match="the domain is music, not speech"):
        merge_manifests(paths, tmp_path / f"both{ending}")


def test_a_column_of_two_types_is_named(write_manifest, tmp_path):
    paths = [write_manifest("a.jsonl", [{"id": "a", "x": "text"}]), write_manifest("b.jsonl", [{"id": "b", "x": [1]}])]
    with pytest.raises(ManifestError, match="two types"):
        merge_manifests(paths, tmp_path / "both.jsonl")


def test_the_row_whose_value_is_of_another_type_is_named(write_manifest, tmp_path):
    path = write_manifest("a.jsonl", [{"x": [1]}, {}, {"x": "text"}, {"x": [2]}], audio=False)
    with pytest.raises(ManifestError, match="a value of column x has another type") as raised:
        merge_manifests([path], tmp_path / "both.jsonl")
    assert f"{path}:3\n" in str(raised.value)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_seconds_that_are_none_are_refused(write_manifest, tmp_path, seconds):
    path = write_manifest("a.jsonl", [{}], audio=False)
    for conditions in (Conditions(min_sec=seconds), Conditions(max_sec=seconds)):
        with pytest.raises(ManifestError, match="no number of seconds"):
            filter_manifest(path, tmp_path / "b.jsonl", conditions)


def test_links_in_a_circle_are_followed_by_no_tool(write_manifest, tmp_path):
    path = write_manifest("in/a.jsonl", [{"id": "a", "audio": "circle.wav"}], audio=False)
    (tmp_path / "in" / "circle.wav").symlink_to(tmp_path / "in" / "circle.wav")
    assert merge_manifests([path], tmp_path / "b.jsonl").clips == 1
    assert write_sample([path], 1, tmp_path / "page.html") == (1, 1)


def test_a_clip_that_a_link_leads_out_is_shown_with_the_reason(write_manifest, tmp_path):
    path = write_manifest(
        "in/a.jsonl", [{"id": "a"}, {"id": "b", "audio": "out.wav"}, {"id": "c", "audio": "x\0y"}], audio=False
    )
    (tmp_path / "in" / "audio").mkdir()
    soundfile.write(tmp_path / "in" / "audio" / "a.wav", [0.1] * 16_000, 16_000)
    (tmp_path / "in" / "out.wav").symlink_to(tmp_path / "elsewhere.wav")
    assert write_sample([path], 3, tmp_path / "page.html") == (3, 2)
    page = (tmp_path / "page.html").read_text()
    assert "leads out of" in page and "NUL" in page


def test_a_file_that_cannot_be_read_does_not_hide_the_others(write_manifest, tmp_path, monkeypatch, capsys):
    wrong = write_manifest("b.jsonl", [{"domain": "noise"}], audio=False)
    (tmp_path / "a.parquet").write_text("no Parquet")
    command = ["manifest", "validate", tmp_path / "a.parquet", tmp_path / "none.jsonl", wrong]
    monkeypatch.setattr("sys.argv", ["whisper-aut", *map(str, command)])
    with pytest.raises(SystemExit) as left:
        main()
    shown = capsys.readouterr().err
    assert left.value.code == 2 and "not a whole Parquet file" in shown and "there is no manifest at" in shown
    assert "'noise' is none of" in shown and "3 problem(s) found" in shown


def test_a_broken_line_is_named_and_nothing_is_written(write_manifest, tmp_path):
    path = write_manifest("a.jsonl", [{"id": str(index)} for index in range(5)], audio=False)
    with path.open("a") as file:
        file.write('{"id": \n')
    with pytest.raises(ManifestError, match="not JSON") as raised:
        merge_manifests([path], tmp_path / "both.parquet")
    assert f"{path}:6" in str(raised.value) and not (tmp_path / "both.parquet").exists()


def test_a_filter_keeps_what_meets_all_conditions_and_says_why_not(written, tmp_path, ending):
    path = written("all", [
        {"id": "short", "duration_sec": 0.5}, {"id": "long", "duration_sec": 3.0},
        {"id": "german", "language": "de"}, {"id": "dropped"}, {"id": "kept", "speaker": "s", "language": "en"},
    ])  # fmt: skip
    (tmp_path / "drop.txt").write_text('dropped\n{"id": "short", "why": "x"}\n')
    conditions = Conditions(
        min_sec=0.6, max_sec=2.0, values={"language": ["en"]}, drop_ids=read_ids(tmp_path / "drop.txt")
    )
    report = filter_manifest(path, tmp_path / f"some{ending}", conditions)
    (row,) = _rows(tmp_path / f"some{ending}")
    assert (row["id"], row["speaker"]) == ("kept", "s")
    assert report.dropped == {"under 0.6 s": 1, "over 2 s": 1, "language not en": 1, "id to be dropped": 1}


@pytest.mark.parametrize(
    "text",
    ['["a", "b"]', '[{"id": "a"},\n {"id": "b", "why": 1}]', "a\nb\n", "\ufeffa\r\nb", '"a"\n"b"', '{"id": "a"}\nb'],
)
def test_ids_are_read_from_lines_rows_and_lists(tmp_path, text):
    (tmp_path / "drop").write_text(text, encoding="utf-8")
    assert read_ids(tmp_path / "drop") == {"a", "b"}


@pytest.mark.parametrize("text", ['["a", ', '[["a"]]', "[null]", '{"id": null}', '{"name": "a"}', '["a"]\n["b"]'])
def test_ids_that_are_none_are_refused(tmp_path, text):
    (tmp_path / "drop").write_text(text)
    with pytest.raises(ManifestError, match=r"has no id|are none"):
        read_ids(tmp_path / "drop")


def test_ids_that_no_row_has_are_told(write_manifest, tmp_path, monkeypatch, capsys):
    path = write_manifest("a.jsonl", [{"id": "a"}, {"id": "b"}], audio=False)
    (tmp_path / "drop.json").write_text('["a", "c", "d"]')
    command = ["manifest", "filter", path, "--drop-ids", tmp_path / "drop.json", "--out", tmp_path / "b.jsonl"]
    monkeypatch.setattr("sys.argv", ["whisper-aut", *map(str, command)])
    with pytest.raises(SystemExit) as left:
        main()
    shown = capsys.readouterr()
    assert left.value.code == 0 and "1 id to be dropped" in shown.out and "note: 2 ids of" in shown.err
    assert [row["id"] for row in _rows(tmp_path / "b.jsonl")] == ["b"]


def test_a_manifest_is_not_merged_with_itself(write_manifest, tmp_path):
    path = write_manifest("a.jsonl", [{"id": "a"}], audio=False)
    with pytest.raises(ManifestError, match="given twice"):
        merge_manifests([path, path], tmp_path / "b.jsonl")
    assert not (tmp_path / "b.jsonl").exists()


def test_what_a_manifest_leaves_out_has_its_default(written, tmp_path, ending):
    path = written("all", [{"id": "a"}, {"id": "b", "split": "validation"}])
    filter_manifest(path, tmp_path / f"x{ending}", Conditions(values={"source": ["all"], "split": ["train"]}))
    assert [row["id"] for row in _rows(tmp_path / f"x{ending}")] == ["a"]


def test_texts_of_too_many_tokens_are_left_out(written, tmp_path, tokenizer_folder, ending):
    path = written("all", [{"id": "a"}, {"id": "b", "text": "strange words " * 20}])
    with pytest.raises(ManifestError, match="--tokenizer"):
        filter_manifest(path, tmp_path / f"x{ending}", Conditions(max_tokens=20))
    report = filter_manifest(path, tmp_path / f"x{ending}", Conditions(max_tokens=20, tokenizer_dir=tokenizer_folder))
    assert report.dropped == {"over 20 tokens": 1} and report.kept.clips == 1


def test_a_filter_that_keeps_nothing_writes_nothing(written, tmp_path, ending):
    path = written("all", [{"id": "a"}], audio=False)
    with pytest.raises(ManifestError, match="no row is kept: 1 by under 9 s"):
        filter_manifest(path, tmp_path / f"x{ending}", Conditions(min_sec=9.0))
    assert not (tmp_path / f"x{ending}").exists()


def test_row_groups_and_memory_are_of_pieces(written, tmp_path, monkeypatch, ending):
    monkeypatch.setattr(manifest_stream, "PIECE_ROWS", 16)
    monkeypatch.setattr(manifest_stream, "_LINES", 16)
    path = written("all", [{"id": f"n{index}"} for index in range(100)], audio=False)
    filter_manifest(path, tmp_path / "x.parquet", Conditions(drop_ids=frozenset({"n17"})))
    metadata = pq.read_metadata(tmp_path / "x.parquet")
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [16] * 6 + [3]
    assert [row["id"] for row in _rows(tmp_path / "x.parquet")] == [f"n{index}" for index in range(100) if index != 17]


def test_a_sample_plays_the_clips_themselves(written, tmp_path):
    path = written("all", [{"id": f"n{index}", "text": f"<b>Text</b> {index}.", "offset_sec": 0.25, "duration_sec": 0.5}
                           for index in range(3)], audio=False)  # fmt: skip
    (tmp_path / "audio").mkdir()
    for index in range(3):
        soundfile.write(tmp_path / "audio" / f"n{index}.wav", [0.1] * 16_000, 16_000)
    assert write_sample([path], 2, tmp_path / "page.html", seed=1) == (2, 0)
    page = (tmp_path / "page.html").read_text()
    players = re.findall(r'src="data:audio/mpeg;base64,([^"]+)"', page)
    assert len(players) == 2 and "&lt;b&gt;Text&lt;/b&gt;" in page and "<b>Text" not in page
    info = soundfile.info(io.BytesIO(base64.b64decode(players[0])))
    assert info.samplerate == 16_000 and info.duration == pytest.approx(0.5, abs=0.1)
    assert not re.search(r"https?://", page)


def test_a_sample_is_drawn_over_all_rows_by_its_seed(written, tmp_path):
    paths = [written(name, [{"id": f"{name}{index}"} for index in range(50)], audio=False) for name in ("x", "y")]

    def drawn(seed):
        write_sample(paths, 20, tmp_path / "page.html", seed=seed)
        return re.findall(r"<h2>(\w+)</h2>", (tmp_path / "page.html").read_text())

    assert drawn(0) == drawn(0) != drawn(1)
    assert {clip[0] for clip in drawn(0)} == {"x", "y"} and len(set(drawn(0))) == 20


def test_a_clip_that_cannot_be_played_says_why(written, tmp_path):
    path = written("all", [{"id": "a"}, {"id": "b"}])
    (tmp_path / "audio" / "b.wav").write_text("no audio")
    assert write_sample([path], 5, tmp_path / "page.html") == (2, 1)
    assert "cannot be played: this is not readable audio" in (tmp_path / "page.html").read_text()


def test_a_page_has_a_largest_size(written, tmp_path, monkeypatch):
    path = written("all", [{"id": "a"}, {"id": "b"}])
    monkeypatch.setattr("whisper_aut.data.manifest_sample.MAX_PAGE_BYTES", 3000)
    with pytest.raises(ManifestError, match="smaller -n"):
        write_sample([path], 2, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_columns_kept_as_dictionaries_are_texts(tmp_path):
    table = pa.table({"id": ["a"], "audio": ["/a.wav"], "offset_sec": [0.0], "duration_sec": [1.0], "text": ["A."],
                      "domain": pa.array(["music"]).dictionary_encode(),
                      "x": pa.array(["y"]).dictionary_encode()})  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    merge_manifests([tmp_path / "a.parquet"], tmp_path / "b.parquet")
    assert _rows(tmp_path / "b.parquet")[0]["x"] == "y"


def test_what_is_no_manifest_is_named(tmp_path):
    (tmp_path / "a.parquet").write_text("no Parquet")
    with pytest.raises(ManifestError, match="not a whole Parquet file"):
        merge_manifests([tmp_path / "a.parquet"], tmp_path / "b.parquet")
    with pytest.raises(ManifestError, match="there is no manifest at"):
        merge_manifests([tmp_path / "absent.jsonl"], tmp_path / "b.parquet")
    with pytest.raises(ManifestError, match=r"ends in \.jsonl or \.parquet"):
        merge_manifests([tmp_path / "a.csv"], tmp_path / "b.parquet")
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "c.parquet")
    with pytest.raises(ManifestError, match="no column audio, offset_sec"):
        merge_manifests([tmp_path / "c.parquet"], tmp_path / "b.parquet")
