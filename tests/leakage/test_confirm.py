"""The waveforms' word: shared audio is confirmed where it is, and nothing that is merely alike."""

import numpy as np
import pytest
import scipy.signal
import soxr

from whisper_aut.leakage.confirm import confirm, confirm_at_speed

RATE = 16_000


def noise(seed, duration_sec=4.0):
    return np.random.default_rng(seed).normal(size=round(duration_sec * RATE)).astype(np.float32) * np.float32(0.1)


def tone(hertz, seed=0, duration_sec=4.0):
    """A harmonic note with noise 60 dB below it."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(duration_sec * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * k * hertz * times + rng.uniform(0, 6)) / k for k in range(1, 9))
    return (0.1 * wave + 1e-4 * rng.normal(size=len(times))).astype(np.float32)


def test_the_offset_is_exact_to_the_sample(sounds):
    wave = sounds.make_sound(1)
    found = confirm(wave[10_007:70_000], wave, 10_007 / RATE + 0.012)
    assert found is not None and found.shared
    assert found.offset_sec == pytest.approx(10_007 / RATE, abs=1e-9)
    assert found.correlation == pytest.approx(1.0, abs=1e-3)
    assert found.overlap_sec == pytest.approx((70_000 - 10_007) / RATE)


def test_a_copy_under_another_sound_is_confirmed_with_less_correlation(sounds):
    wave = sounds.make_sound(2)
    found = confirm(sounds.mixed(wave, noise(3, 5.0)), wave, 0.0)
    assert found is not None and found.shared
    assert 0.1 < found.correlation < 0.8


@pytest.mark.parametrize("seed", range(8))
def test_strangers_are_not_confirmed(sounds, seed):
    found = confirm(sounds.make_sound(100 + seed), sounds.make_sound(200 + seed), 0.1 * seed)
    assert found is not None and not found.shared


def test_equal_notes_of_two_takes_are_not_confirmed():
    assert not confirm(tone(220.0, 1), tone(220.0, 2), 0.0).shared


def test_the_same_hum_in_two_recordings_is_not_confirmed():
    assert not confirm(noise(1) + 5 * tone(50.0, 3), noise(2) + 5 * tone(50.0, 3), 0.0).shared


def test_a_click_that_two_clips_have_is_not_confirmed():
    click = scipy.signal.unit_impulse(64_000, 30_000).astype(np.float32)
    assert not confirm(click + noise(1) * 1e-3, click + noise(2) * 1e-3, 0.0).shared
    assert confirm(click, click, 0.0) is None or not confirm(click, click, 0.0).shared


def test_equal_beginnings_in_codec_silence_are_not_confirmed():
    ramp = np.zeros(64_000, np.float32)
    ramp[:400] = np.hanning(400)
    assert not confirm(ramp + noise(1) * 1e-2, ramp + noise(2) * 1e-2, 0.0).shared


@pytest.mark.parametrize("silent", [np.zeros(64_000, np.float32), np.zeros(100, np.float32)])
def test_silence_and_snippets_say_nothing(silent):
    assert confirm(silent, noise(1), 0.0) is None
    assert confirm(noise(1), silent, 0.0) is None
    assert confirm(noise(1), noise(1), 3.9) is None  # a tenth of a second is shared


@pytest.mark.parametrize("speed", [0.97, 0.9937, 1.0011, 1.0289])
def test_the_exact_speed_is_found_near_the_guessed_one(sounds, speed):
    wave = sounds.make_sound(4)
    fast = soxr.resample(wave, RATE * speed, RATE)[16_000:]
    guess = round(speed / 0.005) * 0.005
    found = confirm_at_speed(fast, wave, 16_000 / RATE * speed + 0.01, guess)
    assert found is not None and found.shared
    assert found.speed == pytest.approx(speed, abs=1e-4)
    assert found.offset_sec == pytest.approx(speed, abs=2e-3)


def test_strangers_are_not_confirmed_at_any_speed(sounds):
    for seed in range(4):
        found = confirm_at_speed(sounds.make_sound(300 + seed), sounds.make_sound(400 + seed), 0.0, 1.02)
        assert found is not None and not found.shared


def test_a_copy_upside_down_is_a_copy(sounds):
    wave = sounds.make_sound(6)
    found = confirm(-wave[8000:], wave, 0.5)
    assert found is not None and found.shared
    assert found.correlation == pytest.approx(-1.0, abs=1e-3)


def test_a_short_word_is_enough(sounds):
    word = sounds.make_sound(7, 0.25)
    found = confirm(word * np.float32(0.3), word, 0.0)
    assert found is not None and found.shared
    other = confirm(sounds.make_sound(8, 0.25), word, 0.0)
    assert other is None or not other.shared


def test_a_piece_of_something_longer_knows_its_place(sounds):
    wave = sounds.make_sound(5)
    found = confirm(wave[:60_000], wave, 0.0).later_by(30.0)
    assert (found.offset_sec, found.start_sec) == (-30.0, 30.0)
