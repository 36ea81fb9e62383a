from collections import Counter

import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.splits import check_task
from whisper_aut.probe.tasks.gtzan import GENRES, GTZAN, GTZAN_PAPER, filtered_ids
from whisper_aut.probe.tasks.labelled import PARTS


@pytest.fixture
def copy(tmp_path, write_audio):
    for genre in GENRES:
        for number in range(100):
            write_audio(
                tmp_path / "gtzan" / "genres" / genre / f"{genre}.{number:05d}.wav", duration_sec=0.02, rate=8000
            )
    return tmp_path / "gtzan" / "genres"


def test_the_fault_filtered_lists_equal_torchaudios():
    gtzan = pytest.importorskip("torchaudio.datasets.gtzan", exc_type=(ImportError, OSError))
    theirs = {"train": gtzan.filtered_train, "valid": gtzan.filtered_valid, "test": gtzan.filtered_test}
    for part in PARTS:
        assert set(filtered_ids(part)) == set(theirs[part])


def test_the_fault_filtered_parts_have_443_197_and_290_clips_and_share_none():
    ids = {part: list(filtered_ids(part)) for part in PARTS}
    assert [len(ids[part]) for part in PARTS] == [443, 197, 290]
    assert len(set().union(*ids.values())) == 930


def test_the_fault_filtered_task(copy, tmp_path):
    task = GTZAN.load(tmp_path)
    check_task(task)
    assert task.fixed and task.classes == sorted(GENRES)
    assert Counter(clip.fold for clip in task.clips) == {"train": 443, "valid": 197, "test": 290}
    assert task.notes == ()


def test_the_paper_split_is_stratified_80_to_20_and_says_that_it_leaks(copy, tmp_path):
    task = GTZAN_PAPER.load(tmp_path)
    check_task(task)
    for genre in GENRES:
        assert Counter(clip.fold for clip in task.clips if clip.label == genre) == {"train": 80, "test": 20}
    assert "leaks" in task.notes[0]
    assert [clip.fold for clip in task.clips] == [clip.fold for clip in GTZAN_PAPER.load(tmp_path).clips]


@pytest.mark.parametrize(("benchmark", "num_clips"), [(GTZAN, 929), (GTZAN_PAPER, 999)], ids=["filtered", "paper"])
def test_jazz_54_is_left_out_and_said_where_it_cannot_be_read(copy, tmp_path, benchmark, num_clips):
    (copy / "jazz" / "jazz.00054.wav").write_bytes(b"RIFF and nothing else")
    task = benchmark.load(tmp_path)
    assert len(task.clips) == num_clips and "jazz.00054" not in {clip.id for clip in task.clips}
    assert any("jazz.00054 left out" in note for note in task.notes)
    assert not any("that the benchmark has" in note for note in task.notes)


def test_another_unreadable_clip_is_refused(copy, tmp_path):
    (copy / "jazz" / "jazz.00055.wav").write_bytes(b"RIFF and nothing else")
    with pytest.raises(ProbeError, match=r"1 of 930 .*jazz\.00055"):
        GTZAN.load(tmp_path)


def test_a_copy_without_its_first_clip_is_refused(tmp_path):
    (tmp_path / "genres" / "blues").mkdir(parents=True)
    with pytest.raises(ProbeError, match=r"neither as \.wav nor as \.au"):
        GTZAN.load(tmp_path)
