"""Keyed permutations: bijections, decided by the key, and well mixed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from whisper_aut.data.permutation import derive_key, permute, shuffled


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_it_is_a_bijection(size, key):
    assert (np.sort(permute(np.arange(size), size, key)) == np.arange(size)).all()
    assert (np.sort(shuffled(size, key)) == np.arange(size)).all()


@given(st.integers(1, 10**9), st.data())
def test_an_image_does_not_depend_on_what_else_is_asked(size, data):
    indices = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20)))
    together = permute(indices, size, 1)
    assert together.max() < size
    assert [int(permute(indices[i : i + 1], size, 1)[0]) for i in range(len(indices))] == together.tolist()


def test_the_values_never_change():
    # A resumed run must find the order it began with, whatever was upgraded in between.
    assert derive_key("pass", 0) == derive_key("pass", 0) != derive_key("pass", "0")
    assert permute(np.arange(10), 10, 42).tolist() == [0, 7, 3, 5, 9, 1, 4, 2, 8, 6]
    assert shuffled(10, 42).tolist() == [4, 1, 6, 2, 8, 3, 9, 0, 7, 5]


def test_images_of_neighbours_are_as_far_apart_as_chance_puts_them():
    images = permute(np.arange(10_000), 10_000, derive_key("mixing")).astype(float)
    assert abs(np.corrcoef(images[:-1], images[1:])[0, 1]) < 0.04  # four standard deviations of chance
    assert abs(np.corrcoef(np.arange(10_000), images)[0, 1]) < 0.04
