"""The words follow the numbers: corrected p, interval and sentence."""

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_aut.probe.results import ProbeReport
from whisper_aut.report.verdict import Summary, holm, make_rows, p_text, signed, summarise, verdict_of


def summary(probe: ProbeReport) -> Summary:
    return summarise(probe, make_rows(probe))


def test_holm_gives_the_textbook_example() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, made monotone.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float], alpha: float) -> None:
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = set()
    for rank, index in enumerate(order):
        if (len(p_values) - rank) * p_values[index] > alpha:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(holm(p_values)) if p <= alpha} == rejected


@pytest.mark.parametrize(
    ("delta", "interval", "p", "expected"),
    [
        (9.9, (6.8, 13.0), 1e-9, "gained"),
        (-4.2, (-7.2, -1.2), 0.01, "lost"),
        (9.9, (-0.1, 19.0), 1e-9, "within noise"),
        (9.9, (0.0, 19.0), 1e-9, "within noise"),
        (9.9, (6.8, 13.0), 0.05, "within noise"),
        (-4.2, (-7.2, 0.0), 0.01, "within noise"),
    ],
)
def test_a_verdict_needs_both_p_and_interval(
    delta: float, interval: tuple[float, float], p: float, expected: str
) -> None:
    assert verdict_of(delta, interval, p) == expected


def test_a_gain_and_a_loss_are_both_named_with_their_numbers(made: ModuleType) -> None:
    sentence = summary(made.demo_probe()).sentence
    assert sentence.startswith("Under the strict protocol at trimmed context, the adapted encoder gains 9.9 points")
    assert "on urban10 (59.6 → 69.5%, 95% interval +6.8 to +13.0, Holm-corrected p = 4e-9)" in sentence
    assert "but loses 4.2 points on instruments" in sentence


def test_a_gain_alone_comes_with_the_worst_change_within_the_noise(made: ModuleType) -> None:
    probe = made.make_probe(
        made.make_task("a", made.make_result(60, 10, 3, 1e-6)), made.make_task("b", made.make_result(90, -1, 2, 0.4))
    )
    sentence = summary(probe).sentence
    assert "gains 10.0 points on a" in sentence
    assert "no task loses significantly: the worst change, −1.0 points on b" in sentence


def test_a_loss_alone_is_the_verdict(made: ModuleType) -> None:
    probe = made.make_probe(
        made.make_task("a", made.make_result(60, -10, 3, 1e-6)), made.make_task("b", made.make_result(90, 1, 2, 0.4))
    )
    sentence = summary(probe).sentence
    assert "the adapted encoder loses 10.0 points on a" in sentence
    assert "no task gains significantly" in sentence


def test_noise_is_called_noise(made: ModuleType) -> None:
    probe = made.make_probe(
        made.make_task("a", made.make_result(60, 2, 3, 0.3)), made.make_task("b", made.make_result(90, -1, 2, 0.4))
    )
    result = summary(probe)
    assert "nothing significant changed on 2 tasks: the changes run from −1.0 points (b) to +2.0 points (a)" in (
        result.sentence
    )
    assert any("cannot rule out a loss of up to 3.0 points on b" in caution for caution in result.cautions)


def test_a_p_value_that_the_correction_takes_away_is_not_called_significant(made: ModuleType) -> None:
    tasks = [made.make_task(name, made.make_result(60, 4, 3, 0.02)) for name in ("a", "b", "c")]
    assert "nothing significant" in summary(made.make_probe(*tasks)).sentence
    alone = summary(made.make_probe(tasks[0]))
    assert "gains 4.0 points on a" in alone.sentence
    assert "Holm" not in alone.sentence + alone.basis


def test_another_protocol_stands_in_for_strict_trimmed_only_with_a_warning(made: ModuleType) -> None:
    result = made.make_result(60, 10, 3, 1e-6, protocol="paper", context="full")
    said = summary(made.make_probe(made.make_task("a", result)))
    assert said.sentence.startswith("strict/trimmed was not probed; under the paper protocol at full context")
    assert (said.protocol, said.context) == ("paper", "full")
    assert "is the result to believe and was not probed" in said.cautions[0]


def test_results_beside_strict_trimmed_do_not_touch_the_sentence(made: ModuleType) -> None:
    probe = made.make_probe(
        made.make_task(
            "a", made.make_result(60, 30, 3, 1e-9, protocol="paper"), made.make_result(60, 1, 3, 0.5), num_groups=400
        )
    )
    assert "nothing significant changed" in summary(probe).sentence


def test_no_result_at_all_is_said(made: ModuleType) -> None:
    assert "No task was probed" in summary(made.make_probe()).sentence


def test_few_recordings_and_equal_weights_are_cautioned(made: ModuleType) -> None:
    probe = made.demo_probe()
    assert any("digits comes from only 2 recordings" in caution for caution in summary(probe).cautions)
    same = probe.model_copy(update={"encoders": [probe.base, probe.base.model_copy(update={"role": "adapted"})]})
    assert any("same weights" in caution for caution in summary(same).cautions)


def test_numbers_are_written_without_minus_zero_or_false_rounding() -> None:
    assert [signed(value) for value in (9.94, -0.4, -0.04, 0.0)] == ["+9.9", "−0.4", "0.0", "0.0"]
    assert [p_text(p) for p in (1.0, 0.3366, 0.0123, 9.1e-10)] == ["1", "0.34", "0.012", "9e-10"]
    assert p_text(0.0499) == "0.0499"


def with_a_second_and_a_floor(made: ModuleType) -> ProbeReport:
    """Two tasks; the second adapted encoder loses on both, the floor loses nearly all."""
    results = [
        made.side_by_side(
            made.make_result(60, 10, 3, 0.02), made.make_result(60, -9, 3, p), made.make_result(60, -40, 3, 1e-9)
        )
        for p in (0.01, 0.03)
    ]
    tasks = [made.make_task(name, result) for name, result in zip(("a", "b"), results, strict=True)]
    return made.make_probe(*tasks, more=(("adapted", "second"), ("floor", "mfcc")))


def test_each_encoder_has_its_rows_and_its_own_correction(made: ModuleType) -> None:
    rows = make_rows(with_a_second_and_a_floor(made))
    assert [(row.task, row.encoder_number) for row in rows] == [
        ("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3),
    ]  # fmt: skip
    assert [row.p_holm for row in rows if row.encoder_number == 1] == pytest.approx([0.04, 0.04])
    assert [row.p_holm for row in rows if row.encoder_number == 2] == pytest.approx([0.02, 0.03])
    assert {row.encoder for row in rows if row.believed} == {"runs/demo/export", "second"}


def test_the_sentence_names_every_adapted_encoder_and_no_floor(made: ModuleType) -> None:
    probe = with_a_second_and_a_floor(made)
    sentence = summary(probe).sentence
    assert "for “runs/demo/export”: it gains significantly on 2 of 2 tasks" in sentence
    assert "for “second”: it loses significantly on 2 of 2 tasks" in sentence
    assert "mfcc" not in sentence and not any("mfcc" in caution for caution in summary(probe).cautions)


def test_floors_alone_give_no_verdict(made: ModuleType) -> None:
    probe = made.make_probe(made.make_task("a", made.make_result(60, -30, 3, 1e-9)))
    encoders = [probe.base, probe.encoders[1].model_copy(update={"role": "floor"})]
    said = summary(probe.model_copy(update={"encoders": encoders}))
    assert "No adapted encoder was probed" in said.sentence and said.protocol is None
