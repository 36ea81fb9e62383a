"""Pools: what is held out, dropped and refused, over several manifests."""

from __future__ import annotations

import numpy as np
import pytest

from whisper_aut.config import DataConfig
from whisper_aut.data.corpus import load_corpus
from whisper_aut.errors import ManifestError


def _config(root, manifests, **settings):
    weight = 1 / len(manifests)
    mixture = {domain: {"weight": weight, "manifests": names} for domain, names in manifests.items()}
    return DataConfig(root=root, mixture=mixture, **{"holdout_clips": 0} | settings)


def _ids(pool):
    return [pool.clip(row).id for row in range(len(pool))]


@pytest.fixture
def two_sources(write_manifest, tmp_path):
    write_manifest("a.jsonl", [{"id": f"a{n}", "duration_sec": 1 + n / 8} for n in range(20)], audio=False)
    write_manifest("b.jsonl", [{"id": f"b{n}", "license": "CC0-1.0"} for n in range(30)], audio=False)
    return lambda **settings: _config(tmp_path, {"speech": ["a.jsonl", "b.jsonl"]}, **settings)


def test_rows_run_over_all_manifests_and_keep_their_place(two_sources, text_encoder, tmp_path):
    pool = load_corpus(two_sources(), 0, text_encoder).train["speech"]
    assert len(pool) == 50
    assert pool.clip(19).id == "a19" and pool.clip(20).id == "b0"
    assert pool.where(21) == f"{tmp_path / 'b.jsonl'}:2"
    assert pool.audio_source(21) == tmp_path / "audio" / "b1.wav"
    assert pool.num_samples.dtype == np.int32 and pool.num_samples[8] == 32_000
    assert pool.starts() == [0, 20, 50]


def test_held_out_clips_leave_training(two_sources, text_encoder):
    corpus = load_corpus(two_sources(holdout_clips=7), 0, text_encoder)
    train, held_out = _ids(corpus.train["speech"]), _ids(corpus.validation["speech"])
    assert len(held_out) == 7 and len(train) == 43
    assert not set(train) & set(held_out)


def test_the_holdout_depends_on_ids_and_seed_not_on_the_order_of_rows(write_manifest, tmp_path, text_encoder):
    rows = [{"id": f"clip{n}"} for n in range(40)]
    for name, ordered in (("a.jsonl", rows), ("b.jsonl", rows[::-1])):
        write_manifest(name, ordered, audio=False)
    held_out = [
        set(
            _ids(
                load_corpus(_config(tmp_path, {"speech": [n]}, holdout_clips=8), seed, text_encoder).validation[
                    "speech"
                ]
            )
        )
        for n, seed in (("a.jsonl", 0), ("b.jsonl", 0), ("a.jsonl", 1))
    ]
    assert held_out[0] == held_out[1] != held_out[2]


def test_rows_marked_validation_are_the_validation_clips_and_other_splits_are_left_out(
    write_manifest, tmp_path, text_encoder
):
    rows = [
        {"id": "t"},
        {"id": "v", "split": "validation"},
        {"id": "u", "split": "train"},
        {"id": "x", "split": "test"},
    ]
    write_manifest("a.jsonl", rows, audio=False)
    corpus = load_corpus(_config(tmp_path, {"speech": ["a.jsonl"]}, holdout_clips=2), 0, text_encoder)
    assert (_ids(corpus.train["speech"]), _ids(corpus.validation["speech"])) == (["t", "u"], ["v"])
    assert corpus.composition()["domains"]["speech"]["dropped_other_split"] == 1


def test_a_domain_with_nothing_left_to_train_on_is_refused(two_sources, text_encoder):
    with pytest.raises(ManifestError, match="50 usable") as caught:
        load_corpus(two_sources(holdout_clips=50), 0, text_encoder)
    assert "holdout_clips" in caught.value.remedy


def test_a_row_of_another_domain_is_refused(write_manifest, tmp_path, text_encoder):
    write_manifest("a.jsonl", [{}, {"domain": "music"}], audio=False)
    with pytest.raises(ManifestError, match="music in a manifest that begins with speech") as caught:
        load_corpus(_config(tmp_path, {"speech": ["a.jsonl"]}), 0, text_encoder)
    assert caught.value.where.endswith("a.jsonl:2")


def test_an_id_that_two_manifests_share_is_refused(write_manifest, tmp_path, text_encoder):
    write_manifest("a.jsonl", [{"id": "x"}, {"id": "y"}], audio=False)
    write_manifest("b.jsonl", [{"id": "z"}, {"id": "y"}], audio=False)
    with pytest.raises(ManifestError, match=r"'y' is the id of .*a\.jsonl:2 too") as caught:
        load_corpus(_config(tmp_path, {"speech": ["a.jsonl", "b.jsonl"]}), 0, text_encoder)
    assert caught.value.where.endswith("b.jsonl:2")


def test_long_audio_stops_or_is_dropped(write_manifest, tmp_path, text_encoder):
    write_manifest(
        "a.jsonl", [{}, {"duration_sec": 30.0}, {"duration_sec": 30.01}, {"duration_sec": 75.0}], audio=False
    )
    with pytest.raises(ManifestError, match=r"a-2 lasts 30\.010 s, more than 30 s; 2 of 4") as caught:
        load_corpus(_config(tmp_path, {"speech": ["a.jsonl"]}), 0, text_encoder)
    assert caught.value.where.endswith("a.jsonl:3") and "long_audio=drop" in caught.value.remedy
    corpus = load_corpus(_config(tmp_path, {"speech": ["a.jsonl"]}, long_audio="drop"), 0, text_encoder)
    assert _ids(corpus.train["speech"]) == ["a-0", "a-1"]
    assert corpus.composition()["domains"]["speech"]["dropped_long_audio"] == 2


def test_text_over_448_tokens_stops_or_is_dropped(write_manifest, tmp_path, text_encoder):
    # Two start tokens, " one" 445 times and the end token are 448; one more word is one too many.
    fitting, too_long = "one " * 445, "one " * 446
    write_manifest("a.jsonl", [{"text": fitting}, {"text": too_long}], audio=False)
    with pytest.raises(ManifestError, match="text of clip a-1: 449 tokens") as caught:
        load_corpus(_config(tmp_path, {"speech": ["a.jsonl"]}), 0, text_encoder)
    assert caught.value.where.endswith("a.jsonl:2")
    corpus = load_corpus(_config(tmp_path, {"speech": ["a.jsonl"]}, long_text="drop"), 0, text_encoder)
    assert _ids(corpus.train["speech"]) == ["a-0"]
    assert corpus.composition()["domains"]["speech"]["dropped_long_text"] == 1


def test_a_language_unknown_to_whisper_is_named_with_its_line(write_manifest, tmp_path, multilingual):
    from whisper_aut.data.captions import TextEncoder

    write_manifest("a.jsonl", [{"language": "de"}, {"language": "tlh"}], audio=False)
    with pytest.raises(ManifestError, match="no language 'tlh'") as caught:
        load_corpus(_config(tmp_path, {"speech": ["a.jsonl"]}), 0, TextEncoder(multilingual))
    assert caught.value.where.endswith("a.jsonl:2")


def test_composition_names_sources_with_their_licences(two_sources, text_encoder, write_manifest):
    corpus = load_corpus(two_sources(holdout_clips=5), 0, text_encoder)
    speech = corpus.composition()["domains"]["speech"]
    assert speech["clips"] == 45 and speech["held_out"] == 5 and speech["weight"] == 1.0
    assert [entry["name"] for entry in speech["sources"]] == ["a", "b"]
    assert speech["sources"][1]["licenses"] == ["CC0-1.0"] and speech["sources"][1]["manifest"] == "b.jsonl"
    assert sum(entry["clips"] for entry in speech["sources"]) == 45
    assert sum(entry["hours"] for entry in speech["sources"]) == pytest.approx(speech["hours"])
    before = corpus.fingerprint
    write_manifest("b.jsonl", [{"id": f"b{n}", "text": "Two."} for n in range(30)], audio=False)
    assert load_corpus(two_sources(holdout_clips=5), 0, text_encoder).fingerprint != before
