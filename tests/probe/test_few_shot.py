import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from whisper_aut.probe.few_shot import NUM_SHOTS, draw_shots, fit_predict_few


def test_each_class_gets_its_shots_and_a_rare_one_all_it_has():
    classes = np.repeat([0, 1, 2], [200, 16, 5])
    chosen = draw_shots(classes, np.arange(221), np.random.default_rng(0))
    assert np.bincount(classes[chosen]).tolist() == [NUM_SHOTS, NUM_SHOTS, 5]
    assert len(set(chosen.tolist())) == len(chosen) and (np.diff(chosen) > 0).all()


def test_shots_come_from_as_many_recordings_as_there_are():
    groups = np.repeat(np.arange(20), 30)  # 20 recordings of one class: 16 shots are 16 recordings
    assert len(set(groups[draw_shots(np.zeros(600, int), groups, np.random.default_rng(1))])) == 16
    few = np.repeat(np.arange(5), 30)  # 5 recordings: three or four of each
    counts = np.bincount(few[draw_shots(np.zeros(150, int), few, np.random.default_rng(1))])
    assert sorted(counts.tolist()) == [3, 3, 3, 3, 4]


def test_draws_differ_and_are_repeatable():
    classes, groups = np.zeros(100, int), np.arange(100)
    first, again, other = (draw_shots(classes, groups, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_the_head_is_scikit_learns():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 60)
    features = (rng.normal(size=(3, 10))[classes] + rng.normal(size=(60, 10))).astype(np.float32)
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))
    expected = reference.fit(features[:40].astype(np.float64), classes[:40]).predict(features[40:])
    assert np.array_equal(fit_predict_few(features[:40], classes[:40], features[40:]), expected)
