"""Manifests of NeMo, Lhotse and Kaldi, and data sets of the hub, each as its toolkit writes them."""

from __future__ import annotations

import json

import pytest

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
