import hashlib
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="the extra [demo] is not installed")

from whisper_aut.demo.draw import Draw
from whisper_aut.demo.speech import PROBE_VOICES, TRAIN_VOICES, WORDS, Voice, spoken_clip, spoken_word, synthesise
from whisper_aut.errors import EnvironmentProblem

TEXT = "The young farmer found a silver ring on the hill."


def digest(wave):
    return hashlib.sha256(wave.tobytes()).hexdigest()


def test_the_same_request_gives_the_same_bytes_whatever_was_said_before():
    names = [*TRAIN_VOICES[::7], *PROBE_VOICES]  # every vocal tract once
    forwards = [digest(synthesise(TEXT, Voice(name, 170, 50, 50))) for name in names]
    synthesise("Something else entirely, spoken in between!", Voice("en-us+m3", 120, 80, 10))
    backwards = [digest(synthesise(TEXT, Voice(name, 170, 50, 50))) for name in reversed(names)]
    assert forwards == backwards[::-1]
    assert len(set(forwards)) == len(names), "two voices sound the same"


def test_another_process_gives_the_same_bytes():
    code = (
        "import hashlib; from whisper_aut.demo.speech import Voice, synthesise\n"
        "print(hashlib.sha256(synthesise('Good evening.', Voice('en-us+m1', 150, 40, 60)).tobytes()).hexdigest())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert printed == digest(synthesise("Good evening.", Voice("en-us+m1", 150, 40, 60)))


def test_speed_and_pitch_are_heard():
    slow = synthesise(TEXT, Voice("en-us+m1", 120, 50, 50))
    fast = synthesise(TEXT, Voice("en-us+m1", 240, 50, 50))
    assert len(slow) > 1.5 * len(fast)

    def pitch_hz(wave):
        # The strongest period between 60 and 300 Hz over the whole utterance.
        spectrum = np.abs(np.fft.rfft(wave, 2 * len(wave))) ** 2
        lags = np.fft.irfft(spectrum)[16000 // 300 : 16000 // 60]
        return 16000 / (np.argmax(lags) + 16000 // 300)

    low, high = (pitch_hz(synthesise("Ah, ah, ah.", Voice("en-us+m1", 150, pitch, 0))) for pitch in (20, 80))
    assert high > 1.2 * low


def test_training_and_probing_share_no_vocal_tract():
    tracts = [{name.split("+")[1] for name in voices} for voices in (TRAIN_VOICES, PROBE_VOICES)]
    assert not tracts[0] & tracts[1]
    assert len(PROBE_VOICES) == len(set(PROBE_VOICES)) == 15


def test_a_long_sentence_is_spoken_faster_not_cut():
    wave = spoken_clip(Draw(0, "train", "speech", 0), TEXT, ("en-us+m1",), max_sec=2.0)
    assert 1.0 < len(wave) / 16000 <= 2.0


def test_word_clips_are_between_one_and_two_seconds():
    for index, word in enumerate(WORDS):
        seconds = len(spoken_word(Draw(0, "probe", "demo_words", index), word, PROBE_VOICES[index])) / 16000
        assert 0.99 <= seconds <= 2.01


@pytest.mark.parametrize("name", ["en-us+nobody", "xx-nowhere+m1"])
def test_an_unknown_voice_is_an_error_that_names_it(name):
    with pytest.raises(EnvironmentProblem, match=r"nobody|xx-nowhere"):
        synthesise("Hello.", Voice(name, 150, 50, 50))


def test_a_missing_extra_is_an_error_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)  # what a failed import leaves behind
    with pytest.raises(EnvironmentProblem, match=r"espeakng-loader.*(?s:.*)whisper-aut\[demo\]"):
        synthesise("Hello.", Voice("en-us+m1", 150, 50, 50))
