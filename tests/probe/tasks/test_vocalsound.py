import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.splits import check_task
from whisper_aut.probe.tasks.vocalsound import SOUNDS, VOCALSOUND

SPEAKERS = {"tr": ["f0003", "m0007"], "val": ["f0011"], "te": ["m0020"]}


@pytest.fixture
def copy(tmp_path, write_audio):
    root = tmp_path / "vocalsound"
    (root / "meta").mkdir(parents=True)
    for part, speakers in SPEAKERS.items():
        (root / "meta" / f"{part}_meta.csv").write_text("".join(f"{s},female,30,us,english,no\n" for s in speakers))
        for speaker in speakers:
            for sound in SOUNDS:
                write_audio(root / "audio_16k" / f"{speaker}_0_{sound}.wav")
    return root


def test_speakers_keep_to_their_official_parts(copy, tmp_path):
    task = VOCALSOUND.load(tmp_path)
    check_task(task)
    assert task.classes == list(SOUNDS)
    parts = {clip.group: clip.fold for clip in task.clips}
    assert parts == {"f0003": "train", "m0007": "train", "f0011": "valid", "m0020": "test"}


def test_a_speaker_of_no_list_and_a_speaker_of_two_are_refused(copy, tmp_path, write_audio):
    write_audio(copy / "audio_16k" / "f0099_0_cough.wav")
    with pytest.raises(ProbeError, match="f0099_0_cough"):
        VOCALSOUND.load(tmp_path)
    with (copy / "meta" / "te_meta.csv").open("a") as file:
        file.write("f0003,female,30,us,english,no\n")
    with pytest.raises(ProbeError, match=r"speaker f0003 is in two parts[\s\S]*te_meta.csv:2"):
        VOCALSOUND.load(tmp_path)


def test_it_is_not_fetched_without_a_checksum_and_the_way_is_said():
    assert not VOCALSOUND.archives and "vs_release_16k.zip" in VOCALSOUND.by_hand
