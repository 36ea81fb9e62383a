from collections import Counter

import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.splits import check_task
from whisper_aut.probe.tasks.superb_commands import OTHER_WORDS, SPEECH_COMMANDS_SUPERB, TEN_WORDS

CLASSES = (*TEN_WORDS, "_unknown_", "_silence_")


@pytest.fixture
def copy(tmp_path, write_audio):
    """Every word by two training speakers and one each of the lists, two noise recordings, the test archive."""
    root = tmp_path / "speech_commands_superb"
    train, test = root / "speech_commands_v0.01", root / "speech_commands_test_set_v0.01"
    valid, listed_test = [], []
    for word in (*TEN_WORDS, "bed", "zero"):
        for speaker in ("aaaaaaa1", "aaaaaaa2", "bbbbbbb1", "ccccccc1"):
            name = f"{word}/{speaker}_nohash_0.wav"
            write_audio(train / name)
            valid += [name] if speaker.startswith("b") else []
            listed_test += [name] if speaker.startswith("c") else []
    (train / "validation_list.txt").write_text("\n".join(valid))
    (train / "testing_list.txt").write_text("\n".join(listed_test))
    write_audio(train / "_background_noise_" / "pink_noise.wav", duration_sec=3.5)
    write_audio(train / "_background_noise_" / "running_tap.wav", duration_sec=2.0)
    for label in CLASSES:
        write_audio(test / label / "ccccccc1_nohash_0.wav")
    write_audio(test / "_silence_" / "0.wav")
    return root


def test_twelve_classes_with_the_test_archive_as_the_test(copy, tmp_path):
    task = SPEECH_COMMANDS_SUPERB.load(tmp_path)
    check_task(task)
    assert set(task.classes) == set(CLASSES) and len(task.classes) == 12
    counts = Counter((clip.fold, clip.label) for clip in task.clips)
    assert counts["train", "yes"] == 2 and counts["valid", "yes"] == 1 and counts["test", "yes"] == 1
    assert counts["train", "_unknown_"] == 4  # two words of two speakers
    # The lists' own test words are not used.
    assert not any("ccccccc1" in clip.id for clip in task.clips if clip.fold != "test")
    assert all("speech_commands_test_set_v0.01" in str(clip.audio) for clip in task.clips if clip.fold == "test")


def test_silence_is_cut_into_whole_seconds_and_running_tap_is_for_validation(copy, tmp_path):
    task = SPEECH_COMMANDS_SUPERB.load(tmp_path)
    crops = [clip for clip in task.clips if clip.label == "_silence_" and clip.fold != "test"]
    assert [(clip.id, clip.offset_sec, clip.duration_sec, clip.fold) for clip in crops] == [
        ("_silence_/pink_noise-0", 0.0, 1.0, "train"),
        ("_silence_/pink_noise-1", 1.0, 1.0, "train"),
        ("_silence_/pink_noise-2", 2.0, 1.0, "train"),
        ("_silence_/running_tap-0", 0.0, 1.0, "valid"),
        ("_silence_/running_tap-1", 1.0, 1.0, "valid"),
    ]
    assert {clip.group for clip in crops} == {"pink_noise", "running_tap"}
    assert any("running_tap" in note for note in task.notes)


def test_the_words_are_those_of_version_0_01():
    assert len({*TEN_WORDS, *OTHER_WORDS}) == 30


def test_without_noise_or_without_the_test_archive_it_is_refused(copy, tmp_path):
    test = copy / "speech_commands_test_set_v0.01"
    for path in test.glob("*/*.wav"):
        path.unlink()
    with pytest.raises(ProbeError, match="test archive is not there"):
        SPEECH_COMMANDS_SUPERB.load(tmp_path)
    for path in (copy / "speech_commands_v0.01" / "_background_noise_").iterdir():
        path.unlink()
    with pytest.raises(ProbeError, match="no noise recordings"):
        SPEECH_COMMANDS_SUPERB.load(tmp_path)
