"""Which channel a clip is: read, checked, packed, trained on and probed as its row says."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from whisper_aut.data.audio import read_waveform
from whisper_aut.data.channels import differing, parse_channel, parse_given
from whisper_aut.data.clip_table import TableWriter, open_table
from whisper_aut.data.loader import validation_batches
from whisper_aut.data.manifest import load_manifest, read_manifest
from whisper_aut.data.manifest_filter import Conditions, filter_manifest
from whisper_aut.data.manifest_merge import merge_manifests
from whisper_aut.data.manifest_report import validate_manifest
from whisper_aut.data.pack import PackSettings, pack_manifests
from whisper_aut.data.pool import Pool
from whisper_aut.data.rows import SCHEMA
from whisper_aut.errors import AudioError, ManifestError, ProbeError
from whisper_aut.leakage.sides import manifest_segments
from whisper_aut.probe.tasks.labelled import load_task

MANY = [0, 1, [0], [0, 1], [1, 2], None]
WANTED = [(0,), (1,), (0,), (0, 1), (1, 2), ()]


@pytest.fixture
def call(tmp_path, faults):
    """A file of three channels with a sound of its own each; the sounds."""
    sounds = [faults.sweep(2.0), faults.sweep(2.0, low=3_000, high=200), faults.sweep(2.0, low=900, high=1_000)]
    soundfile.write(tmp_path / "call.wav", np.stack(sounds, axis=1), 16_000, subtype="FLOAT")
    return sounds


def _rows(channels, **more):
    return [
        {"id": f"c{number}", "audio": "call.wav", "offset_sec": 0.0, "duration_sec": 2.0, "text": f"Text {number}.",
         "domain": "speech", "channel": channel} | more
        for number, channel in enumerate(channels)
    ]  # fmt: skip


def _written(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("name", "channels", "wanted"),
    [
        ("m.jsonl", MANY, WANTED),
        ("m.jsonl", [0, 1, None], [(0,), (1,), ()]),
        ("m.jsonl", [[0, 1], [2]], [(0, 1), (2,)]),
        ("m.parquet", [0, 1, None], [(0,), (1,), ()]),
        ("m.parquet", [0.0, float("nan"), 2.0], [(0,), (), (2,)]),
        ("m.parquet", [[0, 1], [2], None], [(0, 1), (2,), ()]),
        ("m.parquet", [None, None], [(), ()]),
    ],
)
def test_channels_of_a_manifest(tmp_path, call, name, channels, wanted):
    manifest = load_manifest(_written(tmp_path / name, _rows(channels)))
    assert [clip.channels for clip in manifest.clips()] == wanted
    assert [manifest.clip(row).channels for row in range(len(manifest))] == wanted
    assert [segment.channels for segment in manifest_segments(tmp_path / name)] == wanted


@pytest.mark.parametrize("channel", [-1, 32, 0.5, True, [], [0, 0], ["0"], [[0]], {"a": 1}, "left"])
@pytest.mark.parametrize("name", ["m.jsonl", "m.parquet"])
def test_what_is_no_channel_is_named_with_its_line(tmp_path, call, name, channel):
    path = tmp_path / name
    if name == "m.parquet" and not isinstance(channel, int | float):
        rows = [row | {"channel": None} for row in _rows([0])] + _rows([channel], id="bad")
        _written(path, rows)
        if isinstance(channel, list) and channel in ([], [0, 0]):
            _, (problem,) = read_manifest(path)
            assert (problem.field, problem.clip_id) == ("channel", "bad")
        else:
            with pytest.raises(ManifestError, match="column channel is"):
                load_manifest(path)
        return
    if name == "m.parquet" and channel is True:
        with pytest.raises(ManifestError, match="column channel is bool"):
            load_manifest(_written(path, _rows([channel])))
        return
    _, problems = read_manifest(_written(path, [*_rows([0]), *_rows([channel], id="bad")]))
    assert [(problem.field, problem.clip_id, problem.where) for problem in problems] == [
        ("channel", "bad", f"{path}:2")
    ]


def test_a_manifest_without_channels_grows_by_nothing(tmp_path, write_manifest):
    table = load_manifest(write_manifest("m.jsonl", [{}, {}])).table
    assert "channel" not in table.numbers and "channel" not in table.values
    folder = tmp_path / "table"
    folder.mkdir()
    writer = TableWriter(folder)
    rows = pa.RecordBatch.from_pylist(
        [{"id": "a", "audio": "a", "offset_sec": 0.0, "duration_sec": 1.0, "text": "t", "domain": "speech"}], SCHEMA
    )
    writer.add(rows, np.array([1]))
    writer.finish("f", {})
    assert not (folder / "channel").exists()


def test_a_table_on_the_disk_has_the_column_from_the_first_channel_on(tmp_path):
    def batch(name):
        row = {"id": name, "audio": "a", "offset_sec": 0.0, "duration_sec": 1.0, "text": "t", "domain": "speech"}
        return pa.RecordBatch.from_pylist([row], SCHEMA)

    for folder in (None, tmp_path / "table"):
        if folder is not None:
            folder.mkdir()
        writer = TableWriter(folder)
        for name, channels in (("a", None), ("b", ["0,1"]), ("c", [None]), ("d", None), ("e", ["2"])):
            writer.add(batch(name), np.array([1]), channels)
        table = writer.finish("f", {})
        if folder is not None:
            table = open_table(folder, {})
        texts = [table.values["channel"][code] for code in table.numbers["channel"]]
        assert texts == ["", "0,1", "", "", "2"]


def test_the_channel_is_what_is_read(tmp_path, call):
    for channels, wanted in (((0,), call[0]), ((2,), call[2]), ((1, 2), (call[1] + call[2]) / 2), ((), sum(call) / 3)):
        read = read_waveform(tmp_path / "call.wav", duration_sec=2.0, channels=channels)
        np.testing.assert_allclose(read, wanted, atol=1e-6)
    with pytest.raises(AudioError, match="channel 3 is wanted, the file has 3"):
        read_waveform(tmp_path / "call.wav", channels=(3,))


def test_loader_pack_and_probe_hear_that_channel(tmp_path, call, text_encoder):
    path = _written(tmp_path / "m.jsonl", _rows([0, 2, [0, 1]]))
    wanted = [call[0], call[2], (call[0] + call[1]) / 2]
    manifest = load_manifest(path)
    pool = Pool("speech", (manifest,), np.arange(3, dtype=np.uint32), np.full(3, 32_000, np.int32))
    (batch,) = validation_batches(pool, "speech", text_encoder, 3)
    for waveform, sound in zip(batch.waveforms, wanted, strict=True):
        np.testing.assert_allclose(waveform[:32_000], sound, atol=1e-6)
    pack_manifests([path], tmp_path / "shards", PackSettings(), num_workers=0)
    packed = load_manifest(tmp_path / "shards" / "manifest.parquet")
    assert "channel" not in pq.read_schema(packed.path).names
    for row, sound in enumerate(wanted):
        assert packed.clip(row).channels == ()
        np.testing.assert_allclose(read_waveform(packed.audio_source(row)), sound, atol=1e-4)


def test_validate_names_rows_that_name_no_channel_where_channels_differ(tmp_path, call, faults):
    noise = np.random.default_rng(0).normal(0, 0.02, 32_000)
    for name, right in (("alike", call[0] * 0.8 + noise), ("one_side", np.zeros(32_000)), ("call", call[1])):
        soundfile.write(tmp_path / f"{name}.wav", np.stack([call[0], right], axis=1), 16_000)
    rows = [row | {"id": name, "audio": f"{name}.wav"}
            for name in ("alike", "one_side", "call") for row in _rows([None])]  # fmt: skip
    rows += [rows[2] | {"id": "named", "channel": 1}, rows[2] | {"id": "mixed", "channel": [0, 1]}]
    rows += [rows[2] | {"id": "missing", "channel": 2}]
    report = validate_manifest(_written(tmp_path / "m.jsonl", rows), check_audio=True)
    assert [(problem.clip_id, problem.field) for problem in report.problems] == [
        ("call", "channel"),
        ("missing", "audio"),
    ]
    assert "[0, 1]" in report.problems[0].message and report.summary["channels_differ"] == 1
    music = _written(tmp_path / "music.jsonl", [row | {"domain": "music", "channel": None} for row in rows[2:3]])
    report = validate_manifest(music, check_audio=True)
    assert not report.problems and report.summary["channels_differ"] == 1


def test_what_differs(faults):
    one, other = faults.sweep(1.0), faults.sweep(1.0, low=3_000, high=200)
    assert differing(np.stack([one, one], axis=1)) is None
    assert differing(np.stack([one, 0.001 * other], axis=1)) is None
    assert differing(np.zeros((100, 2), np.float32)) is None
    assert abs(differing(np.stack([one, other], axis=1)) or 1) < 0.2


def test_merging_and_filtering_keep_channels_of_both_kinds(tmp_path, call):
    numbers = _written(tmp_path / "a.jsonl", _rows([0, 1]))
    lists = _written(tmp_path / "b.jsonl", [row | {"id": f"b-{row['id']}"} for row in _rows([[0, 1], 2, None])])
    none = _written(
        tmp_path / "c.parquet", [{k: v for k, v in row.items() if k != "channel"} | {"id": "n"} for row in _rows([0])]
    )
    for out in (tmp_path / "m.parquet", tmp_path / "m.jsonl"):
        merge_manifests([numbers, lists, none], out)
        filter_manifest(out, tmp_path / f"f{out.suffix}", Conditions(max_sec=10.0))
        for path in (out, tmp_path / f"f{out.suffix}"):
            assert [clip.channels for clip in load_manifest(path).clips()] == [(0,), (1,), (0, 1), (2,), (), ()]


def test_a_task_has_channels_and_the_same_hash_without(tmp_path, call):
    folder = tmp_path / "task"
    folder.mkdir()
    (tmp_path / "call.wav").rename(folder / "call.wav")
    row = {"id": "a", "audio": "call.wav", "duration_sec": 2.0, "label": "x", "fold": 1}
    write = lambda rows: (folder / "clips.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))  # noqa: E731
    write([row])
    plain = load_task(folder).clips_sha256
    write([row | {"channel": None}])
    assert load_task(folder).clips_sha256 == plain
    write([row | {"channel": 0}, row | {"id": "b", "channel": [1, 2], "label": "y"}])
    task = load_task(folder)
    assert [clip.channels for clip in task.clips] == [(0,), (1, 2)] and task.clips_sha256 != plain
    write([row | {"channel": "left"}])
    with pytest.raises(ProbeError, match="channel"):
        load_task(folder)


def test_cells_of_other_tables():
    assert [parse_given(cell) for cell in ("", " ", "1", "0,1", "[0, 1]", "0 2", 3, [1], None)] == [
        (), (), (1,), (0, 1), (0, 1), (0, 2), (3,), (1,), (),
    ]  # fmt: skip
    for cell in ("left", "1.5", "-1", "0,0", "0;x"):
        with pytest.raises(ValueError, match="must be a channel"):
            parse_given(cell)
    assert parse_channel(1.0) == (1,)
