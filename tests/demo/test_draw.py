import numpy as np

from whisper_aut.demo.draw import STRIPES, Draw


def stripes(partition, low, high):
    draw = Draw(3, partition, "anything", 0)
    values = np.array([draw.uniform(low, high) for _ in range(2000)])
    assert values.min() >= low and values.max() < high
    return set(np.floor((values - low) / (high - low) * STRIPES).astype(int))


def test_training_and_probing_draw_from_disjoint_stripes_that_together_cover_the_range():
    train, probe = stripes("train", 40.0, 90.0), stripes("probe", 40.0, 90.0)
    assert not train & probe
    assert train | probe == set(range(STRIPES))


def test_a_draw_depends_on_its_key_alone():
    def first(*key):
        return float(Draw(*key).rng.random())

    reference = first(0, "train", "music", 5)
    assert first(0, "train", "music", 5) == reference
    for other in (
        (1, "train", "music", 5),
        (0, "probe", "music", 5),
        (0, "train", "speech", 5),
        (0, "train", "music", 6),
    ):
        assert first(*other) != reference


def test_log_uniform_is_even_in_octaves():
    draw = Draw(0, "train", "x", 0)
    values = [draw.log_uniform(100, 1600) for _ in range(4000)]
    below = np.mean(np.array(values) < 400)  # 400 is the geometric mean
    assert abs(below - 0.5) < 0.04
