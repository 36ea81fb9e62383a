import numpy as np
import pytest

from whisper_aut.probe.embed import Embeddings
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
