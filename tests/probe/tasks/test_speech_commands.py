import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.splits import check_task
from whisper_aut.probe.tasks.speech_commands import SPEECH_COMMANDS, WORDS, speaker_of

SPEAKERS = {"train": ("0a7c2a8d", "0b40aa8e"), "valid": ("1a9afd33",), "test": ("2aca1e72",)}


@pytest.fixture
def copy(tmp_path, write_audio):
    """Three words by four speakers, and noise that is no word."""
    root = tmp_path / "speech_commands" / "speech_commands_v0.02"
    lists = {"valid": [], "test": [], "train": []}
    for word in ("yes", "no", "tree"):
        for part, speakers in SPEAKERS.items():
            for speaker in speakers:
                name = f"{word}/{speaker}_nohash_0.wav"
                write_audio(root / name)
                lists[part].append(name)
    write_audio(root / "_background_noise_" / "pink_noise.wav")
    (root / "validation_list.txt").write_text("\n".join(lists["valid"]) + "\n")
    (root / "testing_list.txt").write_text("\n".join(lists["test"]) + "\n")
    return root


def test_parts_are_those_of_the_lists_and_groups_are_speakers(copy, tmp_path):
    task = SPEECH_COMMANDS.load(tmp_path)
    check_task(task)
    assert task.classes == ["no", "tree", "yes"]
    assert len(task.clips) == 12
    for clip in task.clips:
        assert clip.group in SPEAKERS[clip.fold]


def test_there_are_35_words():
    assert len(set(WORDS)) == 35


def test_a_file_that_a_list_names_and_the_copy_lacks_is_missed(copy, tmp_path):
    (copy / "yes" / "2aca1e72_nohash_0.wav").unlink()
    with pytest.raises(ProbeError, match=r"1 of 12 audio files .*2aca1e72"):
        SPEECH_COMMANDS.load(tmp_path)


def test_a_speaker_in_two_parts_is_a_leak(copy, tmp_path, write_audio):
    write_audio(copy / "no" / "2aca1e72_nohash_1.wav")  # not listed: training
    with pytest.raises(ProbeError, match=r"leaks: 1 of 4 values of 'group'.*2aca1e72"):
        check_task(SPEECH_COMMANDS.load(tmp_path))


def test_a_file_in_both_lists_is_refused(copy, tmp_path):
    (copy / "testing_list.txt").write_text("yes/1a9afd33_nohash_0.wav\n")
    with pytest.raises(ProbeError, match="listed twice"):
        SPEECH_COMMANDS.load(tmp_path)


@pytest.mark.parametrize("name", ["0a7c2a8d_nohash_0.wav", "bed_0a7c2a8d_nohash_3.wav"])
def test_the_speaker_is_the_hash_before_nohash(name):
    assert speaker_of(name) == "0a7c2a8d"
