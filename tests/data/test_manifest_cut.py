"""Long clips are cut at their segments, with their text; what cannot be cut so is left out and counted."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whisper_aut.cli import main
from whisper_aut.data.manifest import load_manifest
from whisper_aut.data.manifest_cut import cut_manifest
from whisper_aut.errors import ManifestError


def _row(clip_id, duration_sec, segments=None, **changes):
    row = {
        "id": clip_id, "audio": "a.wav", "offset_sec": 100.0, "duration_sec": duration_sec, "text": "All of it.",
        "domain": "speech", "speaker": "S1",
    }  # fmt: skip
    return row | ({"segments": segments} if segments is not None else {}) | changes


def _segment(start_sec, end_sec, text):
    return {"start_sec": start_sec, "end_sec": end_sec, "text": text}


def _write(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


TALK = [_segment(0.5, 12.0, "One."), _segment(12.5, 29.0, " Two. "), _segment(31.0, 40.0, "Three.")]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_long_clip_becomes_pieces_of_whole_segments_with_their_text(tmp_path, name, as_json):
    segments = json.dumps(TALK) if as_json else TALK
    path = _write(
        tmp_path / name, [_row("talk", 41.0, segments), _row("short", 9.0, json.dumps([]) if as_json else [])]
    )
    report = cut_manifest(path, tmp_path / "out" / name, max_sec=30.0)
    manifest = load_manifest(tmp_path / "out" / name)
    clips = [manifest.clip(row) for row in range(len(manifest))]
    assert [(clip.id, clip.offset_sec, clip.duration_sec, clip.text) for clip in clips] == [
        ("talk-0", 100.5, 28.5, "One. Two."),
        ("talk-1", 131.0, 9.0, "Three."),
        ("short", 100.0, 9.0, "All of it."),
    ]
    assert report.num_cut == 1 and report.kept.clips == 3 and not +report.dropped
    assert manifest.audio_source(0) == tmp_path / "a.wav"


@pytest.mark.parametrize(
    ("segments", "reason"),
    [
        (None, "longer, without segments"),
        ([_segment(0, 20, "One."), _segment(19, 30, "Two.")], "overlap"),
        ([_segment(0, 20, "One."), _segment(20, 80, "Two.")], "leave the clip"),
        ([_segment(5, 5, "One.")], "no segments"),
        ([_segment(float("nan"), 5, "One.")], "no segments"),
        ([{"start": 0}], "no segments"),
        ([_segment(0, 5, 7)], "no segments"),
        ("{no json", "no segments"),
        ("7", "no segments"),
    ],
)
def test_what_cannot_be_cut_is_left_out_with_its_text(tmp_path, segments, reason):
    given = json.dumps(segments) if isinstance(segments, list) else segments
    path = _write(tmp_path / "a.jsonl", [_row("long", 41.0) | {"segments": given}, _row("short", 9.0)])
    report = cut_manifest(path, tmp_path / "b.jsonl", max_sec=30.0)
    manifest = load_manifest(tmp_path / "b.jsonl")
    assert [manifest.clip(row).id for row in range(len(manifest))] == ["short"]
    ((found, count),) = (+report.dropped).items()
    assert reason in found and count == 1
    assert report.named[found] == [f"{path}:1 (clip long)"]


def test_a_segment_that_is_too_long_is_left_out_and_ends_a_piece(tmp_path):
    segments = [_segment(0, 5, "One."), _segment(5, 45, "Two."), _segment(45, 50, "Three."), _segment(50, 51, "")]
    path = _write(tmp_path / "a.jsonl", [_row("long", 60.0, segments)])
    report = cut_manifest(path, tmp_path / "b.jsonl", max_sec=48.0 - 10)
    manifest = load_manifest(tmp_path / "b.jsonl")
    assert [manifest.clip(row).text for row in range(len(manifest))] == ["One.", "Three."]
    assert report.dropped["segments longer by themselves"] == 1


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_segment_whose_text_is_null_is_in_no_piece(tmp_path, name):
    segments = [_segment(0, 5, "One."), _segment(5, 9, None), _segment(9, 12, "Two.")]
    report = cut_manifest(_write(tmp_path / name, [_row("long", 60.0, segments)]), tmp_path / "b.jsonl", max_sec=30.0)
    manifest = load_manifest(tmp_path / "b.jsonl")
    assert [manifest.clip(row).text for row in range(len(manifest))] == ["One.", "Two."]
    assert report.dropped["segments whose text is null"] == 1


@pytest.mark.parametrize("max_sec", [0.5, float("nan")])
def test_a_cut_that_keeps_nothing_writes_nothing(tmp_path, max_sec):
    path = _write(tmp_path / "a.jsonl", [_row("talk", 41.0, TALK)])
    with pytest.raises(ManifestError, match=r"no row is kept: 3 segments longer|nan s is no length"):
        cut_manifest(path, tmp_path / "b.jsonl", max_sec=max_sec)
    assert not (tmp_path / "b.jsonl").exists()


def test_a_manifest_without_segments_is_refused(tmp_path):
    path = _write(tmp_path / "a.jsonl", [_row("short", 9.0)])
    with pytest.raises(ManifestError, match="no column segments"):
        cut_manifest(path, tmp_path / "b.jsonl", max_sec=30.0)


def test_the_command_says_what_became_of_the_rows(tmp_path, monkeypatch, capsys):
    path = _write(tmp_path / "a.jsonl", [_row("talk", 41.0, TALK), _row("long", 99.0)])
    monkeypatch.setattr("sys.argv", ["whisper-aut", "manifest", "cut", str(path), "--out", str(tmp_path / "b.parquet")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert (
        "2 clips" in shown
        and "cut: 1 rows" in shown
        and f"left out: 1 longer, without segments: {path}:2 (clip long)\n" in shown
    )
    assert pq.read_table(tmp_path / "b.parquet")["speaker"].to_pylist() == ["S1", "S1"]


def _whispers(start, end, text):
    """As Whisper writes a segment, with what else stands in it."""
    return {"id": 0, "seek": 0, "start": start, "end": end, "text": text, "tokens": [1, 2], "temperature": 0.0}


def _pipelines(start, end, text):
    return {"timestamp": [start, end], "text": text}


@pytest.mark.parametrize("segment", [_segment, _whispers, _pipelines])
@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_the_names_that_other_tools_give_to_times_are_read(tmp_path, name, segment):
    segments = [segment(0.5, 12.0, " One."), segment(12.5, 29.0, " Two."), segment(31.0, 40.0, " Three.")]
    cut_manifest(_write(tmp_path / name, [_row("talk", 41.0, segments)]), tmp_path / "b.jsonl", max_sec=30.0)
    manifest = load_manifest(tmp_path / "b.jsonl")
    assert [(clip.offset_sec, clip.duration_sec, clip.text) for clip in manifest.clips()] == [
        (100.5, 28.5, "One. Two."),
        (131.0, 9.0, "Three."),
    ]


def test_a_small_overlap_is_kept_and_counted(tmp_path, monkeypatch, capsys):
    segments = [_segment(7.0 * n, 7.0 * n + 7.01, f"Part {n}.") for n in range(9)]
    segments[4]["end_sec"] = 35.1
    path = _write(tmp_path / "a.jsonl", [_row("talk", 63.01, segments)])
    report = cut_manifest(path, tmp_path / "b.jsonl", max_sec=30.0)
    assert report.num_overlaps == 8 and not +report.dropped
    clips = list(load_manifest(tmp_path / "b.jsonl").clips())
    assert " ".join(clip.text for clip in clips) == " ".join(segment["text"] for segment in segments)
    assert [(clip.offset_sec - 100, round(clip.duration_sec, 3)) for clip in clips] == [
        (0, 28.01),
        (28, 28.01),
        (56, 7.01),
    ]
    monkeypatch.setattr("sys.argv", ["whisper-aut", "manifest", "cut", str(path), "--out", str(tmp_path / "c.jsonl")])
    with pytest.raises(SystemExit):
        main()
    assert "8 segments overlapped a little" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("segments", "cause"),
    [
        ([_segment(0, 20, "One."), _segment(19.8, 30, "Two.")], "segment 1 (19.8 to 30 s) begins 0.20 s before"),
        ([_segment(9, 10, "One."), _segment(8.95, 12, "Two.")], "segment 1 (8.95 to 12 s) begins before the segment"),
        ([_segment(0, 20, "One."), _segment(20, 80, "Two.")], "segment 1 (20 to 80 s) ends after the clip"),
        ([_segment(5, 5, "One.")], "segment 0 (5 to 5 s) is no stretch of time"),
        ([_segment(0, 1, "One."), {"start": 1, "stop": 2, "text": "Two."}], "segment 1 has no end_sec (or end)"),
        ([_pipelines(0.0, None, "One.")], "segment 0 has no end_sec"),
        ([_segment("0", 1, "One.")], "segment 0 has no start_sec"),
        ([{"start": 0, "end": 1}], "segment 0 has no text"),
        ([3], "segment 0 is a int, not an object"),
        ('[{"start": 0, "start": 1, "end": 2, "text": "x"}]', "'start' stands twice"),
    ],
)  # fmt: skip
def test_the_segment_and_the_cause_are_named(tmp_path, segments, cause):
    given = json.dumps(segments) if isinstance(segments, list) else segments
    path = _write(tmp_path / "a.jsonl", [_row("long", 41.0) | {"segments": given}])
    with pytest.raises(ManifestError) as raised:
        cut_manifest(path, tmp_path / "b.jsonl", max_sec=30.0)
    assert f"{path}:1 (clip long): " in raised.value.where and cause in raised.value.where
    assert "--max-sec" not in raised.value.remedy
