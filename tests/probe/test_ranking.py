import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from whisper_aut.probe.ranking import (
    _Ranking,
    average_precisions,
    bootstrap_means,
    mean_average_precision,
    permutation_test,
)


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels [200, 6], scores of a weak and of a strong encoder with ties, groups of four clips."""
    rng = np.random.default_rng(0)
    labels = rng.random((200, 6)) < np.linspace(0.1, 0.5, 6)
    weak = np.round(labels + 2.0 * rng.normal(size=labels.shape), 1)
    strong = np.round(labels + 0.8 * rng.normal(size=labels.shape), 1)
    return weak, strong, labels, np.arange(200) // 4


def test_average_precisions_are_scikit_learns(case):
    weak, _, labels, _ = case
    expected = [100 * average_precision_score(labels[:, c], weak[:, c]) for c in range(6)]
    assert average_precisions(weak, labels) == pytest.approx(expected)


def test_one_class_is_a_ranking_too(case):
    weak, _, labels, _ = case
    assert average_precisions(weak[:, :1], labels[:, :1]) == pytest.approx(average_precisions(weak, labels)[:1])


def test_a_class_that_no_clip_has_is_left_out(case):
    weak, _, labels, _ = case
    without = labels.copy()
    without[:, 2] = False
    others = [0, 1, 3, 4, 5]
    expected = average_precisions(weak[:, others], labels[:, others]).mean()
    assert mean_average_precision(weak, without) == pytest.approx(expected)
    assert _Ranking.of(weak, without).means(np.ones((200, 1), np.float32))[0] == pytest.approx(expected / 100)


def test_a_pool_in_halves_is_each_half_by_itself(case):
    weak, strong, labels, _ = case
    pool = _Ranking.of(np.concatenate([weak, strong]), np.concatenate([labels, labels]))
    swap = np.random.default_rng(2).integers(0, 2, size=(200, 3)).astype(np.float32)
    ones, zeros = pool.means_of_halves(np.concatenate([1 - swap, swap]))
    for run, swapped in enumerate(swap.T.astype(bool)):
        for found, scores in [
            (ones, np.where(swapped[:, None], strong, weak)),
            (zeros, np.where(swapped[:, None], weak, strong)),
        ]:
            assert found[run] == pytest.approx(average_precision_score(labels, scores, average="macro"), abs=1e-9)


def test_weighted_means_equal_scikit_learns_with_repeated_clips(case):
    weak, _, labels, _ = case
    weights = np.random.default_rng(1).integers(0, 4, size=(5, 200)).astype(np.float32)
    found = _Ranking.of(weak, labels).means(weights.T)
    for row, value in zip(weights.astype(int), found, strict=True):
        repeated = np.repeat(np.arange(200), row)
        expected = average_precision_score(labels[repeated], weak[repeated], average="macro")
        assert value == pytest.approx(expected, abs=1e-9)


def test_a_class_that_a_draw_lacks_is_left_out_of_its_mean(case):
    weak, _, labels, _ = case
    weights = np.ones((1, 200), np.float32)
    weights[0, labels[:, 0]] = 0
    kept = ~labels[:, 0]
    expected = average_precision_score(labels[kept][:, 1:], weak[kept][:, 1:], average="macro")
    assert _Ranking.of(weak, labels).means(weights.T)[0] == pytest.approx(expected, abs=1e-9)


def test_intervals_equal_a_plain_loop_over_groups(case):
    weak, strong, labels, groups = case
    first, second = (bootstrap_means(one, labels, groups, seed=0, num_resamples=400) for one in (weak, strong))
    rng = np.random.default_rng(7)
    loop = []
    for _ in range(400):
        rows = np.concatenate([np.flatnonzero(groups == g) for g in rng.integers(0, 50, 50)])
        loop.append([100 * average_precision_score(labels[rows], s[rows], average="macro") for s in (weak, strong)])
    loop = np.array(loop)
    ends = [0.025, 0.975]
    assert np.quantile(first, ends) == pytest.approx(np.quantile(loop[:, 0], ends), abs=2.0)
    assert np.quantile(second - first, ends) == pytest.approx(np.quantile(loop[:, 1] - loop[:, 0], ends), abs=2.5)
    # Both encoders were drawn the same recordings: their difference spreads less than that of separate draws.
    apart = bootstrap_means(strong, labels, groups, seed=1, num_resamples=400)
    assert np.std(second - first) < np.std(apart - first)
    assert np.array_equal(first, bootstrap_means(weak, labels, groups, seed=0, num_resamples=400))


def test_equal_encoders_differ_by_exactly_nothing(case):
    weak, _, labels, groups = case
    assert permutation_test(weak, weak, labels, groups, seed=0, num_resamples=50) == 1.0


def test_a_real_difference_is_found_and_noise_is_not(case):
    weak, strong, labels, groups = case
    assert permutation_test(weak, strong, labels, groups, seed=0, num_resamples=200) == pytest.approx(1 / 201)
    rng = np.random.default_rng(3)
    p_values = []
    for seed in range(40):
        one, other = labels + rng.normal(size=labels.shape), labels + rng.normal(size=labels.shape)
        p_values.append(permutation_test(one, other, labels, groups, seed=seed, num_resamples=99))
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_the_test_agrees_with_scipys_permutation_test(case):
    weak, strong, labels, _ = case
    few = np.arange(40)
    mixed = 0.7 * weak[few] + 0.3 * strong[few]

    def difference(rows_of_one, rows_of_other, axis=-1):
        one, other = (np.where(rows.astype(bool)[:, None], mixed, weak[few]) for rows in (rows_of_one, rows_of_other))
        means = [average_precision_score(labels[few], scores, average="macro") for scores in (one, other)]
        return means[0] - means[1]

    theirs = stats.permutation_test(
        (np.ones(40), np.zeros(40)), difference, permutation_type="samples", n_resamples=300, vectorized=False, rng=1
    ).pvalue
    ours = permutation_test(weak[few], mixed, labels[few], few, seed=0, num_resamples=300)
    assert ours == pytest.approx(theirs, abs=0.12)
