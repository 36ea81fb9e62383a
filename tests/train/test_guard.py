"""Losses that are believed, and losses that are not."""

import json
import math
import random

import pytest

from whisper_aut.train.guard import HISTORY_STEPS, MIN_HISTORY_STEPS, StepGuard


def guard_after(losses, sigma=6.0, max_skipped=2) -> StepGuard:
    guard = StepGuard(sigma, max_skipped)
    for loss in losses:
        assert guard.refusal(loss) is None
        guard.record(loss, skipped=False)
    return guard


def noisy(count: int, seed: int = 0) -> list[float]:
    rng = random.Random(seed)
    return [2.0 + rng.gauss(0, 0.1) for _ in range(count)]


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("history", [0, 40])
def test_a_loss_that_is_not_finite_is_refused_from_the_first_step_on(loss, history):
    assert guard_after(noisy(history)).refusal(loss) == f"the loss is {loss}"


def test_a_spike_is_refused_with_its_numbers_and_what_the_noise_holds_is_not():
    guard = guard_after(noisy(100))
    assert guard.refusal(2.4) is None
    assert str(guard.refusal(3.0)) == "the loss is 3.000, the last 100 were 1.992 ± 0.106"


def test_a_loss_far_below_the_recent_ones_is_welcome():
    assert guard_after(noisy(100)).refusal(0.1) is None


def test_before_there_is_a_recent_range_nothing_finite_is_refused():
    guard = guard_after(noisy(MIN_HISTORY_STEPS - 1))
    assert guard.refusal(1e6) is None
    guard.record(2.0, skipped=False)
    assert guard.refusal(1e6) is not None


def test_a_run_that_has_settled_may_still_vary():
    """A standard deviation of next to nothing makes no spike of two percent more."""
    assert guard_after([2.0] * 100).refusal(2.04) is None


def test_a_falling_loss_is_never_refused():
    guard_after([10 * math.exp(-step / 50) + 0.5 for step in range(400)])


def test_sigma_zero_lets_spikes_pass_and_nothing_else():
    guard = guard_after(noisy(100), sigma=0.0)
    assert guard.refusal(1e6) is None
    assert guard.refusal(math.nan) is not None


def test_skipped_losses_are_not_remembered_and_are_counted_in_a_row():
    guard = guard_after(noisy(50))
    before = guard.state()["losses"]
    for expected in (False, False, True):
        guard.record(100.0, skipped=True)
        assert guard.exhausted == expected
    assert guard.skipped_in_a_row == 3
    assert guard.state()["losses"] == before
    guard.record(2.0, skipped=False)
    assert not guard.exhausted
    assert guard.skipped_in_a_row == 0


def test_what_it_remembers_goes_through_json_to_the_last_bit_and_is_bounded():
    guard = guard_after(noisy(3 * HISTORY_STEPS))
    guard.record(9.0, skipped=True)
    state = json.loads(json.dumps(guard.state()))
    assert len(state["losses"]) == HISTORY_STEPS
    other = StepGuard(6.0, 2)
    other.restore(state)
    assert other.state() == guard.state()
    for loss in [*noisy(50, seed=1), 2.55, 2.6, 2.65, 2.7]:
        assert other.refusal(loss) == guard.refusal(loss)
