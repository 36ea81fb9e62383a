"""Comparison by name, value and state."""

import pytest
import torch

from whisper_aut.parity.compare import Distance, Mismatch, check_names, check_weights, distance, largest


def test_names_are_compared_in_both_directions_and_named():
    check_names({"a", "b"}, {"a", "b"}, "the file")
    with pytest.raises(Mismatch, match=r"1 missing, the first is 'b'; 2 unexpected, the first is 'encoder\.a'"):
        check_names({"a", "encoder.b", "encoder.a"}, {"a", "b"}, "the file")


def test_weights_must_be_equal_to_the_last_bit_of_their_precision():
    exact = {"w": torch.tensor([1.0, 2.0 / 3])}
    for precision in (torch.float32, torch.float16, torch.bfloat16):
        check_weights({"w": exact["w"].to(precision)}, exact, "it")
    nudged = exact["w"].clone()
    nudged[1] = torch.nextafter(nudged[1], torch.tensor(1.0))
    with pytest.raises(Mismatch, match="'w' of it has other values"):
        check_weights({"w": nudged}, exact, "it")
    with pytest.raises(Mismatch, match=r"'w' of it is \(1, 2\)"):
        check_weights({"w": exact["w"][None]}, exact, "it")


def test_a_weight_that_is_not_a_number_is_another_value():
    with pytest.raises(Mismatch, match="other values"):
        check_weights({"w": torch.tensor([float("nan")])}, {"w": torch.tensor([1.0])}, "it")


def test_distance_is_in_units_of_the_references_rms():
    expected = torch.full((2, 8), 4.0)
    found = expected.clone()
    found[0, 0] += 1.0
    assert distance(found, expected) == Distance(0.25, 0.25 / 4)
    assert largest([Distance(1, 0.1), Distance(0.5, 0.2)]) == Distance(1, 0.2)


def test_other_shapes_and_values_that_are_not_finite_are_no_distance():
    with pytest.raises(Mismatch, match="states are"):
        distance(torch.zeros(1, 750, 4), torch.zeros(1, 1500, 4))
    with pytest.raises(Mismatch, match="not finite"):
        distance(torch.tensor([float("inf")]), torch.tensor([1.0]))
