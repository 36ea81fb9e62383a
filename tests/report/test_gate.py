"""The gate lets through what is allowed and names what is not."""

from types import ModuleType
from xml.etree import ElementTree

import pytest

from whisper_aut.errors import EXIT_GATE_FAILED, GateFailed, ProbeError, RecipeError
from whisper_aut.report.gate import Gate, judge, parse_points
from whisper_aut.report.verdict import make_rows


def test_drops_are_read_by_task() -> None:
    assert parse_points(["speech_commands=0.5", "esc10 = 2"]) == {"speech_commands": 0.5, "esc10": 2.0}


@pytest.mark.parametrize("spec", ["esc10", "=0.5", "esc10=", "esc10=much", "esc10=-1", "esc10=nan", "esc10=inf", ""])
def test_what_is_not_task_and_points_is_refused(spec: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_points([spec])
    assert caught.value.where == "--max-drop"
    assert caught.value.remedy


def test_a_task_given_twice_is_refused() -> None:
    with pytest.raises(RecipeError, match="twice"):
        parse_points(["esc10=1", "esc10=2"])


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(ProbeError, match="did you mean 'speech_commands'"):
        parse_points(["speech_comands=0.5"], "--max-drop", ["esc10", "speech_commands"])


def test_a_drop_over_the_allowance_fails_with_its_numbers(made: ModuleType) -> None:
    verdict = judge(make_rows(made.demo_probe()), Gate({"instruments": 1.0, "esc10": 0.5}))
    assert not verdict.passed
    assert [check.passed for check in verdict.checks] == [False, True]  # a drop of exactly the allowance passes
    with pytest.raises(GateFailed) as caught:
        verdict.raise_if_failed()
    assert caught.value.exit_code == EXIT_GATE_FAILED == 3
    for part in ("instruments", "dropped 4.20", "drop of 1.00 is allowed", "−7.20 to −1.20", "p = 0.004"):
        assert part in str(caught.value)
    assert "esc10" not in str(caught.value)


def test_an_allowance_that_floats_cannot_hold_exactly_still_passes(made: ModuleType) -> None:
    probe = made.make_probe(made.make_task("a", made.make_result(60, 0.1 + 0.2 - 0.6, 1, 0.5)))
    assert judge(make_rows(probe), Gate({"a": 0.3})).passed


def test_only_strict_trimmed_counts(made: ModuleType) -> None:
    loss_elsewhere = made.make_result(60, -30, 2, 1e-9, protocol="paper", context="full")
    probe = made.make_probe(made.make_task("a", loss_elsewhere, made.make_result(60, 0, 1, 1.0)))
    judge(make_rows(probe), Gate({"a": 0.5})).raise_if_failed()
    without = made.make_probe(made.make_task("a", loss_elsewhere))
    with pytest.raises(ProbeError, match="strict/trimmed"):
        judge(make_rows(without), Gate({"a": 0.5}))


@pytest.mark.parametrize(
    ("gate", "passed"),
    [
        # instruments: −4.2 [−7.2, −1.2]
        (Gate({"instruments": 5.0}), True),
        (Gate({"instruments": 5.0}, rule="strict"), False),
        (Gate({"instruments": 1.0}, rule="lenient"), False),
        (Gate({"instruments": 1.5}, rule="lenient"), True),
        (Gate({"instruments": 7.2}, rule="strict"), True),
    ],
)
def test_a_rule_says_whether_the_change_or_an_end_of_its_interval_is_judged(
    made: ModuleType, gate: Gate, passed: bool
) -> None:
    assert judge(make_rows(made.demo_probe()), gate).passed == passed


def test_too_small_a_gain_fails_with_what_was_asked(made: ModuleType) -> None:
    probe = made.make_probe(made.make_task("a", made.make_result(60, 2.0, 1, 0.01)))
    assert judge(make_rows(probe), Gate(min_gain={"a": 2.0})).passed
    with pytest.raises(GateFailed, match=r"a gained 2\.00 points, a gain of 2\.50 is asked for") as caught:
        judge(make_rows(probe), Gate(min_gain={"a": 2.5})).raise_if_failed()
    assert "--min-gain" in caught.value.remedy


def test_junit_has_one_case_a_check_and_says_what_failed(made: ModuleType) -> None:
    verdict = judge(make_rows(made.demo_probe()), Gate({"instruments": 1.0, "esc10": 0.5}))
    suite = ElementTree.fromstring(verdict.junit().encode())
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failures = {case.get("name"): case.findtext("failure") for case in suite}
    assert failures["esc10 --max-drop"] is None
    assert "drop of 1.00 is allowed" in str(failures["instruments --max-drop"])


def test_no_gate_passes(made: ModuleType) -> None:
    assert judge(make_rows(made.demo_probe()), Gate({})).passed


def test_every_adapted_encoder_is_gated_and_no_floor(made: ModuleType) -> None:
    result = made.side_by_side(
        made.make_result(60, 1, 3, 0.5), made.make_result(60, -5, 3, 0.01), made.make_result(60, -40, 3, 1e-9)
    )
    probe = made.make_probe(made.make_task("a", result), more=(("adapted", "second"), ("floor", "mfcc")))
    verdict = judge(make_rows(probe), Gate({"a": 2.0}))
    assert [(check.encoder, check.passed) for check in verdict.checks] == [
        ("runs/demo/export", True),
        ("second", False),
    ]
    with pytest.raises(GateFailed, match=r"1 of 2 checks.*\n.*a \(second\) dropped 5\.00"):
        verdict.raise_if_failed()


def test_a_gate_with_nothing_but_floors_does_not_pass(made: ModuleType) -> None:
    probe = made.make_probe(made.make_task("a", made.make_result(60, -5, 3, 0.01)))
    floor = probe.encoders[1].model_copy(update={"role": "floor"})
    with pytest.raises(ProbeError, match="strict/trimmed"):
        judge(make_rows(probe.model_copy(update={"encoders": [probe.base, floor]})), Gate({"a": 50.0}))
