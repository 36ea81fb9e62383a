"""Our shards in the hands of others: webdataset's own reader, Hugging Face datasets, tarfile; and theirs in ours."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import soundfile

from whisper_aut.config import DataConfig
from whisper_aut.data.audio import read_waveform
from whisper_aut.data.corpus import load_corpus
from whisper_aut.data.loader import validation_batches
from whisper_aut.data.manifest import load_manifest
from whisper_aut.data.pack import PackSettings, pack_manifests
from whisper_aut.data.shard_index import IndexDefaults, index_shards
from whisper_aut.errors import ManifestError

IDS = ["plain", "with.two.dots", "folder/name.wav", "übung", "x" * 150, "__meta__", "CAPITAL"]


@pytest.fixture
def packed(write_manifest, tmp_path):
    """A folder of several shards, and the manifest that it was made of."""
    rows = [
        {"id": f"{clip_id}{number}", "audio": f"audio/{number}-{index}.wav", "text": f"Said {index}.", "n": number}
        for number in range(4)
        for index, clip_id in enumerate(IDS)
    ]
    manifest = write_manifest("clips.jsonl", rows)
    pack_manifests([manifest], tmp_path / "out", PackSettings("flac", 0.1), num_workers=0)
    assert len(list((tmp_path / "out").glob("*.tar"))) > 2
    return tmp_path / "out", manifest


def _samples(data: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(data), dtype="float32")[0]


def test_webdataset_reads_our_shards(packed):
    webdataset = pytest.importorskip("webdataset")
    folder, before = packed
    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    manifest = load_manifest(before)
    assert len(samples) == len(manifest)
    for row, sample in enumerate(samples):
        clip, told = manifest.clip(row), json.loads(sample["json"])
        assert told["id"] == clip.id and sample["txt"].decode() == clip.text and told["n"] == row // len(IDS)
        np.testing.assert_allclose(_samples(sample["flac"]), read_waveform(manifest.audio_source(row)), atol=1 / 32_768)


def test_datasets_reads_our_shards(packed):
    pytest.importorskip("torchcodec", exc_type=(ImportError, RuntimeError))  # datasets needs it to hold audio at all
    datasets = pytest.importorskip("datasets")
    folder, before = packed
    files = [str(path) for path in sorted(folder.glob("*.tar"))]
    loaded = datasets.load_dataset("webdataset", data_files=files, split="train", cache_dir=str(folder / "cache"))
    manifest = load_manifest(before)
    loaded = loaded.cast_column("flac", datasets.Audio(decode=False))
    assert len(loaded) == len(manifest)
    for row, sample in enumerate(loaded):
        assert sample["json"]["id"] == manifest.clip(row).id and sample["txt"] == manifest.clip(row).text
        assert len(_samples(sample["flac"]["bytes"])) == 16_000


def test_datasets_streams_our_shards(packed):
    """Through its WebDataset builder alone: to hold what that reads, it would ask for torchcodec."""
    datasets = pytest.importorskip("datasets")
    folder, before = packed
    from datasets.packaged_modules.webdataset.webdataset import WebDataset

    manager = datasets.StreamingDownloadManager()
    samples = [
        sample
        for shard in map(str, sorted(folder.glob("*.tar")))
        for sample in WebDataset._get_pipeline_from_tar(shard, manager.iter_archive(shard))
    ]
    manifest = load_manifest(before)
    assert [sample["json"]["id"] for sample in samples] == [manifest.clip(row).id for row in range(len(manifest))]
    assert all(len(_samples(sample["flac"])) == 16_000 for sample in samples)


def test_a_recipe_trains_from_shards_as_from_files(packed, text_encoder, tmp_path):
    folder, before = packed
    batches = {}
    for root, name in ((before.parent, before.name), (folder, "manifest.parquet")):
        mixture = {"speech": {"weight": 1.0, "manifests": [name]}}
        pools = load_corpus(DataConfig(root=root, mixture=mixture, holdout_clips=0), 0, text_encoder).train
        batches[name] = [
            list(validation_batches(pools["speech"], "speech", text_encoder, 8, num_workers=n)) for n in (0, 2)
        ]
    for ours, theirs in zip(*batches.values(), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.ids == other.ids and not one.quarantined and not other.quarantined
            np.testing.assert_allclose(one.waveforms.numpy(), other.waveforms.numpy(), atol=1 / 32_768)
            assert one.labels.tolist() == other.labels.tolist()


def test_a_clip_whose_shard_is_damaged_is_quarantined(packed, text_encoder):
    folder, _ = packed
    os.truncate(folder / "shard-000001.tar", 20_000)
    data = DataConfig(
        root=folder, mixture={"speech": {"weight": 1.0, "manifests": ["manifest.parquet"]}}, holdout_clips=0
    )
    pool = load_corpus(data, 0, text_encoder).train["speech"]
    found = list(validation_batches(pool, "speech", text_encoder, 8))
    lost = [entry for batch in found for entry in batch.quarantined]
    assert lost and all("the shard at 20000" in entry.reason for entry in lost)
    assert sum(len(batch.ids) for batch in found) + len(lost) == len(pool)


DEFAULTS = IndexDefaults("environment")


def test_an_index_of_our_own_shards_says_what_their_manifest_says(packed):
    folder, _ = packed
    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    summary = index_shards(shards, folder / "again.parquet", IndexDefaults("speech"))
    ours, again = load_manifest(folder / "manifest.parquet"), load_manifest(folder / "again.parquet")
    assert summary["rejected"] == 0
    assert [again.clip(row) for row in range(len(again))] == [ours.clip(row) for row in range(len(ours))]


def _foreign(path, entries, *, mode="w", tar_format=tarfile.GNU_FORMAT):
    with tarfile.open(path, mode, format=tar_format) as tar:
        for name, data in entries:
            info = tarfile.TarInfo(name) if not isinstance(name, tarfile.TarInfo) else name
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _ogg(rate=44_100) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.1 * np.random.default_rng(0).normal(size=(rate, 2)), rate, format="OGG", subtype="VORBIS")
    return buffer.getvalue()


def test_shards_that_webdataset_wrote_are_indexed_and_read(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    path = tmp_path / "w" / "theirs.tar"
    path.parent.mkdir()
    with webdataset.TarWriter(str(path)) as writer:
        for number in range(3):
            told = {"caption": f"A sound, {number}.", "license": "CC0-1.0"}
            writer.write({"__key__": f"folder/{number:06d}", "ogg": _ogg(), "json": told})
    summary = index_shards([str(path)], tmp_path / "index.jsonl", IndexDefaults("environment", text_field="caption"))
    assert summary["clips"] == 3 and summary["rejected"] == 0
    manifest = load_manifest(tmp_path / "index.jsonl")
    clip = manifest.clip(1)
    assert clip.id == "theirs/folder/000001" and clip.text == "A sound, 1." and clip.license == "CC0-1.0"
    assert clip.audio.startswith("w/theirs.tar#") and clip.duration_sec == 1.0 and clip.source == "theirs"
    assert len(read_waveform(manifest.audio_source(1), duration_sec=1.0)) == 16_000


def test_an_index_extracts_nothing_and_leaves_out_what_is_hostile(tmp_path):
    link = tarfile.TarInfo("link.ogg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    path = tmp_path / "hostile.tar"
    _foreign(
        path,
        [
            (link, b""), ("link.txt", b"A link."), ("/abs/a.ogg", _ogg()), ("/abs/a.txt", b"Absolute."),
            ("../up.ogg", _ogg()), ("../up.txt", b"Up."), ("good.ogg", _ogg()), ("good.txt", b"Good."),
            ("silent.txt", b"No audio."), ("dumb.ogg", _ogg()), ("bad.ogg", b"no audio"), ("bad.txt", b"Bad."),
            ("two.left.ogg", _ogg()), ("two.right.ogg", _ogg()), ("two.txt", b"Two."), ("y" * 200 + ".ogg", _ogg()),
            ("y" * 200 + ".json", json.dumps({"text": "Long name.", "id": 7}).encode()), (".hidden", b"x"),
            ("broken.ogg", _ogg()), ("broken.json", b"{" * 5000),
        ],
    )  # fmt: skip
    before = {path.name for path in tmp_path.iterdir()}
    summary = index_shards([str(path)], tmp_path / "index.jsonl", DEFAULTS)
    assert {path.name for path in tmp_path.iterdir()} - before == {"index.jsonl", "index.jsonl.rejects.jsonl"}
    manifest = load_manifest(tmp_path / "index.jsonl")
    ids = [manifest.clip(row).id for row in range(len(manifest))]
    assert ids == ["hostile/good", "hostile/two/left.ogg", "hostile/two/right.ogg", "hostile/" + "y" * 200]
    rejects = {}
    for line in (tmp_path / "index.jsonl.rejects.jsonl").open():
        entry = json.loads(line)
        rejects[entry["id"]] = entry["reason"]
    assert len(rejects) == summary["rejected"] == 10
    assert "symbolic link" in rejects["link.ogg"] and "leads out" in rejects["/abs/a.ogg"]
    assert "leads out" in rejects["../up.ogg"] and "no audio" in rejects["silent"]
    assert "no text" in rejects["hostile/dumb"] and "not readable" in rejects["hostile/bad"]
    assert "no JSON" in rejects["hostile/broken"]


def _rejects(path, entries, defaults=DEFAULTS):
    """Ids that were kept, and reasons by id."""
    _foreign(path, [*entries, ("good.ogg", _ogg()), ("good.txt", b"Good.")])
    out = path.with_suffix(".jsonl")
    index_shards([str(path)], out, defaults)
    manifest = load_manifest(out)
    rejects = out.with_name(f"{out.name}.rejects.jsonl")
    told = [json.loads(line) for line in rejects.open()] if rejects.exists() else []
    return [manifest.clip(row) for row in range(len(manifest))], {entry["id"]: entry["reason"] for entry in told}


@pytest.mark.parametrize(
    ("entries", "clip_id", "reason"),
    [
        ([("a.ogg", _ogg(8000)), ("a.ogg", _ogg()), ("a.txt", b"A.")], "a", "two members .ogg"),
        ([("a.ogg", _ogg()), ("a.txt", b"A."), ("a.txt", b"B.")], "a", "two members .txt"),
        ([("b.ogg", _ogg()), ("b.json", b'{"text": "B.", "id": "s/good"}')], "s/good", "is the id of"),
        ([("a.ogg", _ogg()), ("a.txt", "Übung".encode("latin-1"))], "s/a", "not UTF-8"),
        ([("a.ogg", _ogg()), ("a.txt", b"A" * (2**20 + 1))], "s/a", "bytes; at most"),
        ([("a.ogg", _ogg()), ("a.json", b'{"text": "' + b"A" * 2**20 + b'"}')], "s/a", "bytes; at most"),
        ([("a.ogg", _ogg()), ("a.json", b"[1]")], "s/a", "no object but list"),
        ([("a.ogg", _ogg()), ("a.json", b"[" * 100_000)], "s/a", "no JSON"),
        ([("a.ogg", _ogg()), ("a.json", b'{"text": "A.", "language": "klingon"}')], "s/a", "no language"),
    ],
)
def test_an_index_leaves_out_what_is_double_or_no_text(tmp_path, entries, clip_id, reason):
    clips, rejects = _rejects(tmp_path / "s.tar", entries)
    assert len(clips) == 1 and reason in rejects[clip_id]


def test_one_audio_in_two_formats_is_one_clip(tmp_path):
    clips, rejects = _rejects(tmp_path / "s.tar", [("a.ogg", _ogg()), ("a.oga", _ogg()), ("a.txt", b"A.")])
    assert [clip.id for clip in clips] == ["s/a", "s/good"] and "another format" in rejects["a.oga"]


def test_an_index_has_plain_texts(tmp_path):
    clips, _ = _rejects(
        tmp_path / "s.tar",
        [("a.ogg", _ogg()), ("a.txt", b"\xef\xbb\xbfOne\0\r\ntwo.\r\n"),
         ("b.ogg", _ogg()), ("b.json", b'{"text": "B\\u0000.", "id": "x\\ud800y", "source": "a\\nb"}')],
    )  # fmt: skip
    assert [clip.text for clip in clips[:2]] == ["One two.", "B."]
    assert clips[1].id == "xy" and clips[1].source == "a b"


def test_an_index_refuses_a_shard_twice_an_unknown_language_and_another_ending(tmp_path):
    _foreign(tmp_path / "s.tar", [("a.ogg", _ogg()), ("a.txt", b"A.")])
    (tmp_path / "link.tar").symlink_to(tmp_path / "s.tar")
    out = tmp_path / "i.jsonl"
    for other in ("s.tar", "link.tar"):
        with pytest.raises(ManifestError, match="given twice"):
            index_shards([str(tmp_path / "s.tar"), str(tmp_path / other)], out, DEFAULTS)
    with pytest.raises(ManifestError, match="given twice"):
        index_shards(["memory://i/a.tar"] * 2, out, DEFAULTS)
    with pytest.raises(ManifestError, match="'klingon' is no language"):
        index_shards([str(tmp_path / "s.tar")], out, IndexDefaults("speech", language="klingon"))
    with pytest.raises(ManifestError, match="ends in"):
        index_shards([str(tmp_path / "none.tar")], tmp_path / "i.csv", DEFAULTS)
    with pytest.raises(ManifestError, match="a file is where a folder is wanted"):
        index_shards([str(tmp_path / "s.tar")], tmp_path / "s.tar" / "i.jsonl", DEFAULTS)


def test_an_index_of_nothing_says_what_to_look_at(tmp_path):
    (tmp_path / "zeros.tar").write_bytes(bytes(10_240))
    with pytest.raises(ManifestError, match="no files in samples") as raised:
        index_shards([str(tmp_path / "zeros.tar")], tmp_path / "i.jsonl", DEFAULTS)
    assert "--text-field" not in str(raised.value)
    _foreign(tmp_path / "s.tar", [("a.ogg", _ogg()), ("a.json", b'{"caption": "A."}')])
    with pytest.raises(ManifestError, match="check --text-field"):
        index_shards([str(tmp_path / "s.tar")], tmp_path / "i.jsonl", DEFAULTS)


def test_a_cut_off_shard_is_named(tmp_path):
    _foreign(tmp_path / "cut.tar", [("a.ogg", _ogg()), ("a.txt", b"A.")])
    os.truncate(tmp_path / "cut.tar", 3000)
    command = [sys.executable, "-P", "-m", "whisper_aut", "manifest", "index", str(tmp_path / "cut.tar")]
    command += ["--out", str(tmp_path / "i.jsonl"), "--domain", "music"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "cut.tar" in done.stderr and "cut off" in done.stderr
    assert not (tmp_path / "i.jsonl").exists()
    with pytest.raises(ManifestError, match=r"does not end in \.tar"):
        _foreign(tmp_path / "a.tgz", [("a.ogg", _ogg())], mode="w:gz")
        index_shards([str(tmp_path / "a.tgz")], tmp_path / "i.jsonl", DEFAULTS)
    with pytest.raises(ManifestError, match="cannot be read"):
        index_shards([str(tmp_path / "none.tar")], tmp_path / "i.jsonl", DEFAULTS)


def test_shards_behind_a_url_are_indexed(tmp_path):
    import fsspec

    _foreign(tmp_path / "a.tar", [("a.ogg", _ogg()), ("a.txt", b"A.")])
    fsspec.filesystem("memory").pipe_file("/index/a.tar", (tmp_path / "a.tar").read_bytes())
    index_shards(["memory://index/a.tar"], tmp_path / "index.jsonl", DEFAULTS)
    manifest = load_manifest(tmp_path / "index.jsonl")
    assert manifest.clip(0).audio.startswith("memory://index/a.tar#")
    assert len(read_waveform(manifest.audio_source(0))) == 16_000


def test_members_that_do_not_stand_side_by_side_are_said_to_be_so(tmp_path):
    names = ("u1", "u2", "u3")
    entries = [(f"{name}.ogg", _ogg()) for name in names] + [(f"{name}.json", b'{"text": "A."}') for name in names]
    _foreign(tmp_path / "s.tar", entries)
    with pytest.raises(ManifestError, match=r"do not stand side by side[\s\S]*--sort=name"):
        index_shards([str(tmp_path / "s.tar")], tmp_path / "i.jsonl", DEFAULTS)
    clips, rejects = _rejects(tmp_path / "t.tar", entries)
    assert [clip.id for clip in clips] == ["t/good"]
    assert set(rejects) == set(names) and all("'u" in reason and "2 times" in reason for reason in rejects.values())


def test_a_key_with_a_dot_is_said_to_end_there(tmp_path):
    entries = [
        ("spk.1_a.ogg", _ogg()),
        ("spk.1_a.json", b'{"text": "A."}'),
        ("spk.1_b.ogg", _ogg()),
        ("spk.1_b.txt", b"B."),
    ]
    _foreign(tmp_path / "s.tar", entries)
    with pytest.raises(ManifestError, match=r"key ends at its first dot[\s\S]*no dot in KEY"):
        index_shards([str(tmp_path / "s.tar")], tmp_path / "i.jsonl", DEFAULTS)
    clips, rejects = _rejects(tmp_path / "t.tar", entries)
    assert [clip.id for clip in clips] == ["t/good"] and "'spk.1_a.json'" in rejects["spk"]


def test_a_sample_with_two_tracks_and_a_text_is_two_clips(tmp_path):
    clips, rejects = _rejects(tmp_path / "s.tar", [("a.left.ogg", _ogg()), ("a.right.ogg", _ogg()), ("a.txt", b"A.")])
    assert [clip.id for clip in clips] == ["s/a/left.ogg", "s/a/right.ogg", "s/good"] and not rejects


@pytest.mark.parametrize("told", [b'{"language": "de", "language": "en"}', b"{", b"\xff"])
def test_a_sample_whose_json_is_in_doubt_is_rejected_for_all_its_text(tmp_path, told):
    clips, rejects = _rejects(tmp_path / "s.tar", [("a.ogg", _ogg()), ("a.txt", b"A."), ("a.json", told)])
    assert [clip.id for clip in clips] == ["s/good"] and "the .json is no JSON" in rejects["s/a"]
