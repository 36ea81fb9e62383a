import numpy as np
import pytest

from whisper_aut.demo.draw import Draw
from whisper_aut.demo.instruments import VOICES
from whisper_aut.demo.music import STYLE_NAMES, make_piece
from whisper_aut.demo.styles import SCALES, STYLES


@pytest.mark.parametrize("style", STYLE_NAMES)
def test_every_style_plays_within_its_rules(style):
    rules = STYLES[style]
    for index in range(6):
        wave, piece = make_piece(Draw(0, "probe", "music", index), style, 3.0)
        assert wave.shape == (48000,) and wave.dtype == np.float32 and np.isfinite(wave).all()
        assert rules.tempo[0] <= piece.tempo_bpm <= rules.tempo[1]
        assert piece.scale in rules.scales
        assert piece.melody in (*rules.melody_voices, None) and piece.chords in (*rules.comp_voices, None)


def test_patterns_fill_exactly_one_bar():
    for style in STYLES.values():
        for pattern in (*style.drums.values(), *style.bass, *style.comp):
            assert len(pattern) == 4 * style.quarters


def test_styles_name_instruments_and_scales_that_exist():
    assert len(STYLES) >= 8
    for style in STYLES.values():
        assert {*style.bass_voices, *style.comp_voices, *style.melody_voices} <= set(VOICES)
        assert set(style.scales) <= set(SCALES)


@pytest.mark.parametrize("voice", [v for v in VOICES if v not in ("music box", "distorted guitar")])
def test_instruments_are_in_tune(voice):
    hertz = 220.0
    wave = VOICES[voice](hertz, 16000, np.random.default_rng(0), 0.6)
    assert wave.shape == (16000,) and np.isfinite(wave).all()
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(16000)))
    # The strongest bin within a third of the note lies within 2% of it (bins are 1 Hz).
    low = int(hertz / 1.2)
    assert low + np.argmax(spectrum[low : int(hertz * 1.2)]) == pytest.approx(hertz, rel=0.02)


def test_the_drums_keep_the_tempo():
    # Techno with a kick on every quarter: the beat is the strongest slow period of the low band's energy.
    found = 0
    for index in range(100):
        wave, piece = make_piece(Draw(0, "train", "music", index), "techno", 6.0)
        if not piece.drums or piece.bass or piece.recording:
            continue
        spectrum = np.fft.rfft(wave)
        spectrum[int(120 * 6.0) :] = 0
        energy = (np.fft.irfft(spectrum) ** 2).reshape(-1, 160).mean(axis=1)  # 10 ms frames
        energy -= energy.mean()
        lags = np.correlate(energy, energy, "full")[len(energy) - 1 :]
        beat = 30 + np.argmax(lags[30:70])
        assert beat * 0.01 == pytest.approx(60 / piece.tempo_bpm, rel=0.05)
        found += 1
    assert found >= 2
