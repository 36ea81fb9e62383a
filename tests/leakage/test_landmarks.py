"""Landmarks: what a changed copy keeps of them, what silence gives, and that length and pieces change nothing."""

import numpy as np
import pytest

from whisper_aut.leakage import landmarks
from whisper_aut.leakage.landmarks import (
    HOP_SAMPLES,
    INDEX_LANDMARKS_PER_SEC,
    find_peaks,
    index_landmarks,
    query_landmarks,
)


def entries(found):
    return set(zip(found.code.tolist(), found.frame.tolist(), strict=True))


def test_every_landmark_of_the_index_is_one_of_the_query(sounds):
    wave = sounds.make_sound(1)
    asked = entries(query_landmarks(find_peaks(wave))(1.0))
    assert len(index_landmarks(wave)) > 200
    assert entries(index_landmarks(wave)) <= asked


def test_gain_changes_no_landmark(sounds):
    wave = sounds.make_sound(2)
    assert entries(index_landmarks(wave)) == entries(index_landmarks(wave * np.float32(0.25)))


def test_a_later_start_moves_landmarks_by_as_many_frames(sounds):
    wave = sounds.make_sound(3)
    moved = entries(query_landmarks(find_peaks(wave[20 * HOP_SAMPLES :]))(1.0))
    kept = {(code, frame - 20) for code, frame in entries(index_landmarks(wave)) if frame >= 60}
    assert len(kept & moved) > 0.95 * len(kept)


def test_at_its_speed_a_fast_copy_has_the_landmarks_of_the_original(sounds):
    wave = sounds.make_sound(4)
    fast = query_landmarks(find_peaks(np.asarray(sounds.CHANGES["3% faster"](wave, wave), np.float32)))
    original = set(index_landmarks(wave).code.tolist())

    def share(speed):
        return len(original & set(fast(speed).code.tolist())) / len(original)

    assert share(1.03) > 2 * share(1.0)
    assert share(1.03) > 0.2


@pytest.mark.parametrize("wave", [np.zeros(80_000), np.zeros(10), np.full(80_000, 0.1)], ids=["long", "short", "dc"])
def test_silence_has_no_landmarks(wave):
    assert len(find_peaks(wave.astype(np.float32))) == 0
    assert len(index_landmarks(wave.astype(np.float32))) == 0


def test_a_codecs_idling_is_no_sound(sounds):
    bark = sounds.make_sound(5, 0.5)
    quiet = np.random.default_rng(0).normal(size=80_000).astype(np.float32) * np.float32(1e-5)
    quiet[40_000 : 40_000 + len(bark)] += bark
    frames = find_peaks(quiet).frame * HOP_SAMPLES
    assert len(frames) > 10
    assert frames.min() > 40_000 - 2 * 1024 and frames.max() < 48_000 + 1024


def test_the_index_keeps_its_rate_whatever_the_sound(sounds):
    noise = np.random.default_rng(0).normal(size=160_000).astype(np.float32) * np.float32(0.1)
    assert len(index_landmarks(noise)) <= 10 * INDEX_LANDMARKS_PER_SEC
    assert len(index_landmarks(sounds.make_sound(6, 0.4))) <= INDEX_LANDMARKS_PER_SEC


def test_long_sounds_are_read_in_pieces_that_leave_no_seam(sounds, monkeypatch):
    wave = np.concatenate([sounds.make_sound(seed) for seed in range(4)])
    whole = find_peaks(wave)
    monkeypatch.setattr(landmarks, "_PIECE_SEC", 3)
    pieces = find_peaks(wave)
    np.testing.assert_array_equal(whole.frame, pieces.frame)
    np.testing.assert_array_equal(whole.bin, pieces.bin)
