"""Listening: every change of a copy is heard through, strangers are not taken for copies, processes change nothing."""

import os
import signal

import numpy as np
import pytest

from whisper_aut.errors import LoaderLost
from whisper_aut.leakage import search as search_module
from whisper_aut.leakage.search import build_index, in_processes, search
from whisper_aut.leakage.sides import manifest_segments, task_segments
from whisper_aut.probe.tasks.labelled import load_task

CHANGES = (
    "gain", "upside down", "shift", "8 kHz", "MP3 64k", "Opus 16k", "cut to 2 s", "inside a longer one",
    "mixed at 0 dB", "3% faster", "3% slower", "0.1% faster",
)  # fmt: skip
NUM_CLIPS = 24


@pytest.fixture
def listen(write_sides, tmp_path):
    """Listens to training waveforms for the evaluation's: what was heard, and the ids that were matched, by id."""

    def listen(train, evaluation, workers=0):
        manifest, task = write_sides(train, evaluation)
        clips = task_segments([load_task(task)])
        build_index(tmp_path / "index", clips, workers=workers, heard=lambda clip, found: None)
        heard = list(search(tmp_path / "index", clips, manifest_segments(manifest), workers=workers))
        return heard, {each.segment.id: [clips[match.clip].id for match in each.matches] for each in heard}

    return listen


def test_all_changes_are_known(sounds):
    assert set(CHANGES) == set(sounds.CHANGES)


def test_the_codecs_are_as_harsh_as_their_names_say(sounds):
    import io

    import soundfile

    wave = sounds.make_sound(0)
    for kind, subtype, level, rate, kbit in (
        ("MP3", "MPEG_LAYER_III", 0.885, 44_100, 64), ("OGG", "OPUS", 0.96, 16_000, 16),
    ):  # fmt: skip
        packed = io.BytesIO()
        soundfile.write(packed, np.resize(wave, 30 * rate), rate, subtype, format=kind, compression_level=level)
        assert len(packed.getvalue()) * 8 / 30 / 1000 < 1.4 * kbit


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_heard(listen, sounds, change):
    evaluation = {f"eval{seed}": sounds.make_sound(seed) for seed in range(NUM_CLIPS)}
    train = {
        f"train{seed}": np.asarray(
            sounds.CHANGES[change](sounds.make_sound(seed), sounds.make_sound(1000 + seed)), np.float32
        )
        for seed in range(6)
    }
    _, matched = listen(train, evaluation)
    assert matched == {f"train{seed}": [f"eval{seed}"] for seed in range(6)}


def test_strangers_are_not_taken_for_copies(listen, sounds):
    train = {f"train{seed}": sounds.make_sound(500 + seed) for seed in range(NUM_CLIPS)}
    rng = np.random.default_rng(10_000)  # no seed of a sound: even its quietest noise would be found
    times = np.arange(64_000) / 16_000
    train |= {
        "noise": rng.normal(size=64_000) * 0.1,
        "tone": 0.3 * np.sin(2 * np.pi * 440 * times),
        "silence": np.zeros(64_000),
        "nearly silent": rng.normal(size=64_000) * 1e-5,
        "click": np.eye(1, 64_000, 30_000)[0],
    }
    evaluation = {f"eval{seed}": sounds.make_sound(seed) for seed in range(NUM_CLIPS)}
    evaluation |= {
        "noise": np.random.default_rng(10_001).normal(size=80_000) * 0.1,
        "tone": 0.2 * np.sin(2 * np.pi * 440 * np.arange(80_000) / 16_000 + 1) + rng.normal(size=80_000) * 1e-3,
        "silence": np.zeros(80_000),
        "nearly silent": np.random.default_rng(10_002).normal(size=80_000) * 1e-5,
        "click": np.eye(1, 80_000, 20_000)[0],
    }
    heard, matched = listen(train, evaluation)
    assert {name: found for name, found in matched.items() if found} == {}
    assert sum(each.num_guesses for each in heard) > 0
    assert all(each.closest.found.confidence < 12 for each in heard if each.closest)
    assert {each.segment.id for each in heard if not each.num_peaks} >= {"silence"}


def test_a_clip_late_in_a_long_one_is_heard_at_its_place(listen, sounds):
    clip = sounds.make_sound(1)
    long = np.concatenate([sounds.make_sound(2000 + seed) for seed in range(15)] + [clip, sounds.make_sound(3000)])
    heard, matched = listen({"long": long}, {"clip": clip, "other": sounds.make_sound(2)})
    assert matched == {"long": ["clip"]}
    found = heard[0].matches[0].found
    assert found.offset_sec == pytest.approx(-75.0, abs=1e-3)
    assert found.start_sec == pytest.approx(75.0, abs=1e-3)
    assert found.overlap_sec == pytest.approx(5.0, abs=0.01)


def test_a_clip_across_the_seam_of_two_pieces_is_heard(listen, sounds):
    clip = sounds.make_sound(1)
    long = np.concatenate([sounds.make_sound(2000, 27.5), clip, sounds.make_sound(3000, 40.0)])
    _, matched = listen({"long": long}, {"clip": clip, "other": sounds.make_sound(2)})
    assert matched == {"long": ["clip"]}


def test_several_processes_hear_what_one_hears(listen, sounds):
    evaluation = {f"eval{seed}": sounds.make_sound(seed, 2.0) for seed in range(70)}
    train = {f"train{seed}": sounds.make_sound(seed, 2.0)[:24_000] for seed in range(40, 110)}
    one, matched = listen(train, evaluation)
    two, matched_by_two = listen(train, evaluation, workers=2)
    assert one == two
    assert matched == matched_by_two
    assert sum(map(len, matched.values())) == 30


def test_unreadable_clips_are_named_and_the_others_heard(listen, sounds, tmp_path, write_sides):
    waves = {f"clip{seed}": sounds.make_sound(seed) for seed in range(3)}
    manifest, task = write_sides(waves, waves)
    (tmp_path / "train" / "clip1.wav").write_bytes(b"RIFF and no more")
    (tmp_path / "task" / "clip2.wav").write_bytes(b"")
    clips = task_segments([load_task(task)])
    prints = []
    build_index(tmp_path / "index", clips, workers=0, heard=lambda clip, found: prints.append(found.problem))
    heard = list(search(tmp_path / "index", clips, manifest_segments(manifest), workers=0))
    assert [bool(problem) for problem in prints] == [False, False, True]
    assert [bool(each.problem) for each in heard] == [False, True, False]
    assert [[match.clip for match in each.matches] for each in heard] == [[0], [], []]


def _kill_itself(item):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_an_error_that_says_so():
    with pytest.raises(LoaderLost, match="killed"):
        list(in_processes(_kill_itself, range(10), 1))


def test_items_are_taken_as_they_are_needed(monkeypatch):
    taken = []

    def items():
        for number in range(10_000):
            taken.append(number)
            yield number

    monkeypatch.setattr(search_module, "_BATCH_CLIPS", 4)
    results = in_processes(abs, items(), 1)
    assert next(results) == 0
    assert len(taken) <= 12
    results.close()
