"""Numbers of single clips as text and back."""

import base64
import zlib

import numpy as np
import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.packed import pack, unpack


@pytest.mark.parametrize("shape", [(0,), (1,), (5, 400), (85_000,)])
def test_what_was_packed_comes_back(shape):
    numbers = np.random.default_rng(0).integers(0, 2**32, shape)
    assert np.array_equal(unpack(pack(numbers), shape), numbers)


def test_answers_of_a_large_task_take_little_room():
    answers = np.random.default_rng(0).integers(0, 35, 85_000)
    assert len(pack(answers)) < 110_000


@pytest.mark.parametrize(
    "text",
    ["", "no base64!", "äöü", base64.b64encode(b"not zlib").decode(), pack(np.arange(3)), pack(np.arange(5)),
     pack(np.arange(4))[:-8], base64.b64encode(zlib.compress(bytes(10**8))).decode()],
)  # fmt: skip
def test_damage_and_other_counts_are_refused_and_nothing_large_is_unpacked(text):
    with pytest.raises(ProbeError, match="single clips"):
        unpack(text, (4,))
