"""Overlaid clips: levels, lengths, texts."""

import numpy as np
import pytest

from whisper_aut.data.overlay import MAX_LEVEL_DB, Overlay, joined_text, overlaid


def tone(frequency_hz: float, num_samples: int, amplitude: float) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(num_samples) / 16_000)).astype(np.float32)


def rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(waveform.astype(np.float64) ** 2)))


@pytest.mark.parametrize("level_db", [-MAX_LEVEL_DB, 0.0, MAX_LEVEL_DB])
def test_the_partner_has_the_level_asked_for_whatever_its_own_was(level_db):
    clip, partner = tone(440, 16_000, 0.05), tone(1000, 16_000, 0.9)
    mixed = overlaid(clip, partner, Overlay(level_db, place=0.0))
    assert 20 * np.log10(rms(mixed - clip) / rms(clip)) == pytest.approx(level_db, abs=0.01)


def test_a_short_partner_stands_where_its_place_says_and_nowhere_else():
    clip, partner = tone(440, 16_000, 0.1), tone(1000, 4_000, 0.1)
    late = overlaid(clip, partner, Overlay(0.0, place=1.0))
    assert np.array_equal(late[:12_000], clip[:12_000])
    assert not np.allclose(late[12_000:], clip[12_000:])


def test_the_sum_stays_within_full_scale_and_keeps_the_clips_length():
    clip = tone(440, 8_000, 1.0)
    mixed = overlaid(clip, clip, Overlay(MAX_LEVEL_DB, place=0.0))
    assert len(mixed) == len(clip) and np.abs(mixed).max() <= 1.0


def test_silence_and_longer_partners_are_not_mixed():
    clip = tone(440, 8_000, 0.5)
    assert overlaid(clip, np.zeros(8_000, np.float32), Overlay(0.0, 0.0)) is None
    assert overlaid(np.zeros(8_000, np.float32), clip, Overlay(0.0, 0.0)) is None
    assert overlaid(clip, tone(440, 8_001, 0.5), Overlay(0.0, 0.0)) is None


def test_the_louder_sound_is_named_first_and_equal_texts_once():
    assert joined_text("A dog barks.", "Rain falls.", Overlay(3.0, 0.0)) == "Rain falls. A dog barks."
    assert joined_text("A dog barks.", "Rain falls.", Overlay(-3.0, 0.0)) == "A dog barks. Rain falls."
    assert joined_text("A dog barks.", "A dog barks.", Overlay(3.0, 0.0)) == "A dog barks."
