"""The pattern: exact over a period, less than one clip off over any prefix, the same both ways of asking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_aut.constants import DOMAINS
from whisper_aut.data.mixture import Pattern
from whisper_aut.errors import RecipeError

PARTS = st.lists(st.integers(1, 300), min_size=1, max_size=3)


def _pattern(parts: list[int]) -> Pattern:
    return Pattern({domain: part / sum(parts) for domain, part in zip(DOMAINS, parts, strict=False)})


def test_the_papers_mixture_has_a_period_of_ten():
    pattern = Pattern({"speech": 0.8, "environment": 0.1, "music": 0.1})
    assert pattern.length == 10
    assert pattern.counts == {"speech": 8, "environment": 1, "music": 1}


@given(PARTS)
def test_any_prefix_is_less_than_one_clip_from_exact(parts):
    pattern = _pattern(parts)
    turns, _ = pattern.between(0, 2 * pattern.length)
    for index, domain in enumerate(pattern.keys):
        seen = np.cumsum(turns == index)
        exact = np.arange(1, len(turns) + 1) * pattern.counts[domain] / pattern.length
        assert np.abs(seen - exact).max() < 1


@given(PARTS, st.integers(0, 10**12))
def test_draws_count_up_by_domain_and_positions_agree_with_ranges(parts, start):
    pattern = _pattern(parts)
    turns, draws = pattern.between(start, start + 50)
    for offset in range(50):
        assert pattern.at(start + offset) == (pattern.keys[turns[offset]], draws[offset])
    for index in range(len(pattern.keys)):
        assert (np.diff(draws[turns == index]) == 1).all()


def test_the_first_draw_of_every_domain_is_number_0():
    pattern = Pattern({"speech": 0.4, "environment": 0.45, "music": 0.15})
    turns, draws = pattern.between(0, pattern.length)
    assert all(draws[turns == index][0] == 0 for index in range(3))


def test_thirds_are_understood():
    assert Pattern(dict.fromkeys(DOMAINS, 1 / 3)).length == 3


@pytest.mark.parametrize("weights", [{"speech": 0.12345, "music": 0.87655}, {"speech": 0.5, "music": 0.4}])
def test_weights_that_no_pattern_fits_are_refused(weights):
    with pytest.raises(RecipeError, match="not multiples"):
        Pattern(weights)
