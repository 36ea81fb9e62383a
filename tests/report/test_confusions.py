"""Pairs of classes, counted by hand."""

import numpy as np
import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.packed import pack
from whisper_aut.report.confusions import changed_confusions, told


@pytest.fixture
def answered(made):
    """Truth 0 0 0 0 1 1 1 2 2 2 of classes dog, rain, siren."""
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    base = np.array([1, 1, 1, 0, 1, 1, 1, 2, 2, 0])
    adapted = np.array([0, 0, 0, 0, 2, 2, 1, 2, 2, 1])
    result = made.make_result(50.0, 5.0, 1.0, 0.5, classes=("dog", "rain", "siren"))
    scores = [
        score.model_copy(update={"answers": pack(answers[None])})
        for score, answers in zip(result.scores, (base, adapted), strict=True)
    ]
    result = result.model_copy(update={"scores": scores})
    return made.make_task("t", result, num_clips=10, truth=pack(truth)), result


def test_the_pairs_that_changed_most_come_first_and_single_clips_are_left_out(answered):
    found = changed_confusions(*answered, 1)
    assert told(found) == ["dog taken for rain: 3 → 0 clips", "rain taken for siren: 0 → 2 clips"]


def test_an_encoder_against_itself_changes_nothing(answered):
    task, result = answered
    same = result.model_copy(update={"scores": [result.scores[0], result.scores[0]]})
    assert changed_confusions(task, same, 1) == []


def test_of_draws_and_of_ranked_labels_there_are_none(answered):
    task, result = answered
    for update in ({"num_counted": 5}, {"answers": ""}):
        scores = [score.model_copy(update=update) for score in result.scores]
        assert changed_confusions(task, result.model_copy(update={"scores": scores}), 1) == []


def test_damaged_answers_are_a_users_error(answered):
    task, result = answered
    scores = [score.model_copy(update={"answers": "AAAA"}) for score in result.scores]
    with pytest.raises(ProbeError, match="damaged"):
        changed_confusions(task, result.model_copy(update={"scores": scores}), 1)
