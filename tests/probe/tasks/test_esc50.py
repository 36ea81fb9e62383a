import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.splits import check_task
from whisper_aut.probe.tasks.esc50 import ESC10, ESC50

COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")


@pytest.fixture
def copy(tmp_path, write_audio, write_csv):
    """Three classes, five folds, one source a fold and class, two takes of the first source."""
    rows = []
    for fold in range(1, 6):
        for target, (category, esc10) in enumerate([("dog", True), ("rain", True), ("hen", False)]):
            source = 1000 * target + fold
            takes = "AB" if fold == 1 else "A"
            rows += [
                (f"{fold}-{source}-{take}-{target}.wav", fold, target, category, esc10, source, take) for take in takes
            ]
    root = tmp_path / "esc50" / "ESC-50-master"
    write_csv(root / "meta" / "esc50.csv", COLUMNS, rows)
    for row in rows:
        write_audio(root / "audio" / row[0])
    return root


def test_folds_and_groups_are_those_of_the_file_names(copy, tmp_path):
    task = ESC50.load(tmp_path)
    check_task(task)
    assert (task.name, task.folder, task.classes) == ("esc50", copy, ["dog", "hen", "rain"])
    assert len(task.clips) == 18
    for clip in task.clips:
        fold, source, _, _ = clip.id.split("-")
        assert (clip.fold, clip.group) == (int(fold), source)
    assert task.notes == ("18 clips of 2000 that the benchmark has",)
    assert {clip.duration_sec for clip in task.clips} == {0.2}


def test_esc10_is_the_marked_part_of_the_same_copy(copy, tmp_path):
    task = ESC10.load(tmp_path)
    check_task(task)
    assert task.classes == ["dog", "rain"]
    assert {clip.license for clip in task.clips} == {"CC BY 3.0"}
    assert {clip.license for clip in ESC50.load(tmp_path).clips} == {"CC BY 3.0", "CC BY-NC 3.0"}


@pytest.mark.parametrize("folder", ["ESC-50", "esc50", "."])
def test_a_copy_that_somebody_unpacked_elsewhere_is_found(copy, tmp_path, folder):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    copy.rename(elsewhere / "x" if folder == "." else elsewhere / folder)
    assert len(ESC50.load(elsewhere / "x" if folder == "." else elsewhere).clips) == 18


def test_missing_files_are_named_counted_and_can_be_got(copy, tmp_path):
    for path in sorted((copy / "audio").iterdir())[:4]:
        path.unlink()
    with pytest.raises(ProbeError, match=r"4 of 18 audio files of ESC-50 are missing: .*1-1-A-0\.wav, .*, …") as caught:
        ESC50.load(tmp_path)
    assert "whisper-aut tasks fetch esc50" in str(caught.value) and "esc50.csv:2" in str(caught.value)


def test_a_file_that_is_no_audio_is_named(copy, tmp_path):
    (copy / "audio" / "1-1-A-0.wav").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ProbeError, match=r"1 of 18 .*no readable audio: .*1-1-A-0\.wav[\s\S]*git-lfs"):
        ESC50.load(tmp_path)


def test_no_copy_says_where_it_was_looked_for_and_how_to_get_one(tmp_path):
    with pytest.raises(ProbeError, match="ESC-50 is not there") as caught:
        ESC50.load(tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "esc50") in message and f"tasks fetch esc50 --data-root {tmp_path}" in message


def test_a_list_without_a_column_or_with_a_wrong_fold_is_refused(copy, tmp_path, write_csv):
    text = (copy / "meta" / "esc50.csv").read_text()
    (copy / "meta" / "esc50.csv").write_text(text.replace("src_file", "source", 1))
    with pytest.raises(ProbeError, match="no column 'src_file'"):
        ESC50.load(tmp_path)
    (copy / "meta" / "esc50.csv").write_text(text.replace(",1,0,dog", ",one,0,dog", 1))
    with pytest.raises(ProbeError, match=r"'fold' is 'one'[\s\S]*esc50.csv:2"):
        ESC50.load(tmp_path)


def test_a_list_that_leads_out_of_the_folder_is_refused(copy, tmp_path):
    path = copy / "meta" / "esc50.csv"
    path.write_text(path.read_text().replace("1-1-A-0.wav", "../../../x.wav", 1))
    with pytest.raises(ProbeError, match="leads out of the folder"):
        ESC50.load(tmp_path)
