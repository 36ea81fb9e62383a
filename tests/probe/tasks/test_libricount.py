import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.splits import check_task
from whisper_aut.probe.tasks.libricount import LIBRICOUNT


@pytest.fixture
def copy(tmp_path, write_audio):
    for count in range(11):
        for number in range(10):
            write_audio(tmp_path / "libricount" / "test" / f"{count}_{number}abc.wav")
    return tmp_path / "libricount"


def test_eleven_counts_in_five_folds_of_equal_shares(copy, tmp_path):
    task = LIBRICOUNT.load(tmp_path)
    check_task(task)
    assert set(task.classes) == {str(count) for count in range(11)}
    for label in task.classes:
        folds = sorted(clip.fold for clip in task.clips if clip.label == label)
        assert folds == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert any("both sides" in note for note in task.notes)


def test_a_name_without_a_count_is_refused(copy, tmp_path, write_audio):
    write_audio(copy / "test" / "11_x.wav")
    with pytest.raises(ProbeError, match="does not begin with a count"):
        LIBRICOUNT.load(tmp_path)
