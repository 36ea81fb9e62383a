import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.splits import check_task
from whisper_aut.probe.tasks.crema_d import CREMA_D, EMOTIONS


@pytest.fixture
def copy(tmp_path, write_audio):
    root = tmp_path / "CREMA-D"
    for actor in range(1001, 1012):
        for code in EMOTIONS:
            write_audio(root / "AudioWAV" / f"{actor}_DFA_{code}_XX.wav")
    return root


def test_five_folds_by_actor(copy, tmp_path):
    task = CREMA_D.load(tmp_path)
    check_task(task)
    assert task.classes == sorted(EMOTIONS.values())
    folds = {}
    for clip in task.clips:
        folds.setdefault(clip.fold, set()).add(clip.group)
    assert sorted(folds) == [1, 2, 3, 4, 5]
    assert sorted(len(actors) for actors in folds.values()) == [2, 2, 2, 2, 3]
    assert sum(map(len, folds.values())) == 11  # no actor in two
    assert any("dealt by actor" in note for note in task.notes)


def test_the_folds_do_not_depend_on_other_files(copy, tmp_path):
    before = {clip.group: clip.fold for clip in CREMA_D.load(tmp_path).clips}
    for path in (copy / "AudioWAV").glob("*_ANG_*"):
        path.unlink()
    assert {clip.group: clip.fold for clip in CREMA_D.load(tmp_path).clips} == before


def test_the_silent_clip_is_left_out_and_counted(copy, tmp_path):
    (copy / "AudioWAV" / "1076_MTI_SAD_XX.wav").write_bytes(b"")
    task = CREMA_D.load(tmp_path)
    assert "1076_MTI_SAD_XX" not in {clip.id for clip in task.clips}
    assert "1 clip(s) known to be broken left out" in task.notes


def test_a_name_of_another_form_is_refused(copy, tmp_path):
    (copy / "AudioWAV" / "notes.wav").write_bytes(b"")
    with pytest.raises(ProbeError, match=r"'notes\.wav' is not ACTOR"):
        CREMA_D.load(tmp_path)


def test_who_lacks_it_is_sent_to_the_owners(tmp_path):
    with pytest.raises(ProbeError, match=r"CREMA-D is not there[\s\S]*git lfs clone"):
        CREMA_D.load(tmp_path)
