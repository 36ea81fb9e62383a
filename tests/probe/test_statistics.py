import numpy as np
import pytest
from scipy import stats

from whisper_aut.probe.statistics import (
    accuracy,
    accuracy_by,
    bootstrap_interval,
    gained_and_lost,
    group_numbers,
    mcnemar_exact,
)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (3, 3), (10, 2), (2, 10), (60, 31), (900, 1100)])
def test_mcnemar_equals_scipys_binomial_test(gained, lost):
    expected = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar_exact(gained, lost) == pytest.approx(expected, rel=1e-9)


def test_the_interval_of_single_clips_equals_scipys_percentile_bootstrap():
    correct = np.random.default_rng(3).random(300) < 0.7
    ours = bootstrap_interval(correct, np.arange(300), seed=1, num_resamples=20_000)
    theirs = stats.bootstrap(
        (100.0 * correct,), np.mean, n_resamples=20_000, method="percentile", vectorized=True, rng=2
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.5)


def test_the_grouped_interval_equals_a_plain_loop_over_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(25), rng.integers(1, 12, 25))
    correct = rng.random(25)[groups] > 0.4
    rows_of = [np.flatnonzero(groups == g) for g in range(25)]
    loop = [100 * correct[np.concatenate([rows_of[g] for g in rng.integers(0, 25, 25)])].mean() for _ in range(5000)]
    expected = np.quantile(loop, [0.025, 0.975])
    assert bootstrap_interval(correct, groups, seed=0) == pytest.approx(tuple(expected), abs=2.0)


def test_clips_of_one_recording_widen_the_interval():
    correct = np.repeat(np.arange(20) % 2 == 0, 10)
    alone = bootstrap_interval(correct, np.arange(200), seed=0)
    together = bootstrap_interval(correct, np.repeat(np.arange(20), 10), seed=0)
    # Ten equal clips a recording: the standard error grows by the square root of ten.
    assert (together[1] - together[0]) / (alone[1] - alone[0]) == pytest.approx(np.sqrt(10), rel=0.15)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    hits = 0
    for trial in range(200):
        correct = rng.random(150) < 0.6
        low, high = bootstrap_interval(correct, np.arange(150), seed=trial, num_resamples=2000)
        hits += low <= 60.0 <= high
    assert 0.89 <= hits / 200 <= 0.99


def test_no_difference_has_an_interval_of_exactly_zero():
    assert bootstrap_interval(np.zeros(50, int), np.arange(50), seed=0) == (0.0, 0.0)


def test_equal_seeds_give_equal_intervals_and_chunking_changes_nothing_else(monkeypatch):
    values = np.random.default_rng(0).integers(-1, 2, 100)
    first = bootstrap_interval(values, np.arange(100), seed=4)
    assert first == bootstrap_interval(values, np.arange(100), seed=4)
    monkeypatch.setattr("whisper_aut.probe.statistics._CHUNK_CELLS", 100 * 7)
    assert bootstrap_interval(values, np.arange(100), seed=4) == first


def test_accuracies_pool_clips_and_split_by_key():
    correct = np.array([True, False, True, True])
    assert accuracy(correct) == 75.0
    assert accuracy_by(correct, np.array([2, 2, 1, 1])) == {"1": 100.0, "2": 50.0}


def test_gained_and_lost_count_the_clips_only_one_gets_right():
    base = np.array([True, True, False, False, False])
    adapted = np.array([True, False, True, True, False])
    assert gained_and_lost(base, adapted) == (2, 1)


def test_group_numbers_are_equal_for_equal_names_only():
    assert group_numbers(["b", "a", "b", "c"]).tolist() == [1, 0, 1, 2]
