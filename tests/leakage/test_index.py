"""The index on disk: the same answers however it was written, four bytes a landmark, and room for what is empty."""

import numpy as np
import pytest

from whisper_aut.errors import ManifestError
from whisper_aut.leakage import index as index_module
from whisper_aut.leakage.index import LandmarkIndex, write_index
from whisper_aut.leakage.landmarks import HOP_SAMPLES, Landmarks, find_peaks, index_landmarks


def write(folder, waves):
    with write_index(folder) as writer:
        for wave in waves:
            writer.add(index_landmarks(wave), len(wave))
    return LandmarkIndex(folder)


def test_a_piece_of_a_clip_is_found_with_its_offset(sounds, tmp_path):
    waves = [sounds.make_sound(seed) for seed in range(8)]
    index = write(tmp_path, waves)
    best = index.candidates(find_peaks(waves[5][24_000:64_000]))[0]
    assert best.clip == 5
    assert best.offset_sec == pytest.approx(1.5, abs=0.02)
    assert best.speed == 1.0
    assert best.votes > 50


def test_a_clip_inside_a_longer_one_has_a_negative_offset(sounds, tmp_path):
    waves = [sounds.make_sound(seed) for seed in range(4)]
    index = write(tmp_path, waves)
    longer = np.concatenate([sounds.make_sound(9), waves[2]])
    best = index.candidates(find_peaks(longer))[0]
    assert (best.clip, round(best.offset_sec, 1)) == (2, -5.0)


def test_what_is_not_there_gets_few_votes(sounds, tmp_path):
    index = write(tmp_path, [sounds.make_sound(seed) for seed in range(30)])
    for seed in range(100, 110):
        assert all(guess.votes < 20 for guess in index.candidates(find_peaks(sounds.make_sound(seed))))


def test_small_memory_and_large_memory_write_the_same_files(sounds, tmp_path, monkeypatch):
    waves = [sounds.make_sound(seed, 2.0) for seed in range(6)]
    write(tmp_path / "large", waves)

    class Spilling(index_module.IndexWriter):
        def add(self, landmarks, num_samples):
            super().add(landmarks, num_samples)
            self._flush()

    monkeypatch.setattr(index_module, "IndexWriter", Spilling)
    write(tmp_path / "small", waves)
    for name in ("frames.bin", "counts.npy", "starts.npy"):
        assert (tmp_path / "large" / name).read_bytes() == (tmp_path / "small" / name).read_bytes()
    assert not list(tmp_path.glob("*/.spill*"))


def test_a_landmark_takes_four_bytes(sounds, tmp_path):
    index = write(tmp_path, [sounds.make_sound(seed) for seed in range(4)])
    assert (tmp_path / "frames.bin").stat().st_size == 4 * len(index) > 0


def test_silence_can_be_indexed_and_asked_about(sounds, tmp_path):
    silence = np.zeros(16_000, np.float32)
    assert write(tmp_path / "a", [silence]).candidates(find_peaks(sounds.make_sound(1))) == []
    assert write(tmp_path / "b", [silence, sounds.make_sound(1)]).candidates(find_peaks(silence)) == []


def test_landmarks_that_nearly_every_clip_has_are_asked_last(sounds, tmp_path, monkeypatch):
    waves = [sounds.make_sound(seed) for seed in range(8)]
    index = write(tmp_path, waves)
    monkeypatch.setattr(index_module, "_MAX_HITS", 400)
    assert index.candidates(find_peaks(waves[3]))[0].clip == 3


def test_more_than_a_number_of_frames_can_say_is_refused(tmp_path):
    none = Landmarks.none()
    with pytest.raises(ManifestError, match="hours at most"), write_index(tmp_path) as writer:
        for _ in range(3):
            writer.add(none, 2**31 * HOP_SAMPLES)
