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
