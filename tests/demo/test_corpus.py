import hashlib
import json
from collections import Counter

import pytest
import soundfile

pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")

from whisper_aut.data.manifest import load_manifest
from whisper_aut.demo.corpus import NUM_FOLDS, PROBE_CLASSES, build_corpus
from whisper_aut.errors import RecipeError

NUM_CLIPS = {"speech": 5, "environment": 6, "music": 4}
NUM_PROBE = {"demo_sounds": 6, "demo_music": 4, "demo_words": 14}


def digests(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("one")
    return build_corpus(out_dir, seed=7, num_clips=NUM_CLIPS, num_probe_clips=NUM_PROBE, num_workers=1)


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_one_and_two_processes_make_the_same_bytes(corpus, tmp_path):
    build_corpus(tmp_path, seed=7, num_clips=NUM_CLIPS, num_probe_clips=NUM_PROBE, num_workers=2)
    assert digests(tmp_path) == digests(corpus.root)


def test_a_clip_does_not_depend_on_how_many_there_are(corpus, tmp_path):
    build_corpus(tmp_path, seed=7, num_clips={"music": 2}, num_probe_clips={"demo_words": 13}, num_workers=1)
    whole = digests(corpus.root)
    part = {name: value for name, value in digests(tmp_path).items() if name.endswith(".wav")}
    assert len(part) == 15 and part.items() <= whole.items()


def test_another_seed_makes_other_clips(corpus, tmp_path):
    build_corpus(tmp_path, seed=8, num_clips=NUM_CLIPS, num_probe_clips={}, num_workers=1)
    assert not set(digests(tmp_path).values()) & set(digests(corpus.root).values())


def test_the_training_manifests_load_and_state_what_the_files_hold(corpus):
    assert set(corpus.train) == set(NUM_CLIPS)
    for domain, path in corpus.train.items():
        manifest = load_manifest(path)
        assert len(manifest) == NUM_CLIPS[domain]
        for row in range(len(manifest)):
            clip, info = manifest.clip(row), soundfile.info(manifest.audio_source(row))
            assert (clip.domain, clip.license, clip.language) == (domain, "generated", "en")
            assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
            assert clip.duration_sec == pytest.approx(info.frames / 16000)
            assert 1.0 <= clip.duration_sec <= 6.01 and len(clip.text) > 5 and clip.text.endswith((".", "!", "?"))


def test_probing_rows_are_balanced_over_classes_and_carry_folds(corpus, tmp_path):
    for task, folder in corpus.probe.items():
        rows = rows_of(folder / "clips.jsonl")
        assert len(rows) == NUM_PROBE[task]
        for row in rows:
            assert row["label"] in PROBE_CLASSES[task] and 1 <= row["fold"] <= NUM_FOLDS
            assert row["license"] == "generated" and (folder / row["audio"]).is_file()
    words = 2 * NUM_FOLDS * len(PROBE_CLASSES["demo_words"])
    paths = build_corpus(tmp_path, seed=0, num_clips={}, num_probe_clips={"demo_words": words}, num_workers=1)
    rows = rows_of(paths.probe["demo_words"] / "clips.jsonl")
    assert set(Counter((row["label"], row["fold"]) for row in rows).values()) == {2}
    folds_of_voice = {}
    for row in rows:
        folds_of_voice.setdefault(row["group"], set()).add(row["fold"])
    assert len(folds_of_voice) == 10 and all(len(folds) == 1 for folds in folds_of_voice.values())


def test_a_manifest_from_before_does_not_outlive_a_failed_build(corpus, tmp_path, monkeypatch):
    build_corpus(tmp_path, seed=0, num_clips={"music": 1}, num_probe_clips={}, num_workers=1)

    def full_disk(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(soundfile, "write", full_disk)
    with pytest.raises(OSError, match="no space"):
        build_corpus(tmp_path, seed=0, num_clips={"music": 1}, num_probe_clips={}, num_workers=1)
    assert not (tmp_path / "train" / "music.jsonl").exists()


@pytest.mark.parametrize(
    ("num_clips", "message"), [({"speech": 10**6}, "repeat after"), ({"music": -1}, "-1 clips"), ({"cats": 1}, "cats")]
)
def test_impossible_counts_are_refused_before_anything_is_made(tmp_path, num_clips, message):
    with pytest.raises(RecipeError, match=message):
        build_corpus(tmp_path, seed=0, num_clips=num_clips, num_probe_clips={})
    assert not list(tmp_path.iterdir())
