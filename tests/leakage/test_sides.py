"""Rows of manifests as a stream, refused where they cannot be listened to, and copied without those that leak."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whisper_aut.data.manifest import load_manifest
from whisper_aut.data.pack import PackSettings, pack_manifests
from whisper_aut.errors import ManifestError
from whisper_aut.leakage.sides import count_rows, manifest_segments, write_without


@pytest.fixture(params=["jsonl", "parquet"])
def manifest(request, make_corpus):
    folder = make_corpus(clips_per_domain=6)
    path = folder / "environment.jsonl"
    if request.param == "parquet":
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        path = folder / "environment.parquet"
        pq.write_table(pa.Table.from_pylist([row | {"extra": number} for number, row in enumerate(rows)]), path)
    return path


def test_segments_are_what_the_manifest_says(manifest):
    loaded = load_manifest(manifest)
    segments = list(manifest_segments(manifest))
    assert count_rows(manifest) == len(segments) == len(loaded)
    for row, segment in enumerate(segments):
        clip = loaded.clip(row)
        assert (segment.row, segment.id, segment.offset_sec) == (row, clip.id, clip.offset_sec)
        assert segment.audio == loaded.audio_source(row)
        assert segment.duration_sec == clip.duration_sec
        assert len(segment.read()) == round(clip.duration_sec * 16_000)


def test_a_copy_without_rows_is_a_manifest_that_finds_its_audio(manifest, tmp_path):
    out = tmp_path / "elsewhere" / manifest.name
    write_without(manifest, {1, 4}, out)
    before, after = load_manifest(manifest), load_manifest(out)
    assert [after.clip(row).id for row in range(len(after))] == [before.clip(row).id for row in (0, 2, 3, 5)]
    assert [after.audio_source(row) for row in range(4)] == [before.audio_source(row) for row in (0, 2, 3, 5)]
    if manifest.suffix == ".parquet":
        assert pq.read_table(out)["extra"].to_pylist() == [0, 2, 3, 5]
        assert pq.read_schema(out) == pq.read_schema(manifest)


def test_beside_the_original_paths_stay_relative(manifest):
    out = manifest.with_stem("kept")
    write_without(manifest, {0}, out)
    assert not load_manifest(out).clip(0).audio.startswith("/")


def test_a_row_without_a_segment_means_the_whole_file(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "a", "audio": "a.wav"}\n', "utf-8")
    (segment,) = manifest_segments(tmp_path / "a.jsonl")
    assert (segment.offset_sec, segment.duration_sec, segment.audio) == (0.0, None, tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "a", "audio": "../b.wav"}', "leads out"),
        ('{"id": "a"}', "audio must be text"),
        ('{"audio": "a.wav"}', "id must be text"),
        ('{"id": "a", "audio": "a.wav", "offset_sec": -1}', "offset_sec"),
        ('{"id": "a", "audio": "a.wav", "duration_sec": "long"}', "another type"),
        ('{"id": "a", "audio": "a.wav"', "not JSON"),
        ("[1]", "not a JSON object"),
        ("", "no rows"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path, text, message):
    (tmp_path / "a.jsonl").write_text(text + "\n", "utf-8")
    with pytest.raises(ManifestError, match=message) as error:
        count_rows(tmp_path / "a.jsonl")
    assert "a.jsonl" in str(error.value)


@pytest.mark.parametrize("name", ["none.jsonl", "none.parquet", "a.csv"])
def test_files_that_cannot_be_used_are_named(tmp_path, name):
    with pytest.raises(ManifestError, match=name):
        count_rows(tmp_path / name)


def test_broken_parquet_and_other_encodings_are_said(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "b.jsonl").write_bytes('{"id": "ä"}'.encode("latin1"))
    for name in ("a.parquet", "b.jsonl"):
        with pytest.raises(ManifestError, match=name):
            count_rows(tmp_path / name)


def test_clips_in_shards_and_at_urls_are_read_and_copied_with_their_place(manifest, tmp_path):
    pack_manifests([manifest], tmp_path / "packed", PackSettings("flac", 1.0), num_workers=0, max_reject_rate=0.0)
    (packed,) = (tmp_path / "packed").glob("*.parquet")
    plain, shards = list(manifest_segments(manifest)), list(manifest_segments(packed))
    for one, other in zip(plain, shards, strict=True):
        assert one.id == other.id and np.abs(one.read() - other.read()).max() < 1e-3
    write_without(packed, {0}, tmp_path / "elsewhere" / "kept.parquet")
    kept = list(manifest_segments(tmp_path / "elsewhere" / "kept.parquet"))
    assert [segment.audio for segment in kept] == [segment.audio for segment in shards[1:]]
    row = {"id": "a", "audio": "https://host/a.flac", "offset_sec": 0.0, "duration_sec": 1.0}
    (tmp_path / "urls.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"id": "b"}) + "\n")
    write_without(tmp_path / "urls.jsonl", {1}, tmp_path / "elsewhere" / "urls.jsonl")
    assert json.loads((tmp_path / "elsewhere" / "urls.jsonl").read_text())["audio"] == "https://host/a.flac"
