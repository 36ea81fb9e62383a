from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from whisper_aut.probe.embed import Embeddings
from whisper_aut.probe.heads import C_GRID, fit_predict_linear
from whisper_aut.probe.protocols import PROTOCOLS, TaskArrays
from whisper_aut.probe.statistics import bootstrap_interval


def make_arrays(num_clips: int = 400, num_classes: int = 4, seed: int = 0) -> TaskArrays:
    rng = np.random.default_rng(seed)
    groups = np.arange(num_clips) // 2
    return TaskArrays(rng.integers(0, num_classes, num_clips), groups % 5, groups, num_classes)


@pytest.mark.parametrize("name", ["paper", "strict"])
def test_a_planted_feature_is_found_perfectly(name):
    arrays = make_arrays()
    features = np.random.default_rng(1).normal(scale=0.2, size=(400, 24)).astype(np.float32)
    features[np.arange(400), arrays.class_ids] += 3.0
    found = PROTOCOLS[name].predict(Embeddings(features, features), arrays, 0)
    assert np.array_equal(found.class_ids, arrays.class_ids)
    assert found.notes == ()


@pytest.mark.parametrize("name", ["paper", "strict"])
def test_labels_without_a_pattern_give_chance(name):
    arrays = make_arrays()
    features = np.random.default_rng(2).normal(size=(400, 24)).astype(np.float32)
    found = PROTOCOLS[name].predict(Embeddings(features, features), arrays, 0)
    low, high = bootstrap_interval(found.class_ids == arrays.class_ids, arrays.groups, seed=0)
    assert low <= 25.0 <= high


@pytest.mark.parametrize(("name", "pooled"), [("paper", "all_positions"), ("strict", "real_positions")])
def test_each_protocol_reads_its_own_pooling(name, pooled):
    arrays = make_arrays()
    rng = np.random.default_rng(3)
    good = rng.normal(scale=0.2, size=(400, 24)).astype(np.float32)
    good[np.arange(400), arrays.class_ids] += 3.0
    bad = rng.normal(size=(400, 24)).astype(np.float32)
    embeddings = Embeddings(**{"all_positions": bad, "real_positions": bad, pooled: good})
    found = PROTOCOLS[name].predict(embeddings, arrays, 0)
    assert np.array_equal(found.class_ids, arrays.class_ids)


def test_where_recordings_cannot_be_grouped_the_rules_say_so():
    arrays = make_arrays()
    one_recording_a_fold = TaskArrays(arrays.class_ids, arrays.groups % 2, arrays.groups % 2, 4)
    features = np.random.default_rng(1).normal(size=(400, 8)).astype(np.float32)
    found = PROTOCOLS["strict"].predict(Embeddings(features, features), one_recording_a_fold, 0)
    assert len(found.notes) == 1 and "by clip" in found.notes[0] and "0, 1" in found.notes[0]


def test_rules_state_what_the_protocols_do():
    assert "every fold is the test once" in PROTOCOLS["paper"].rules
    assert "not standardised" in PROTOCOLS["paper"].rules
    assert "grouped by recording" in PROTOCOLS["strict"].rules
    assert PROTOCOLS["paper"].contexts == ("full",)
    assert set(PROTOCOLS["strict"].contexts) == {"full", "trimmed"}


@pytest.fixture
def fixed() -> tuple[Embeddings, TaskArrays]:
    """Overlapping classes in parts of 200, 100 and 100 clips; two poolings that differ."""
    arrays = make_arrays()
    rng = np.random.default_rng(5)
    features = rng.normal(size=(400, 24)).astype(np.float32)
    features[np.arange(400), arrays.class_ids] += 1.5
    parts = np.repeat(["train", "valid", "test"], [200, 100, 100])
    return Embeddings(features, features[:, ::-1].copy()), replace(arrays, folds=parts, groups=np.arange(400))


def test_strict_chooses_on_the_validation_part_and_refits_on_both(fixed):
    embeddings, arrays = fixed
    features, classes = embeddings.real_positions.astype(np.float64), arrays.class_ids

    def head(c: float, rows: slice) -> Pipeline:
        return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)).fit(
            features[rows], classes[rows]
        )

    train, valid, both = slice(0, 200), slice(200, 300), slice(0, 300)
    losses = [log_loss(classes[valid], head(c, train).predict_proba(features[valid])) for c in C_GRID]
    expected = head(C_GRID[int(np.argmin(losses))], both).predict(features[300:])
    found = PROTOCOLS["strict"].predict(embeddings, arrays, 0)
    assert np.array_equal(found.class_ids[300:], expected)
    assert set(found.class_ids[:300]) == {-1} and found.notes == ()


def test_the_paper_protocol_trains_on_train_and_validation(fixed):
    embeddings, arrays = fixed
    features, classes = embeddings.all_positions, arrays.class_ids
    expected = fit_predict_linear(features[:300], classes[:300], features[300:], num_classes=4, seed=3)
    found = PROTOCOLS["paper"].predict(embeddings, arrays, 3)
    assert np.array_equal(found.class_ids[300:], expected)


@pytest.mark.parametrize("name", ["paper", "strict"])
def test_what_the_test_part_holds_changes_no_head(fixed, name):
    embeddings, arrays = fixed
    one = PROTOCOLS[name].predict(embeddings, arrays, 0).class_ids[300:]
    shuffled = arrays.class_ids.copy()
    shuffled[300:] = np.random.default_rng(0).permutation(shuffled[300:])
    assert np.array_equal(
        PROTOCOLS[name].predict(embeddings, replace(arrays, class_ids=shuffled), 0).class_ids[300:], one
    )


@pytest.mark.parametrize("name", ["paper", "strict"])
def test_validation_clips_of_tested_groups_train_no_head(fixed, name):
    embeddings, arrays = fixed
    groups = arrays.groups.copy()
    groups[200:250] = groups[300:350]  # half of the validation clips share their group with the test
    found = PROTOCOLS[name].predict(embeddings, replace(arrays, groups=groups), 0)
    assert "50 validation clips share" in found.notes[0]
    if name == "paper":
        rows = np.r_[0:200, 250:300]
        features = embeddings.all_positions
        expected = fit_predict_linear(features[rows], arrays.class_ids[rows], features[300:], num_classes=4, seed=0)
        assert np.array_equal(found.class_ids[300:], expected)


def test_the_rules_follow_the_kind_of_task(fixed):
    _, arrays = fixed
    strict = PROTOCOLS["strict"]
    assert "official validation part" in strict.rules_for(arrays)
    assert strict.rules_for(make_arrays()) == strict.rules
    several = replace(arrays, label_matrix=np.zeros((400, 4), dtype=bool))
    assert strict.rules_for(several).endswith("one logistic regression a class, one C for all")
