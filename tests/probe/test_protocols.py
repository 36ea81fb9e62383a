from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from whisper_aut.errors import ProbeError
from whisper_aut.probe import predict
from whisper_aut.probe.arrays import TaskArrays
from whisper_aut.probe.encoders.base import Pooling
from whisper_aut.probe.heads import C_GRID, fit_predict_linear
from whisper_aut.probe.heads_xares import fit_predict_normed, predict_neighbours
from whisper_aut.probe.names import DEFAULT_PROTOCOLS, PROTOCOL_NAMES, parse_layer
from whisper_aut.probe.predict import NUM_SEEDS
from whisper_aut.probe.protocols import PROTOCOLS, variant
from whisper_aut.probe.ranking import mean_average_precision
from whisper_aut.probe.statistics import bootstrap_interval


def make_arrays(num_clips: int = 400, num_classes: int = 4, seed: int = 0) -> TaskArrays:
    rng = np.random.default_rng(seed)
    groups = np.arange(num_clips) // 2
    return TaskArrays(rng.integers(0, num_classes, num_clips), groups % 5, groups, num_classes)


MULTI_LABEL = [name for name in PROTOCOL_NAMES if PROTOCOLS[name].several_labels is not None]
TRAIN, VALID, BOTH, TEST = slice(0, 200), slice(200, 300), slice(0, 300), slice(300, 400)


@pytest.fixture
def fixed() -> tuple[np.ndarray, TaskArrays]:
    """Overlapping classes in parts of 200, 100 and 100 clips."""
    arrays = make_arrays()
    features = np.random.default_rng(5).normal(size=(400, 24)).astype(np.float32)
    features[np.arange(400), arrays.class_ids] += 1.5
    parts = np.repeat(["train", "valid", "test"], [200, 100, 100])
    return features, replace(arrays, folds=parts, groups=np.arange(400))


def with_labels(arrays: TaskArrays) -> TaskArrays:
    """Each clip has its class, and every third clip the next class too."""
    matrix = np.eye(4, dtype=bool)[arrays.class_ids]
    matrix[::3] |= np.eye(4, dtype=bool)[(arrays.class_ids[::3] + 1) % 4]
    return replace(arrays, label_matrix=matrix)


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_a_planted_feature_is_found_perfectly(name):
    num_clips = 2000 if name == "xares" else 400  # its ten epochs of small steps do not get far on fewer
    arrays = make_arrays(num_clips)
    features = np.random.default_rng(1).normal(scale=0.2, size=(num_clips, 24)).astype(np.float32)
    features[np.arange(num_clips), arrays.class_ids] += 3.0
    found = PROTOCOLS[name].predict(features, arrays, 0)
    assert (found.answers == arrays.class_ids).all()
    assert found.notes == ()


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_labels_without_a_pattern_give_chance(name):
    arrays = make_arrays()
    features = np.random.default_rng(2).normal(size=(400, 24)).astype(np.float32)
    found = PROTOCOLS[name].predict(features, arrays, 0)
    right = (found.answers == arrays.class_ids).mean(axis=0)  # of three runs, one is easily outside its own interval
    low, high = bootstrap_interval(right, arrays.groups, seed=0)
    assert low <= 25.0 <= high


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_a_seed_fixes_the_predictions(name):
    arrays = make_arrays(num_clips=120)
    features = np.random.default_rng(3).normal(size=(120, 8)).astype(np.float32)
    first, second = (PROTOCOLS[name].predict(features, arrays, 5).answers for _ in range(2))
    assert np.array_equal(first, second)


def test_every_fold_of_xares_begins_elsewhere_and_every_encoder_alike(monkeypatch):
    """One beginning for all folds would make their errors go together."""
    begun = []

    def fit(train, classes, test, *, num_classes, seed, valid=None):
        begun.append(seed)
        return np.zeros(len(test), dtype=np.int64)

    monkeypatch.setattr(predict, "fit_predict_normed", fit)
    monkeypatch.setattr(predict, "fit_predict_linear", fit)
    arrays = make_arrays(num_clips=40)
    for width in (4, 8):
        PROTOCOLS["xares"].predict(np.zeros((40, width), np.float32), arrays, 7)
    assert len(set(begun)) == 15 and begun[:15] == begun[15:]
    assert all(seed < 2**63 for seed in begun)
    begun.clear()
    PROTOCOLS["paper"].predict(np.zeros((40, 4), np.float32), arrays, 7)
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
        assert found.answers.shape == (num_runs, 200) and found.averaged == averaged
        assert num_runs == 1 or (found.answers[0] != found.answers[1]).any()
        assert set(np.unique(found.answers)) <= {0, 1, 2, 3}  # every clip was tested


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
    assert np.mean(weighted.predict(layers, arrays, 0).answers == arrays.class_ids) > 0.9
    assert np.mean(PROTOCOLS[name].predict(layers[:, -1], arrays, 0).answers == arrays.class_ids) < 0.4


@pytest.mark.parametrize(("text", "expected"), [("last", "last"), ("weighted", "weighted"), ("0", 0), ("12", 12)])
def test_a_layer_is_read(text, expected):
    assert parse_layer(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "first", "1.5", "²"])
def test_what_is_no_layer_is_refused(text):
    with pytest.raises(ProbeError, match="there is no layer"):
        parse_layer(text)


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_a_fixed_split_is_answered_on_its_test_part_alone(fixed, name):
    features, arrays = fixed
    found = PROTOCOLS[name].predict(features, arrays, 0)
    assert (found.answers[:, BOTH] == -1).all() and (found.answers[:, TEST] >= 0).all()
    assert np.mean(found.answers[0, TEST] == arrays.class_ids[TEST]) > (0.3 if name == "xares" else 0.5)
    assert found.notes == ()


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_what_the_test_part_holds_changes_no_head(fixed, name):
    features, arrays = fixed
    one = PROTOCOLS[name].predict(features, arrays, 0).answers
    shuffled = arrays.class_ids.copy()
    shuffled[TEST] = np.random.default_rng(0).permutation(shuffled[TEST])
    assert np.array_equal(PROTOCOLS[name].predict(features, replace(arrays, class_ids=shuffled), 0).answers, one)
    # Nor does one tested clip another's answer: none of them is seen before it is asked for.
    moved = features.copy()
    moved[350:] = 0
    assert np.array_equal(PROTOCOLS[name].predict(moved, arrays, 0).answers[:, :350], one[:, :350])


def test_strict_chooses_on_the_validation_part_and_refits_on_both(fixed):
    features, arrays = fixed
    wide, classes = features.astype(np.float64), arrays.class_ids

    def head(c: float, rows: slice) -> Pipeline:
        return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)).fit(wide[rows], classes[rows])

    losses = [log_loss(classes[VALID], head(c, TRAIN).predict_proba(wide[VALID])) for c in C_GRID]
    expected = head(C_GRID[int(np.argmin(losses))], BOTH).predict(wide[TEST])
    assert np.array_equal(PROTOCOLS["strict"].predict(features, arrays, 0).answers[0, TEST], expected)


def test_the_paper_protocol_trains_on_train_and_validation(fixed):
    features, arrays = fixed
    expected = fit_predict_linear(features[BOTH], arrays.class_ids[BOTH], features[TEST], num_classes=4, seed=3)
    assert np.array_equal(PROTOCOLS["paper"].predict(features, arrays, 3).answers[0, TEST], expected)


def test_the_protocols_of_xares_train_on_the_training_part_alone(fixed):
    features, arrays = fixed
    classes, valid = arrays.class_ids, (features[VALID], arrays.class_ids[VALID])
    begun = predict.beginning(3, "test")
    normed = fit_predict_normed(features[TRAIN], classes[TRAIN], features[TEST], num_classes=4, seed=begun, valid=valid)
    assert np.array_equal(PROTOCOLS["xares"].predict(features, arrays, 3).answers[0, TEST], normed)
    near = predict_neighbours(features[TRAIN], classes[TRAIN], features[TEST], num_classes=4)
    assert np.array_equal(PROTOCOLS["xares-knn"].predict(features, arrays, 3).answers[0, TEST], near)


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_validation_clips_of_tested_groups_train_no_head(fixed, name):
    features, arrays = fixed
    groups = arrays.groups.copy()
    groups[200:250] = groups[300:350]  # half of the validation clips share their group with the test
    shared = replace(arrays, groups=groups)
    found = PROTOCOLS[name].predict(features, shared, 0)
    assert "50 validation clips share" in found.notes[0]
    if name in {"paper", "xares-knn", "few-shot"}:  # nothing is chosen: what these clips are like moves nothing
        moved = features.copy()
        moved[200:250] = np.random.default_rng(9).normal(size=(50, 24))
        assert np.array_equal(PROTOCOLS[name].predict(moved, shared, 0).answers, found.answers)


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_without_a_validation_part_the_rules_say_so(fixed, name):
    features, arrays = fixed
    parts = np.where(arrays.folds == "valid", "train", arrays.folds)
    found = PROTOCOLS[name].predict(features, replace(arrays, folds=parts), 0)
    assert found.notes == ("the task has no validation part",)


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("name", MULTI_LABEL)
def test_several_labels_are_scored(fixed, name, parts):
    features, arrays = fixed
    arrays = with_labels(arrays if parts else replace(arrays, folds=np.arange(400) % 5))
    matrix, rows = arrays.label_matrix, TEST if parts else slice(None)
    strength = 6.0 if name == "xares" else 1.5  # its ten epochs of small steps do not get far on 400 clips
    features = features + strength * np.pad(matrix, ((0, 0), (0, 20))).astype(np.float32)
    found = PROTOCOLS[name].predict(features, arrays, 0)
    assert found.answers.shape == (NUM_SEEDS if name in {"paper", "xares"} else 1, 400, 4)
    assert np.isfinite(found.answers[:, rows]).all() and np.isnan(found.answers).any() == parts
    by_chance = 100 * matrix[rows].mean()
    assert mean_average_precision(found.answers[0, rows], matrix[rows]) > by_chance + (5 if name == "xares" else 30)


def test_the_rules_follow_the_kind_of_task():
    strict, few = PROTOCOLS["strict"], PROTOCOLS["few-shot"]
    assert "official validation part" in strict.describe(fixed=True)
    assert "every official fold" not in strict.describe(fixed=True)
    assert strict.describe(several_labels=True).endswith("one logistic regression a class, one C for all")
    assert few.several_labels is None and "validation parts" in few.describe(fixed=True)
