"""Manifests of NeMo, Lhotse and Kaldi, and data sets of the hub, each as its toolkit writes them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from whisper_aut.errors import SourceError

CLIP = {"clip": {}}


def _of(make_source, kind, files, **more):
    read = {"kind": kind, "splits": {"train": [{"files": files}]}, **more}
    return make_source(read=read, clip={})


def test_nemo(make_source, build, data, disk, rejects):
    disk.audio(data / "small" / "wavs" / "a.wav", 3.0)
    disk.jsonl(data / "small" / "sub" / "train.json", [
        {"audio_filepath": str(data / "small" / "wavs" / "a.wav"), "duration": 3.0, "text": "whole"},
        {"audio_filepath": "wavs/a.wav", "duration": 1.25, "offset": 0.5, "text": "part"},
        {"audio_filepath": "/etc/passwd", "duration": 1, "text": "outside"},
        {"audio_filepath": None, "text": "none"},
    ])  # fmt: skip
    rows = build(_of(make_source, "nemo", ["sub/train.json"]))
    assert [(row["text"], row["offset_sec"], row["duration_sec"]) for row in rows] == [
        ("whole", 0, 3),
        ("part", 0.5, 1.25),
    ]
    assert len({row["audio"] for row in rows}) == 1 and rows[1]["id"] == "small-wavs/a.wav@0.5"
    assert ["absolute path" in rejects("small")[0]["reason"], "not a path" in rejects("small")[1]["reason"]] == [
        True
    ] * 2


@pytest.fixture
def kaldi(data, disk):
    folder = data / "small" / "train"
    disk.audio(data / "small" / "audio" / "rec.wav", 4.0)
    folder.mkdir(parents=True)
    (folder / "wav.scp").write_text(f"rec {data}/small/audio/rec.wav\n")
    (folder / "text").write_text("rec-1 hello world\nrec-2 good bye\nrec-3 never\n")
    (folder / "segments").write_text("rec-1 rec 0.5 1.75\nrec-2 rec 2.0 -1\n")
    return folder


def test_kaldi_with_segments(make_source, build, rejects, kaldi):
    rows = build(_of(make_source, "kaldi", ["train"]))
    assert [(row["id"], row["offset_sec"], row["duration_sec"], row["text"]) for row in rows] == [
        ("small-rec-1", 0.5, 1.25, "hello world"), ("small-rec-2", 2.0, 2.0, "good bye"),
    ]  # fmt: skip
    assert rejects("small")[0]["reason"] == "'rec-3' is not in segments"
    assert rejects("small")[0]["where"] == f"{kaldi}/text:3"


def test_kaldi_without_segments_takes_utt2dur(make_source, build, kaldi):
    (kaldi / "segments").unlink()
    (kaldi / "text").write_text("rec hello\n")
    (kaldi / "utt2dur").write_text("rec 3.5\n")
    (row,) = build(_of(make_source, "kaldi", ["train"]))
    assert (row["offset_sec"], row["duration_sec"]) == (0, 3.5)


def test_a_pipe_of_kaldi_is_refused_and_not_run(make_source, build, kaldi, tmp_path):
    (kaldi / "wav.scp").write_text(f"rec touch {tmp_path}/run; cat a.wav |\n")
    with pytest.raises(SourceError, match="is read by a command") as raised:
        build(_of(make_source, "kaldi", ["train"]))
    assert "wav.scp:1" in str(raised.value) and not (tmp_path / "run").exists()


def test_lhotse_cuts_with_several_supervisions(make_source, build, data, disk, rejects):
    disk.audio(data / "small" / "a.flac", 5.0)
    recording = {"id": "a", "sources": [{"type": "file", "channels": [0], "source": "a.flac"}], "duration": 5.0}
    supervision = {"id": "s", "recording_id": "a", "start": 0.25, "duration": 1.0, "text": "One.", "language": "en"}
    command = recording | {"sources": [{"type": "command", "channels": [0], "source": "cat a.flac"}]}
    cut = {"id": "c", "start": 1.0, "duration": 3.0, "channel": 0, "type": "MonoCut", "recording": recording}
    disk.jsonl(data / "small" / "cuts.jsonl", [
        cut | {"supervisions": [supervision, supervision | {"start": 1.5, "text": "Two."}]},
        cut | {"supervisions": [supervision], "recording": command},
        cut | {"supervisions": []},
        cut,
    ])  # fmt: skip
    rows = build(_of(make_source, "lhotse", ["cuts.jsonl"]))
    assert [(row["id"], row["offset_sec"], row["duration_sec"], row["text"]) for row in rows] == [
        ("small-c-0", 1.25, 1.0, "One."), ("small-c-1", 2.5, 1.0, "Two."),
    ]  # fmt: skip
    reasons = [reject["reason"] for reject in rejects("small")]
    assert (
        "source is a command" in reasons[0]
        and "no supervision" in reasons[1]
        and "'supervisions' is missing" in reasons[2]
    )


def test_lhotse_supervisions_beside_recordings(make_source, build, data, disk, rejects):
    disk.audio(data / "small" / "a.flac", 5.0)
    disk.jsonl(data / "small" / "recordings.jsonl.gz", [
        {"id": "a", "sources": [{"type": "file", "channels": [0], "source": "a.flac"}], "duration": 5.0},
        {"id": "b", "sources": [{"type": "url", "channels": [0], "source": "https://example.org"}]},
    ])  # fmt: skip
    disk.jsonl(data / "small" / "supervisions.jsonl.gz", [
        {"id": f"{name}-1", "recording_id": name, "start": 2.0, "duration": 1.5, "text": "Hi."} for name in "abc"
    ])  # fmt: skip
    rows = build(_of(make_source, "lhotse", ["supervisions.jsonl.gz"], recordings="recordings.jsonl.gz"))
    assert [(row["id"], row["offset_sec"], row["duration_sec"]) for row in rows] == [("small-a-1", 2.0, 1.5)]
    assert ["is a url" in rejects("small")[0]["reason"], "no recording 'c'" in rejects("small")[1]["reason"]] == [
        True
    ] * 2


def test_gzip_that_is_cut_off_is_named(make_source, build, data, disk):
    path = disk.jsonl(data / "small" / "cuts.jsonl.gz", [{"id": str(index)} for index in range(50_000)])
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SourceError, match=r"the list is damaged[^\n]*\n  where: .*cuts.jsonl.gz:\d+"):
        build(_of(make_source, "lhotse", ["cuts.jsonl.gz"]))


def _hub(make_source, path="owner/none", **part):
    read = {"kind": "hub", "path": path, "audio": "audio",
            "splits": {"train": [{"split": "train", "files": ["data/train-*"], **part}]}}  # fmt: skip
    return make_source(read=read, clip={"id": "{key}", "text": ["{text}"]})


def test_local_parquet_of_the_hub_keeps_the_original_bytes(make_source, build, data, disk, tmp_path):
    disk.hub_file(data / "small" / "data" / "train-0.parquet", {"key": ["../../x y", "B"], "text": ["One.", "Two."]})
    rows = build(_hub(make_source))
    assert [row["text"] for row in rows] == ["One.", "Two."] and rows[0]["duration_sec"] == 1.0
    files = [(tmp_path / "out" / row["audio"]).resolve() for row in rows]
    assert all(file.is_relative_to(tmp_path / "out" / "audio" / "small") and file.suffix == ".flac" for file in files)
    assert files[0].read_bytes() == disk.audio_bytes()


def test_arrow_files_of_save_to_disk(make_source, build, data, disk):
    from datasets import Audio, Dataset

    made = Dataset.from_dict(
        {"key": ["a"], "text": ["A."], "audio": [{"bytes": disk.audio_bytes("OGG"), "path": None}]}
    )
    made.cast_column("audio", Audio(decode=False)).save_to_disk(data / "small" / "data")
    spec = _hub(make_source, files=["data/*.arrow"])
    (row,) = build(spec)
    assert row["audio"].endswith(".ogg") and row["duration_sec"] == 1.0


def test_a_stream_of_several_files_is_the_same_with_two_processes(make_source, build, data, disk, tmp_path):
    repository = tmp_path / "repository"  # datasets reads a folder with a card as it reads the hub
    for index in range(3):
        disk.hub_file(repository / "main" / f"train-{index}.parquet", {"key": [f"k{index}"], "text": [f"T{index}."]})
    (repository / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n    path: main/train-*\n---\n"
    )
    spec = _hub(make_source, str(repository), config="main")
    rows = build(spec, stream=True)
    assert [row["text"] for row in rows] == ["T0.", "T1.", "T2."]
    assert build(spec, stream=True, num_workers=2, out=tmp_path / "two") == rows
    assert len(build(spec, stream=True, limit=2, out=tmp_path / "three")) == 2


def test_a_hub_that_does_not_answer(make_source, build):
    with pytest.raises(SourceError, match="the hub does not give the data") as raised:
        build(_hub(make_source), stream=True)
    assert "owner/none train" in str(raised.value)


def test_a_hub_data_set_without_the_column(make_source, build, data, disk):
    disk.hub_file(data / "small" / "data" / "train-0.parquet", {"key": ["a"], "words": ["One."]})
    with pytest.raises(SourceError, match="no column 'text'; they have"):
        build(_hub(make_source))


def test_rows_of_the_hub_without_audio_are_rejected(make_source, build, data, disk, rejects):
    audio = [{"bytes": disk.audio_bytes(), "path": "x"}, None, {"bytes": b"no audio", "path": "x"},
             {"bytes": None, "path": "/etc/passwd"}, {"bytes": None, "path": "../../x"}]  # fmt: skip
    disk.hub_file(data / "small" / "data" / "train-0.parquet",
                  {"key": list("abcde"), "text": list("abcde"), "audio": audio})  # fmt: skip
    assert len(build(_hub(make_source))) == 1
    reasons = [reject["reason"] for reject in rejects("small")]
    assert "the row has no audio" in reasons[0] and "not readable audio" in reasons[1]
    assert "absolute path" in reasons[2] and "climbs" in reasons[3]
    assert json.dumps(reasons)


def test_a_parquet_file_that_is_cut_off(make_source, build, data, disk):
    path = disk.hub_file(data / "small" / "data" / "train-0.parquet", {"key": ["a"], "text": ["One."]})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match="cannot be read"):
        build(_hub(make_source))


@pytest.fixture
def call(data):
    """A stereo file whose channels differ, in the corpus' folder."""
    folder = data / "small"
    folder.mkdir(exist_ok=True)
    time = np.arange(64_000) / 16_000
    wave = 0.3 * np.sin(2 * np.pi * np.outer(time, [200, 700]))
    soundfile.write(folder / "call.wav", wave, 16_000)
    return folder


STEREO = {"id": "call", "sources": [{"type": "file", "channels": [0, 1], "source": "call.wav"}], "duration": 4.0}


def _cut(name, channel, said=None, *, recording=STEREO, kind="MonoCut", **more):
    supervision = {"id": name, "recording_id": "call", "start": 0.0, "duration": 2.0, "text": name, "channel": said}
    return {"id": name, "start": 0.0, "duration": 4.0, "channel": channel, "type": kind, "recording": recording,
            "supervisions": [supervision], **more}  # fmt: skip


def test_channels_of_lhotse_s_cuts(make_source, build, call, disk, rejects):
    beside = STEREO | {"sources": [{"type": "file", "channels": [3], "source": "left.wav"},
                                   {"type": "file", "channels": [5, 4], "source": "call.wav"}]}  # fmt: skip
    disk.audio(call / "left.wav", 4.0)
    disk.jsonl(call / "cuts.jsonl", [
        _cut("one", 1, 1), _cut("old", 0), _cut("both", [0, 1], [0, 1], kind="MultiCut"),
        _cut("part", [0, 1], 1, kind="MultiCut"), _cut("own file", 3, recording=beside),
        _cut("by name", 4, recording=beside), _cut("none", None),
        _cut("unknown", 7), _cut("two files", [3, 4], kind="MultiCut", recording=beside),
        _cut("no file", None, recording=beside), _cut("other", 0, 1),
        _cut("lies", 0, recording=STEREO | {"sources": [STEREO["sources"][0] | {"channels": [0]}]}),
    ])  # fmt: skip
    rows = build(_of(make_source, "lhotse", ["cuts.jsonl"]))
    assert {row["text"]: row["channel"] for row in rows} == {
        "one": [1], "old": [0], "both": [0, 1], "part": [1], "own file": None, "by name": [1], "none": None,
    }  # fmt: skip
    reasons = {reject["id"].removeprefix("small-"): reject["reason"] for reject in rejects("small")}
    assert "no channel 7" in reasons["unknown"] and "several files" in reasons["two files"]
    assert "names no channel" in reasons["no file"] and "of channel 1, the cut of 0" in reasons["other"]
    assert "1 channel(s) by its list, its file 2" in reasons["lies"]


def test_channels_of_lhotse_s_supervisions(make_source, build, call, disk):
    disk.jsonl(call / "recordings.jsonl", [STEREO])
    disk.jsonl(call / "sup.jsonl", [
        {"id": f"s{channel}", "recording_id": "call", "start": 0.0, "duration": 2.0, "text": "Hi.", "channel": channel}
        for channel in (0, 1)
    ])  # fmt: skip
    rows = build(_of(make_source, "lhotse", ["sup.jsonl"], recordings="recordings.jsonl"))
    assert [row["channel"] for row in rows] == [0, 1]


@pytest.mark.parametrize("name", ["Speed", "Tempo", "Volume", "ReverbWithImpulseResponse", "Narrowband", "Whatever"])
def test_a_recording_that_lhotse_changes_is_rejected_by_that_name(make_source, build, call, disk, rejects, name):
    changed = STEREO | {"transforms": [{"name": "Resample", "kwargs": {}}, {"name": name, "kwargs": {"factor": 0.5}}]}
    resampled = STEREO | {"transforms": [{"name": "Resample", "kwargs": {"source_sampling_rate": 16_000}}]}
    disk.jsonl(call / "cuts.jsonl", [_cut("changed", 0, recording=changed), _cut("same", 0, recording=resampled)])
    assert [row["text"] for row in build(_of(make_source, "lhotse", ["cuts.jsonl"]))] == ["same"]
    assert f"changed by {name}," in rejects("small")[0]["reason"]
    disk.jsonl(call / "recordings.jsonl", [changed | {"id": "a"}, STEREO | {"id": "b"}])
    disk.jsonl(call / "sup.jsonl", [
        {"id": f"{key}-1", "recording_id": key, "start": 0.0, "duration": 2.0, "text": key} for key in "ab"
    ])  # fmt: skip
    spec = _of(make_source, "lhotse", ["sup.jsonl"], recordings="recordings.jsonl")
    assert [row["text"] for row in build(spec, fresh=True)] == ["b"]


def test_channels_of_kaldi(make_source, build, call, disk, rejects):
    (call / "wav.scp").write_text("call call.wav\nmono mono.wav\n")
    disk.audio(call / "mono.wav", 4.0)
    (call / "text").write_text("a one\nb two\nc three\nd four\ne five\n")
    (call / "segments").write_text("a call 0 2 0\nb call 0 2 B\nc call 0 2\nd mono 0 2\ne call 0 2 7\n")
    (call / "reco2file_and_channel").write_text("call call B\nmono mono B\n")
    rows = build(_of(make_source, "kaldi", ["."]))
    assert {row["text"]: row["channel"] for row in rows} == {"one": 0, "two": 1, "three": 1, "four": None}
    assert "channel 7 is named, counted from 0; the file has 2" in rejects("small")[0]["reason"]


def test_kaldi_s_numbers_of_sides_count_from_1(make_source, build, call):
    (call / "wav.scp").write_text("call-1 call.wav\ncall-2 call.wav\n")
    (call / "text").write_text("call-1 one\ncall-2 two\n")
    (call / "reco2file_and_channel").write_text("call-1 call 1\ncall-2 call 2\n")
    assert [row["channel"] for row in build(_of(make_source, "kaldi", ["."]))] == [0, 1]


def test_channels_of_nemo(make_source, build, call, disk):
    row = {"audio_filepath": "call.wav", "duration": 2.0, "offset": 0.0}
    disk.jsonl(call / "m.json", [
        row | {"text": "left", "channel": 0}, row | {"text": "right", "channel": 1},
        row | {"text": "mixed", "channel": [0, 1]}, row | {"text": "selected", "channel_selector": 1, "offset": 1.0},
        row | {"text": "average", "channel_selector": "average"}, row | {"text": "none"},
    ])  # fmt: skip
    rows = build(_of(make_source, "nemo", ["m.json"]))
    assert {row["text"]: row["channel"] for row in rows} == {
        "left": [0], "right": [1], "mixed": [0, 1], "selected": [1], "average": [0, 1], "none": None,
    }  # fmt: skip
    assert len({row["id"] for row in rows}) == 6 and rows[-1]["id"] == "small-call.wav@0.0"


def test_channels_of_a_list(make_source, build, call, disk, rejects, tmp_path):
    disk.csv(
        call / "clips.csv",
        [("name", "text", "side"), ("call", "A.", "1"), ("call2", "B.", ""), ("call3", "C.", "left")],
    )
    for name in ("call2", "call3"):
        (call / f"{name}.wav").write_bytes((call / "call.wav").read_bytes())
    spec = make_source(clip={"id": "{name}", "audio": ["{name}.wav"], "text": ["{text}"], "channel": "side"})
    assert [row["channel"] for row in build(spec)] == [1, None]
    assert "must be a channel's number" in rejects("small")[0]["reason"]
    state = json.loads((tmp_path / "out" / ".build" / "small" / "state.json").read_text())
    assert state["summary"]["mixed_channels"] == 1


def test_segments_beyond_the_end_of_their_file_are_rejected(make_source, build, call, disk, rejects):
    row = {"audio_filepath": "call.wav", "text": "x"}
    disk.jsonl(call / "m.json", [
        row | {"offset": 0.0, "duration": 4.1}, row | {"offset": 3.0, "duration": 2.0},
        row | {"offset": 9.0, "duration": 1.0},
    ])  # fmt: skip
    (kept,) = build(_of(make_source, "nemo", ["m.json"]))
    assert kept["duration_sec"] == 4.0  # 0.1 s more is a rounding
    reasons = [reject["reason"] for reject in rejects("small")]
    assert "1 s from there on" in reasons[0] and "the file ends 5 s before" in reasons[1]
