"""Each corpus in the layout that it is published in: rows of the manifest as its YAML promises."""

from __future__ import annotations

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def _texts(rows):
    return {row["id"]: row["text"] for row in rows}


def test_librispeech(data, build, disk):
    root = data / "LibriSpeech"
    for part, speaker in (("train-clean-100", 19), ("train-clean-360", 14), ("train-other-500", 20),
                          ("dev-clean", 84), ("dev-other", 116)):  # fmt: skip
        folder = root / part / str(speaker) / "198"
        disk.audio(folder / f"{speaker}-198-0000.flac", 1.5)
        (folder / f"{speaker}-198-0000").with_name(f"{speaker}-198.trans.txt").write_text(
            f"{speaker}-198-0000 NORTHANGER ABBEY I'LL SAY\n"
        )
    rows = build("librispeech")
    assert [row["id"] for row in rows] == [f"librispeech-{speaker}-198-0000" for speaker in (19, 14, 20, 84, 116)]
    assert rows[0] == {
        "id": "librispeech-19-198-0000",
        "audio": str(root / "train-clean-100/19/198/19-198-0000.flac"),
        "offset_sec": 0.0,
        "duration_sec": 1.5,
        "text": "Northanger abbey I'll say.",
        "domain": "speech",
        "source": "librispeech",
        "language": "en",
        "split": "train",
        "license": "CC-BY-4.0",
    }
    assert [row["split"] for row in rows] == ["train"] * 3 + ["validation"] * 2


def test_mls_english(data, build, disk):
    for part in ("train", "dev"):
        root = data / "mls_english" / part
        disk.audio(root / "audio" / "4800" / "10003" / "4800_10003_000000.flac")
        (root / "transcripts.txt").write_text("4800_10003_000000\toh my dear you must see him\n")
    rows = build("mls_english", splits=["train"])
    assert _texts(rows) == {"mls_english-4800_10003_000000": "Oh my dear you must see him."}


def test_gigaspeech_of_local_parquet_files(data, build, rejects, disk):
    texts = ["AS THEY'RE LEAVING <COMMA> CAN KASH PULL ZAHRA ASIDE <QUESTIONMARK>", "<MUSIC>", "<NOISE>"]
    for split in ("train", "validation"):
        disk.hub_file(
            data / "gigaspeech" / "data" / "l" / f"{split}-00000-of-00001.parquet",
            {"segment_id": [f"POD{index}_{split}" for index in range(3)], "text": texts, "begin_time": [7.5] * 3},
        )
    rows = build("gigaspeech")
    assert _texts(rows) == {
        f"gigaspeech-POD0_{split}": "As they're leaving, can kash pull zahra aside?"
        for split in ("train", "validation")
    }
    assert all(row["offset_sec"] == 0 and row["audio"].startswith("audio/gigaspeech/") for row in rows)
    assert sorted(reject["reason"] for reject in rejects("gigaspeech")) == [
        "the text is the garbage tag <MUSIC>", "the text is the garbage tag <MUSIC>",
        "the text is the garbage tag <NOISE>", "the text is the garbage tag <NOISE>",
    ]  # fmt: skip


def test_peoples_speech(data, build, tmp_path, disk):
    for folder in ("clean/train", "clean_sa/train", "validation/validation"):
        disk.hub_file(
            data / "peoples_speech" / f"{folder}-00000-of-00001.parquet",
            {"id": [f"{folder}.flac"], "text": ["this is the council"], "duration_ms": [900]},
        )
    rows = build("peoples_speech")
    assert [(row["text"], row["duration_sec"], row["split"]) for row in rows] == [
        ("This is the council.", 0.9, "train"), ("This is the council.", 0.9, "train"),
        ("This is the council.", 0.9, "validation"),
    ]  # fmt: skip
    assert all((tmp_path / "out" / row["audio"]).is_file() for row in rows)


@pytest.mark.parametrize("durations", [True, False])
def test_common_voice(data, build, durations, disk):
    root = data / "common_voice" / "en"
    heading = ["client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes", "age",
               "gender", "accents", "variant", "locale", "segment"]  # fmt: skip
    for part, number in (("train", 1), ("dev", 2)):
        name = f"common_voice_en_{number}.mp3"
        disk.audio(root / "clips" / name, 1.2, rate=32_000)
        # An open quotation mark, as sentences of Common Voice have it, is no quoting.
        row = ["c", name, "s", '"he said', "", "2", "0", "", "", "", "", "en", ""]
        (root / f"{part}.tsv").write_text("\t".join(heading) + "\n" + "\t".join(row) + "\n", encoding="utf-8")
    if durations:
        (root / "clip_durations.tsv").write_text(
            "clip\tduration[ms]\n" + "".join(f"common_voice_en_{number}.mp3\t1200\n" for number in (1, 2))
        )
    rows = build("common_voice_en")
    assert [(row["id"], row["text"]) for row in rows] == [
        (f"common_voice_en-common_voice_en_{number}", '"he said.') for number in (1, 2)
    ]
    assert [row["duration_sec"] for row in rows] == pytest.approx([1.2, 1.2], abs=0.1)


def _cut(name: str, **changes) -> dict:
    """As the README of LibriHeavy shows one."""
    return {
        "id": f"{name}_0", "start": 0.25, "duration": 1.5, "channel": 0,
        "supervisions": [{
            "id": f"{name}_0", "recording_id": name, "start": 0, "duration": 1.5, "channel": 0, "language": "English",
            "speaker": "100", "custom": {"texts": ["“Why do _folks_ dive?” she asked.", "WHY DO FOLKS DIVE SHE ASKED"],
                                         "pre_texts": ["x", "X"], "begin_byte": 4993, "end_byte": 5120},
        }],
        "recording": {
            "id": name, "sources": [{"type": "file", "channels": [0], "source": f"download/librilight/{name}.flac"}],
            "sampling_rate": 16000, "num_samples": 48000, "duration": 3.0, "channel_ids": [0],
        },
        "custom": {"text_path": "text.txt"}, "type": "MonoCut",
    } | changes  # fmt: skip


def test_libriheavy(data, build, rejects, disk):
    root = data / "libriheavy"
    for part in ("small", "medium", "large", "dev"):
        name = f"{part}/100/sea_fairies/01"
        disk.audio(root / "download" / "librilight" / f"{name}.flac", 3.0)
        broken = [_cut(f"{part}/mixed", type="MixedCut", tracks=[]), '{"id": '] if part == "small" else []
        disk.jsonl(root / "manifests" / f"libriheavy_cuts_{part}.jsonl.gz", [_cut(name), *broken])
    rows = build("libriheavy")
    assert [(row["offset_sec"], row["duration_sec"], row["text"]) for row in rows] == [
        (0.25, 1.5, '"Why do folks dive?" she asked.')
    ] * 4
    assert rows[0]["audio"] == str(root / "download/librilight/small/100/sea_fairies/01.flac")
    mixed, line = rejects("libriheavy")
    assert mixed["where"].endswith("libriheavy_cuts_small.jsonl.gz:2") and "MixedCut" in mixed["reason"]
    assert line["where"].endswith(":3") and "not JSON" in line["reason"]


def test_audioset(data, build, rejects, disk):
    root = data / "audioset"
    for part, folder in (("balanced", "bal_train"), ("unbalanced", "unbal_train")):
        (root / f"{part}_train_segments.csv").parent.mkdir(exist_ok=True)
        (root / f"{part}_train_segments.csv").write_text(
            "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=22160, num_segs=22160\n"
            "# YTID, start_seconds, end_seconds, positive_labels\n"
            f'-{part}, 30.000, 40.000, "/m/09x0r,/t/dd00088"\n'
            f'bad{part}, 0.000, 10.000, "/m/nowhere"\n'
        )
        disk.audio(root / "audio" / folder / f"-{part}.flac")
    disk.csv(root / "class_labels_indices.csv", [
        ("index", "mid", "display_name"), (0, "/m/09x0r", "Speech"), (451, "/t/dd00088", "Gush"),
    ])  # fmt: skip
    rows = build("audioset")
    assert [row["id"] for row in rows] == ["audioset--balanced_30.000", "audioset--unbalanced_30.000"]
    assert all("speech and gush" in row["text"].lower() and row["text"].endswith(".") for row in rows)
    reasons = {reject["reason"] for reject in rejects("audioset")}
    assert reasons == {"the label '/m/nowhere' is in no table of names"}
    assert rejects("audioset")[0]["where"].endswith("balanced_train_segments.csv:5")


def test_audiocaps(data, build, disk):
    root = data / "audiocaps"
    heading = ("audiocap_id", "youtube_id", "start_time", "caption")
    disk.csv(root / "train.csv", [heading, (91139, "r1nicOVtvkQ", 130, "A woman talks nearby as water pours")])
    disk.csv(
        root / "val.csv", [heading, (97151, "vfY_TJq7n_U", 130, "Rustling occurs"), (97152, "vfY_TJq7n_U", 130, "x")]
    )
    disk.audio(root / "audio" / "r1nicOVtvkQ_130.wav")
    disk.audio(root / "audio" / "vfY_TJq7n_U_130.flac")
    assert _texts(build("audiocaps")) == {
        "audiocaps-91139": "A woman talks nearby as water pours.",
        "audiocaps-97151": "Rustling occurs.",
        "audiocaps-97152": "X.",
    }


def test_clotho_has_a_clip_for_each_of_five_captions(data, build, disk):
    root = data / "clotho"
    for part in ("development", "validation"):
        disk.audio(root / part / "Distorted AM Radio noise.wav", rate=44_100)
        disk.csv(root / f"clotho_captions_{part}.csv", [
            ("file_name", *(f"caption_{number}" for number in range(1, 6))),
            ("Distorted AM Radio noise.wav", *(f"a machine hums, {number}" for number in range(1, 6))),
        ])  # fmt: skip
    rows = build("clotho", splits=["train"])
    assert _texts(rows) == {
        f"clotho-development-Distorted AM Radio noise-{number}": f"A machine hums, {number}." for number in range(1, 6)
    }
    assert len({row["audio"] for row in rows}) == 1


def test_wavcaps(data, build, rejects, disk):
    root = data / "wavcaps"
    names = {"FreeSound": "fsd", "BBC_Sound_Effects": "bbc", "SoundBible": "sb", "AudioSet_SL": "as"}
    for part, short in names.items():
        key = "Yb0RFKhbpFJA.wav" if part == "AudioSet_SL" else "2219"
        disk.audio(root / "audio" / part / f"{key.removesuffix('.wav')}.flac")
        path = root / "json_files" / part / f"{short}_final.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"num_captions_per_audio": 1, "data": [
            {"title": "t", "description": "d", "caption": "An airplane is landing.", "id": key, "duration": 1.0},
            {"caption": "Long.", "id": "7", "duration": 115.0},
        ]}))  # fmt: skip
        disk.audio(root / "audio" / part / "7.flac")
    rows = build("wavcaps")
    assert [row["id"] for row in rows] == [
        "wavcaps-FreeSound-2219", "wavcaps-BBC_Sound_Effects-2219", "wavcaps-SoundBible-2219",
        "wavcaps-AudioSet_SL-Yb0RFKhbpFJA",
    ]  # fmt: skip
    assert len(rejects("wavcaps")) == 4 and "30 s" in rejects("wavcaps")[0]["reason"]


@pytest.mark.parametrize("with_licences", [True, False])
def test_fsd50k(data, build, with_licences, disk):
    root = data / "fsd50k"
    disk.csv(root / "FSD50K.ground_truth" / "dev.csv", [
        ("fname", "labels", "mids", "split"),
        (64760, "Electric_guitar,Guitar,Plucked_string_instrument,Musical_instrument,Music", "/m/1", "train"),
        (16399, "Male_speech_and_man_speaking,Speech,Human_voice", "/m/2", "val"),
    ])  # fmt: skip
    for name in ("64760", "16399"):
        disk.audio(root / "FSD50K.dev_audio" / f"{name}.wav", rate=44_100)
    if with_licences:
        path = root / "FSD50K.metadata" / "dev_clips_info_FSD50K.json"
        path.parent.mkdir()
        path.write_text(json.dumps({"64760": {"license": "CC0", "title": "x"}}))
    train, validation = build("fsd50k")
    assert (train["split"], validation["split"]) == ("train", "validation")
    assert "electric guitar, guitar and plucked string instrument" in train["text"].lower()
    assert "speech" in validation["text"].lower() and "_" not in validation["text"]
    assert train["license"] == ("CC0" if with_licences else validation["license"])


def test_nsynth(data, build, disk):
    note = {"note": 1, "note_str": "bass_synthetic_068-049-025", "instrument_str": "bass_synthetic_068", "pitch": 49,
            "velocity": 25, "sample_rate": 16000, "instrument_family_str": "bass", "qualities": [0, 1],
            "instrument_source_str": "synthetic", "qualities_str": ["dark"]}  # fmt: skip
    for first, part in ((0, "train"), (100, "valid")):
        root = data / "nsynth" / f"nsynth-{part}"
        names = {f"bass_synthetic_{index:03d}-049-025": note | {"qualities_str": ["dark"] if index % 2 else []}
                 for index in range(first, first + 40)}  # fmt: skip
        root.mkdir(parents=True)
        (root / "examples.json").write_text(json.dumps(names))
        for name in names:
            disk.audio(root / "audio" / f"{name}.wav", 0.5)
    rows = build("nsynth")
    assert len(rows) == 80 and all("C sharp 3" in row["text"] and "bass" in row["text"] for row in rows)
    assert len({row["text"] for row in rows}) > 15
    assert not any(re.search(r"[{}_]|\ba [aeiou]", row["text"]) for row in rows)


def test_musiccaps_leaves_out_the_evaluation_part(data, build, disk):
    root = data / "musiccaps"
    heading = ("ytid", "start_s", "end_s", "audioset_positive_labels", "aspect_list", "caption", "author_id",
               "is_balanced_subset", "is_audioset_eval")  # fmt: skip
    rows = [
        (f"-{name}", 30, 40, "/m/0140xf,/m/02cjck", "['pop', 'tinny']", "The low quality recording,\nwith a ballad", 4,
         False, evaluation)
        for name, evaluation in (("a", True), ("b", False))
    ]  # fmt: skip
    disk.csv(root / "musiccaps-public.csv", [heading, *rows])
    for name in ("-a", "-b"):
        disk.audio(root / "audio" / f"{name}.wav")
    assert _texts(build("musiccaps")) == {"musiccaps--b": "The low quality recording, with a ballad."}


def test_musicbench(data, build, disk):
    root = data / "musicbench"
    disk.jsonl(root / "MusicBench_train.json", [
        {"dataset": "MusicBench", "location": "data_aug2/-0SdAVK79lg_1.wav", "main_caption": "this mellow instrumental",
         "alt_caption": "x", "beats": [[0.1, 0.5], [1, 2]], "bpm": 120.0, "key": ["F", "minor"]},
    ])  # fmt: skip
    disk.audio(root / "datashare" / "data_aug2" / "-0SdAVK79lg_1.wav")
    assert _texts(build("musicbench")) == {"musicbench-data_aug2/-0SdAVK79lg_1": "This mellow instrumental."}


def test_lp_musiccaps(data, build, disk):
    root = data / "lp_musiccaps"
    for part in ("train", "valid"):
        (root / "data").mkdir(parents=True, exist_ok=True)
        table = pa.table({"track_id": ["2"], "path": [f"f/{part}.mp3"], "tag": [["guitar"]],
                          "caption_writing": ["A tune"], "caption_summary": [None],
                          "caption_paraphrase": ['"A guitar tune."']})  # fmt: skip
        pq.write_table(table, root / "data" / f"{part}-00000-of-00001-28dbf9154d6d526d.parquet")
        disk.audio(root / "mp3" / "f" / f"{part}.mp3", rate=16_000)
    rows = build("lp_musiccaps", splits=["train"])
    assert _texts(rows) == {"lp_musiccaps-2-1": "A tune.", "lp_musiccaps-2-3": "A guitar tune."}


def test_fma(data, build, rejects, disk):
    root = data / "fma"
    disk.csv(root / "fma_metadata" / "tracks.csv", [
        ("", "album", "set", "set", "track", "track"),
        ("", "title", "split", "subset", "genre_top", "license"),
        ("track_id", "", "", "", "", ""),
        (2, "AWOL", "training", "medium", "Hip-Hop", "Attribution"),
        (139, "B", "training", "large", "", "Attribution"),
        (10, "C", "training", "small", "Pop", "Attribution"),
        (141, "D", "validation", "large", "Folk", ""),
    ])  # fmt: skip
    for track in (2, 139, 10, 141):
        disk.audio(root / "fma_large" / "000" / f"{track:06d}.mp3", 31.0 if track == 2 else 1.0, rate=32_000)
    train, validation = build("fma")
    assert (train["id"], train["license"], train["duration_sec"]) == ("fma-000002", "Attribution", 30.0)
    assert "hip-hop" in train["text"].lower()
    assert (validation["id"], validation["split"]) == ("fma-000141", "validation")
    assert "artists' own" in validation["license"]
    assert [reject["id"] for reject in rejects("fma")] == ["fma-000139"]
