"""Power and effect sizes against SciPy: exact binomials, simulations, and the formulas of textbooks."""

import numpy as np
import pytest
from scipy import stats

from whisper_aut.probe.power import (
    cohens_g,
    design_effect,
    detectable_difference,
    detectable_mean_difference,
    paired_d,
)
from whisper_aut.probe.statistics import sign_flip_test


def exact_power(num_clips: int, discordance: float, difference: float) -> float:
    """Of the exact two-sided McNemar test at 5%, summed over every possible outcome."""
    num_discordant = np.arange(num_clips + 1)
    chance = stats.binom.pmf(num_discordant, num_clips, discordance)
    gained_share = (discordance + difference) / (2 * discordance)
    # The largest number of losses that is still significant, for each number of discordant clips.
    limit = stats.binom.ppf(0.025, num_discordant, 0.5)
    limit = np.where(stats.binom.cdf(limit, num_discordant, 0.5) > 0.025, limit - 1, limit)
    power = stats.binom.cdf(limit, num_discordant, 1 - gained_share) + stats.binom.cdf(
        limit, num_discordant, gained_share
    )
    return float(np.sum(chance * power))


@pytest.mark.parametrize(
    ("num_clips", "discordance"), [(400, 0.15), (837, 0.3), (2000, 0.1), (3081, 0.06), (10_000, 0.02)]
)
def test_the_detectable_difference_is_found_in_four_of_five_cases(num_clips, discordance):
    difference = detectable_difference(num_clips, discordance) / 100
    assert 0 < difference < discordance
    # The formula is asymptotic, the exact test a little conservative.
    assert 0.75 <= exact_power(num_clips, discordance, difference) <= 0.82


def test_the_papers_speech_commands_gain_is_below_what_its_clips_can_show():
    # 87.60 to 88.32 on 3,081 clips: even if only one clip in twenty changed its side, 0.72 is too little to be found.
    assert 0.72 < detectable_difference(3081, 0.05) < 1.6


def test_encoders_that_never_disagree_still_need_some_clips_to_differ():
    difference = detectable_difference(400, 0.0) / 100
    assert exact_power(400, difference, difference) == pytest.approx(0.8, abs=0.08)


def test_more_clips_show_less_and_a_design_effect_costs_clips():
    by_size = [detectable_difference(n, 0.2) for n in (100, 400, 1600)]
    assert by_size[0] / by_size[1] == pytest.approx(2, rel=0.1) and by_size[1] / by_size[2] == pytest.approx(2, rel=0.1)
    assert detectable_difference(1600, 0.2, effect=4.0) == pytest.approx(by_size[1])
    assert detectable_difference(3, 0.2) == 100.0


def test_the_design_effect_is_the_bootstraps_variance_over_the_binomials():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(80), rng.integers(3, 9, 80))
    values = rng.choice([-1, 0, 1], 80, p=[0.2, 0.4, 0.4])[groups].astype(float)
    rows_of = [np.flatnonzero(groups == g) for g in range(80)]
    means = [values[np.concatenate([rows_of[g] for g in rng.integers(0, 80, 80)])].mean() for _ in range(4000)]
    assert design_effect(values, groups) == pytest.approx(np.var(means) / (np.var(values) / len(values)), rel=0.12)


def test_single_clips_and_no_difference_have_no_design_effect():
    values = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], 5000)
    assert design_effect(values, np.arange(5000)) == pytest.approx(1.0, abs=1e-3)
    assert design_effect(np.zeros(10), np.arange(10) // 5) == 1.0
    assert design_effect(values[:10], np.zeros(10, int)) == 1.0


def test_the_detectable_mean_is_found_in_four_of_five_t_tests():
    rng = np.random.default_rng(2)
    differences = rng.choice([-0.4, -0.2, 0.0, 0.2, 0.6], 300)
    least = detectable_mean_difference(differences) / 100
    centred = differences - differences.mean()
    found = [stats.ttest_1samp(rng.choice(centred, 300) + least, 0.0).pvalue < 0.05 for _ in range(2000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)
    assert detectable_mean_difference(differences, 4.0) == pytest.approx(200 * least)
    assert detectable_mean_difference(np.zeros(1)) == 100.0


@pytest.mark.parametrize(
    ("gained", "lost", "expected"), [(0, 0, 0.0), (3, 3, 0.0), (9, 1, 0.4), (1, 9, -0.4), (5, 0, 0.5)]
)
def test_cohens_g_is_the_share_beyond_a_fair_coin(gained, lost, expected):
    assert cohens_g(gained, lost) == pytest.approx(expected)


def test_the_paired_d_is_the_t_statistic_without_its_clips():
    differences = np.random.default_rng(3).normal(0.3, 1.0, 50)
    assert paired_d(differences) == pytest.approx(stats.ttest_1samp(differences, 0.0).statistic / np.sqrt(50))
    assert paired_d(np.zeros(5)) == paired_d(np.ones(1)) == 0.0


def test_the_sign_flip_test_equals_scipys_exact_permutation():
    rng = np.random.default_rng(4)
    differences = rng.normal(0.4, 1.0, 12)
    exact = stats.permutation_test(
        (differences, np.zeros(12)), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert sign_flip_test(differences, np.arange(12), seed=0) == pytest.approx(exact, abs=0.012)


def test_the_sign_flip_test_flips_whole_groups():
    # Ten recordings of forty equal clips: as good as ten clips.
    differences = np.random.default_rng(5).normal(0.5, 1.0, 10)
    alone = sign_flip_test(differences, np.arange(10), seed=0)
    together = sign_flip_test(np.repeat(differences, 40), np.repeat(np.arange(10), 40), seed=0)
    assert together == alone > sign_flip_test(np.repeat(differences, 40), np.arange(400), seed=0)


def test_no_difference_has_a_p_of_one_and_a_seed_fixes_it():
    assert sign_flip_test(np.zeros(20), np.arange(20), seed=0) == 1.0
    differences = np.random.default_rng(6).normal(size=30)
    assert sign_flip_test(differences, np.arange(30), seed=1) == sign_flip_test(differences, np.arange(30), seed=1)
