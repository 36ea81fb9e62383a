import numpy as np
import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.encoders.base import Pooling
from whisper_aut.probe.protocols import (
    DEFAULT_PROTOCOLS,
    NUM_SEEDS,
    PROTOCOL_NAMES,
    PROTOCOLS,
    TaskArrays,
    _each_seed,
    parse_layer,
    variant,
)
from whisper_aut.probe.statistics import bootstrap_interval


def make_arrays(num_clips: int = 400, num_classes: int = 4, seed: int = 0) -> TaskArrays:
    rng = np.random.default_rng(seed)
    groups = np.arange(num_clips) // 2
    return TaskArrays(rng.integers(0, num_classes, num_clips), groups % 5, groups, num_classes)


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_a_planted_feature_is_found_perfectly(name):
    num_clips = 2000 if name == "xares" else 400  # its ten epochs of small steps do not get far on fewer
    arrays = make_arrays(num_clips)
    features = np.random.default_rng(1).normal(scale=0.2, size=(num_clips, 24)).astype(np.float32)
    features[np.arange(num_clips), arrays.class_ids] += 3.0
    found = PROTOCOLS[name].predict(features, arrays, 0)
    assert (found.class_ids == arrays.class_ids).all()
    assert found.notes == ()


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_labels_without_a_pattern_give_chance(name):
    arrays = make_arrays()
    features = np.random.default_rng(2).normal(size=(400, 24)).astype(np.float32)
    found = PROTOCOLS[name].predict(features, arrays, 0)
    right = (found.class_ids == arrays.class_ids).mean(axis=0)  # of three runs, one is easily outside its own interval
    low, high = bootstrap_interval(right, arrays.groups, seed=0)
    assert low <= 25.0 <= high


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_a_seed_fixes_the_predictions(name):
    arrays = make_arrays(num_clips=120)
    features = np.random.default_rng(3).normal(size=(120, 8)).astype(np.float32)
    first, second = (PROTOCOLS[name].predict(features, arrays, 5).class_ids for _ in range(2))
    assert np.array_equal(first, second)


def test_every_fold_of_xares_begins_elsewhere_and_every_encoder_alike():
    """One beginning for all folds would make their errors go together."""
    begun = []

    def fit(train, classes, test, *, num_classes, seed):
        begun.append(seed)
        return np.zeros(len(test), dtype=np.int64)

    arrays = make_arrays(num_clips=40)
    for width in (4, 8):
        _each_seed(fit, 3, fold_by_fold=True)(np.zeros((40, width), np.float32), arrays, 7)
    assert len(set(begun)) == 15 and begun[:15] == begun[15:]
    assert all(seed < 2**63 for seed in begun)
    begun.clear()
    _each_seed(fit, 3)(np.zeros((40, 4), np.float32), arrays, 7)
    assert begun == [7, 8, 9] * 5


def test_each_protocol_pools_as_its_source_does():
    pooled = {name: (str(protocol.pooling), protocol.contexts) for name, protocol in PROTOCOLS.items()}
    everything, real = "mean over all positions", "mean over real positions"
    assert pooled == {
        "paper": (everything, ("full",)),
        "strict": (real, ("trimmed", "full")),
        "xares": (everything, ("full",)),
        "xares-knn": (everything, ("full",)),
        "few-shot": (real, ("trimmed", "full")),
    }
    assert set(DEFAULT_PROTOCOLS) == {"paper", "strict"}


def test_runs_are_seeds_or_draws():
    arrays = make_arrays(num_clips=200)
    features = np.random.default_rng(4).normal(size=(200, 8)).astype(np.float32)
    features[:, 0] += arrays.class_ids
    for name, num_runs, averaged in [("paper", NUM_SEEDS, False), ("strict", 1, False), ("xares", NUM_SEEDS, False),
                                     ("xares-knn", 1, False), ("few-shot", 5, True)]:  # fmt: skip
        found = PROTOCOLS[name].predict(features, arrays, 0)
        assert found.class_ids.shape == (num_runs, 200) and found.averaged == averaged
        assert num_runs == 1 or (found.class_ids[0] != found.class_ids[1]).any()
        assert set(np.unique(found.class_ids)) <= {0, 1, 2, 3}  # every clip was tested


def test_where_recordings_cannot_be_grouped_the_rules_say_so():
    arrays = make_arrays()
    one_recording_a_fold = TaskArrays(arrays.class_ids, arrays.groups % 2, arrays.groups % 2, 4)
    features = np.random.default_rng(1).normal(size=(400, 8)).astype(np.float32)
    found = PROTOCOLS["strict"].predict(features, one_recording_a_fold, 0)
    assert len(found.notes) == 1 and "by clip" in found.notes[0] and "0, 1" in found.notes[0]


def test_few_shots_of_a_rare_class_are_said():
    arrays = make_arrays()
    rare = np.where((arrays.class_ids == 3) & (np.arange(400) > 60), 0, arrays.class_ids)
    features = np.random.default_rng(1).normal(size=(400, 8)).astype(np.float32)
    found = PROTOCOLS["few-shot"].predict(features, TaskArrays(rare, arrays.folds, arrays.groups, 4), 0)
    assert found.notes == ("1 class(es) have fewer than 16 training clips in a fold: all are taken",)


def test_rules_state_what_the_protocols_do():
    said = {name: protocol.describe() for name, protocol in PROTOCOLS.items()}
    assert said["paper"].startswith("mean over all encoder positions, padding included, of the final layer; not stand")
    assert "every fold is the test once" in said["paper"]
    assert said["strict"].startswith("mean over the encoder positions of real audio only, of the final layer; stand")
    assert "grouped by recording" in said["strict"]
    assert "10 epochs, Adam lr 0.001 with a cosine to 0.0001 by epoch, batch 32" in said["xares"]
    assert "last epoch" in said["xares"]
    assert "10 most similar training clips" in said["xares-knn"] and "temperature 0.07" in said["xares-knn"]
    assert "16 training clips a class" in said["few-shot"] and "drawn 5 times" in said["few-shot"]


def test_another_pooling_or_layer_is_another_protocol():
    strict = PROTOCOLS["strict"]
    assert variant(strict) is strict and variant(strict, statistic="mean", layer="last") is strict
    other = variant(strict, statistic="mean+std", layer=3)
    assert (other.name, other.pooling, other.layer) == ("strict [mean+std, layer 3]", Pooling("mean+std", "real"), 3)
    assert other.describe().startswith(
        "mean and standard deviation over the encoder positions of real audio only, of lay"
    )
    assert strict.name == "strict"


@pytest.mark.parametrize(("name", "statistic"), [("strict", "mean"), ("xares-knn", "mean"), ("paper", "max")])
def test_weights_of_layers_are_learned_only_where_that_means_something(name, statistic):
    with pytest.raises(ProbeError, match="cannot learn weights of layers"):
        variant(PROTOCOLS[name], statistic=statistic, layer="weighted")


@pytest.mark.parametrize("name", ["paper", "xares"])
def test_learned_weights_find_the_layer_that_knows(name):
    num_clips = 400 if name == "paper" else 2000  # as many as each head's epochs and step size need
    arrays = make_arrays(num_clips)
    layers = np.random.default_rng(1).normal(size=(num_clips, 5, 24)).astype(np.float32)
    layers[np.arange(num_clips), 2, arrays.class_ids] += 6.0
    weighted = variant(PROTOCOLS[name], layer="weighted")
    assert np.mean(weighted.predict(layers, arrays, 0).class_ids == arrays.class_ids) > 0.9
    assert np.mean(PROTOCOLS[name].predict(layers[:, -1], arrays, 0).class_ids == arrays.class_ids) < 0.4


@pytest.mark.parametrize(("text", "expected"), [("last", "last"), ("weighted", "weighted"), ("0", 0), ("12", 12)])
def test_a_layer_is_read(text, expected):
    assert parse_layer(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "first", "1.5", "²"])
def test_what_is_no_layer_is_refused(text):
    with pytest.raises(ProbeError, match="there is no layer"):
        parse_layer(text)
