import numpy as np
import pytest

from whisper_aut.demo.draw import Draw
from whisper_aut.demo.environment import KIND_NAMES, PLACES, make_scene
from whisper_aut.demo.sounds import KINDS


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_every_kind_makes_finite_sound_of_the_asked_length_for_many_draws(kind):
    for index in range(12):
        for partition in ("train", "probe"):
            sound = KINDS[kind](Draw(0, partition, kind, index), 40000)
            assert sound.wave.shape == (40000,) and sound.wave.dtype == np.float32
            assert np.isfinite(sound.wave).all()
            assert np.abs(sound.wave).max() > 1e-3, (index, partition)


def share(wave, low_hz, high_hz):
    power = np.abs(np.fft.rfft(wave)) ** 2
    hertz = np.fft.rfftfreq(len(wave), 1 / 16000)
    return power[(hertz >= low_hz) & (hertz < high_hz)].sum() / power.sum()


@pytest.mark.parametrize(
    ("kind", "low_hz", "high_hz"),
    [("thunder", 0, 800), ("crickets", 2000, 6500), ("birdsong", 1200, 8000), ("wind", 0, 2000), ("engine", 10, 2500)],
)
def test_kinds_sound_where_their_namesakes_do(kind, low_hz, high_hz):
    shares = [share(KINDS[kind](Draw(1, "train", kind, i), 48000).wave, low_hz, high_hz) for i in range(8)]
    assert np.median(shares) > 0.8


def test_a_scene_is_made_of_known_parts_and_repeats_exactly():
    places, behind = set(), 0
    for index in range(60):
        kind = KIND_NAMES[index % len(KIND_NAMES)]
        wave, scene = make_scene(Draw(0, "train", "environment", index), kind, 2.5)
        again, scene_again = make_scene(Draw(0, "train", "environment", index), kind, 2.5)
        assert scene == scene_again and np.array_equal(wave, again)
        assert scene.kind == kind != scene.behind and len(wave) == 40000
        places.add(scene.place)
        behind += scene.behind is not None
    assert places == set(PLACES)
    assert 10 < behind < 45


def test_there_are_enough_kinds():
    assert len(KIND_NAMES) >= 16
