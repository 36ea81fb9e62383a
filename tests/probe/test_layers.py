"""The analysis of layers: it finds what is planted where it is planted, and nothing where there is nothing."""

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from whisper_aut.probe import layers
from whisper_aut.probe.arrays import TaskArrays
from whisper_aut.probe.embed import Embeddings
from whisper_aut.probe.layers import POOLING, Layered, analyse_task, choose_clips, score_layer, tsne


def arrays(num_clips: int = 240, num_classes: int = 4) -> TaskArrays:
    class_ids = np.random.default_rng(0).integers(0, num_classes, num_clips)
    return TaskArrays(class_ids, np.arange(num_clips) // 2 % 8, np.arange(num_clips) // 2, num_classes)


def planted(task: TaskArrays, strengths: list[float]) -> np.ndarray:
    """[N, K, D]: in layer k, each class is shifted by ``strengths[k]`` along an axis of its own."""
    stored = np.random.default_rng(1).normal(size=(len(task.class_ids), len(strengths), 16)).astype(np.float32)
    for layer, strength in enumerate(strengths):
        stored[np.arange(len(stored)), layer, task.class_ids] += strength
    return stored


def layered(name: str, number: int | None, stored: np.ndarray) -> Layered:
    return Layered(name, number, Embeddings({POOLING: stored}, stored.shape[1]))


def test_the_layer_that_knows_stands_out_and_the_others_are_at_chance():
    task = arrays()
    found = analyse_task(
        "t", task, list("abcd"),
        [layered("base", 0, planted(task, [0.0, 12.0, 0.0])), layered("mfcc", None, planted(task, [3.0]))], seed=0,
    )  # fmt: skip
    base, floor = found.curves
    assert len(base.knn) == len(base.network) == len(base.nmi) == 3
    assert base.knn[1] > 80 and base.network[1] > 80 and base.nmi[1] > 50
    for ignorant in (0, 2):
        # Macro-F1 of guessing among four classes is 25; NMI of independent labels is near zero.
        assert 12 < base.knn[ignorant] < 38 and 12 < base.network[ignorant] < 38 and base.nmi[ignorant] < 8
    assert floor.encoder is None and len(floor.knn) == 1
    assert [(one.encoder, one.layer, len(one.points)) for one in found.maps] == [(0, 0, 240), (0, 1, 240), (0, 2, 240)]
    assert found.map_classes == task.class_ids.tolist()


def test_the_same_seed_gives_the_same_numbers():
    task = arrays(60)
    first, second = (
        analyse_task("t", task, list("abcd"), [layered("base", 0, planted(task, [0.5, 1.0]))], seed=3) for _ in range(2)
    )
    assert first == second


def test_the_information_of_clusters_is_scikit_learns_of_well_parted_classes():
    task = arrays(80, 2)
    stored = planted(task, [30.0])[:, 0]
    assert score_layer(stored, task, np.arange(80), 0)[2] == pytest.approx(100.0)
    assert normalized_mutual_info_score(task.class_ids, task.class_ids) == 1.0


def test_no_recording_trains_and_tests_even_where_folds_are_merged(monkeypatch):
    task = arrays()
    seen = []
    real = layers.outer_splits
    monkeypatch.setattr(layers, "outer_splits", lambda *of: seen.extend(real(*of)) or tuple(seen))
    score_layer(planted(task, [1.0])[:, 0], task, np.arange(240), 0)
    assert len(seen) == layers.MAX_FOLDS  # eight official folds
    for split in seen:
        assert not set(task.groups[split.train]) & set(task.groups[split.test])


def test_of_many_clips_every_class_keeps_its_share():
    classes = np.repeat([0, 1, 2], [600, 300, 100])
    chosen = choose_clips(classes, 100, seed=0)
    assert len(chosen) == 100 and (np.diff(chosen) > 0).all()
    assert np.bincount(classes[chosen]).tolist() == pytest.approx([60, 30, 10], abs=1)
    assert np.array_equal(choose_clips(classes, 1000, seed=0), np.arange(1000))
    assert set(classes[choose_clips(np.r_[np.zeros(99, int), 1], 10, seed=0)]) >= {0}


def test_a_map_keeps_well_parted_classes_apart_and_lies_in_the_frame():
    task = arrays(80, 2)
    points = np.array(tsne(planted(task, [30.0])[:, 0], seed=0))
    assert points.min() == 0.0 and points.max() == 1.0
    centres = [points[task.class_ids == label].mean(axis=0) for label in (0, 1)]
    spread = max(points[task.class_ids == label].std() for label in (0, 1))
    assert np.linalg.norm(centres[0] - centres[1]) > spread


@pytest.mark.parametrize("num_clips", [2, 3, 5])
def test_a_map_of_a_handful_of_clips_is_drawn_too(num_clips):
    assert len(tsne(np.random.default_rng(0).normal(size=(num_clips, 8)), seed=0)) == num_clips


def test_a_fixed_split_is_looked_at_on_its_test_part_and_half_of_the_clips_are_tested(monkeypatch):
    monkeypatch.setattr(layers, "MAX_CLIPS", 120)
    plain = arrays(600)
    parts = np.repeat(["train", "valid", "test"], [400, 50, 150])
    task = TaskArrays(plain.class_ids, parts, np.arange(600), 4)
    stored = planted(task, [0.0, 12.0])
    found = analyse_task("t", task, list("abcd"), [layered("base", 0, stored)], seed=0)
    assert found.num_clips == 120
    assert found.curves[0].knn[1] > 80 and found.curves[0].network[1] > 80 and found.curves[0].knn[0] < 45
    rows = layers._looked_at(task, 0)
    assert np.mean(parts[rows] == "test") == 0.5
    spoiled = np.where(np.isin(np.arange(600), rows[parts[rows] == "test"])[:, None], -stored[:, 1], stored[:, 1])
    knn, _, _ = layers.score_layer(spoiled[rows], task, rows, 0)
    assert knn < 30  # what is tested alone decides
