import numpy as np
import pytest
from scipy import signal

from whisper_aut.demo import dsp


@pytest.mark.parametrize("slope_db", [0.0, -3.0, -6.0])
def test_noise_has_the_slope_that_was_asked_for(slope_db):
    wave = dsp.noise(np.random.default_rng(0), 16000 * 20, slope_db)
    assert dsp.rms(wave) == pytest.approx(1.0, abs=0.02)
    hertz, power = signal.welch(wave, 16000, nperseg=4096)
    inside = (hertz > 100) & (hertz < 6000)
    fitted = np.polyfit(np.log2(hertz[inside]), 10 * np.log10(power[inside]), 1)[0]
    assert fitted == pytest.approx(slope_db, abs=0.15)


def test_harmonics_are_a_sum_of_sines_without_partials_above_the_nyquist_rate():
    n, hertz = 4000, 3000.0
    time_sec = np.arange(1, n + 1) / 16000
    wanted = np.sin(2 * np.pi * hertz * time_sec) + 0.5 * np.sin(2 * np.pi * 2 * hertz * time_sec)
    np.testing.assert_allclose(dsp.harmonics(hertz, n, [1.0, 0.5, 0.9, 0.9]), wanted, atol=2e-3)


def test_mix_sets_the_level_of_the_active_part():
    front = np.zeros(16000, np.float32)
    front[:8000] = dsp.tone(500.0, 8000)
    back = dsp.noise(np.random.default_rng(0), 16000)
    mixed = dsp.mix(front, back, 6.0)
    assert dsp.rms(mixed[8000:]) == pytest.approx(10 ** (-6 / 20), rel=0.03)
    assert dsp.rms(mixed[:8000] - back[:8000] * np.float32(10 ** (-6 / 20))) == pytest.approx(1.0, rel=0.03)


def test_an_event_beyond_the_end_is_cut():
    target = np.zeros(10, np.float32)
    dsp.add_at(target, np.ones(5, np.float32), 8)
    dsp.add_at(target, np.ones(5, np.float32), -3)
    dsp.add_at(target, np.ones(5, np.float32), 99)
    assert target.tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 1, 1]


def test_contour_stays_within_its_bounds():
    curve = dsp.contour(np.random.default_rng(0), 50000, 3.0, -0.5, 2.0)
    assert curve.min() >= -0.5 and curve.max() <= 2.0
    assert np.abs(np.diff(curve)).max() < 0.01


def test_pcm_has_the_peak_that_was_asked_for_and_silent_ends():
    pcm = dsp.to_pcm16(dsp.tone(440.0, 8000, phase=0.2), 0.5)
    assert abs(int(np.abs(pcm.astype(int)).max()) - 16384) <= 1
    assert pcm[0] == 0 and pcm[-1] == 0
    assert not dsp.to_pcm16(np.zeros(100, np.float32), 0.5).any()
