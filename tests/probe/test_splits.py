import numpy as np
import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.splits import check_task, inner_splits, outer_splits, rarest_labels, refold, rows_tested
from whisper_aut.probe.tasks.labelled import load_task


def test_a_sound_task_is_accepted(rows, write_task):
    check_task(load_task(write_task(rows)))


def test_a_group_in_two_folds_is_refused_with_both_clips(rows, write_task):
    rows[4]["group"] = rows[0]["group"]
    with pytest.raises(ProbeError, match=r"leaks: 1 of 15 values of 'group'") as caught:
        check_task(load_task(write_task(rows)))
    message = str(caught.value)
    assert rows[0]["id"] in message and rows[4]["id"] in message and "clips.jsonl:5" in message


def test_one_file_in_two_folds_is_refused_whatever_its_groups_say(rows, write_task):
    rows[4].update(audio=rows[0]["audio"], offset_sec=0.05)
    with pytest.raises(ProbeError, match="values of 'audio'"):
        check_task(load_task(write_task(rows)))


def test_one_fold_is_refused(rows, write_task):
    for row in rows:
        row["fold"] = 3
    with pytest.raises(ProbeError, match=r"16 clips .* are in fold 3"):
        check_task(load_task(write_task(rows)))


def test_one_class_is_refused(rows, write_task):
    for row in rows:
        row["label"] = "same"
    with pytest.raises(ProbeError, match="one class, 'same'"):
        check_task(load_task(write_task(rows)))


@pytest.mark.parametrize("num_elsewhere", [0, 1])
def test_a_class_with_too_few_clips_to_train_on_is_refused(rows, write_task, num_elsewhere):
    rows[0]["label"] = "rare"
    if num_elsewhere:
        rows[4]["label"] = "rare"
    with pytest.raises(ProbeError, match=rf"'rare' .* has {num_elsewhere} clip\(s\) outside fold 1.*needs 2"):
        check_task(load_task(write_task(rows)))


def test_every_clip_is_tested_once_and_never_trained_on():
    folds = np.array([7, 2, 2, 5, 7, 5, 2])
    splits = outer_splits(folds)
    assert [split.fold for split in splits] == [2, 5, 7]
    assert sorted(np.concatenate([split.test for split in splits])) == list(range(7))
    for split in splits:
        assert set(folds[split.test]) == {split.fold}
        assert sorted([*split.train, *split.test]) == list(range(7))


def test_inner_splits_keep_groups_together_and_cover_everything():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 30, 200)
    classes = groups % 5
    inner = inner_splits(classes, groups, seed=1)
    assert inner.grouped
    assert sorted(np.concatenate([test for _, test in inner.splits])) == list(range(200))
    for train, test in inner.splits:
        assert not set(groups[train]) & set(groups[test])
    again = inner_splits(classes, groups, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(inner.splits[0], again.splits[0], strict=True))


@pytest.mark.parametrize("groups", [np.zeros(20, int), np.arange(20) // 10], ids=["one group", "a group a class"])
def test_where_grouping_is_impossible_inner_splits_go_by_clip_and_say_so(groups):
    classes = np.arange(20) // 10
    inner = inner_splits(classes, groups, seed=0)
    assert not inner.grouped
    for train, _ in inner.splits:
        assert set(classes[train]) == {0, 1}


@pytest.fixture
def fixed_rows(rows):
    """The same clips in parts: folds 1 and 2 train, 3 validates, 4 tests."""
    for row in rows:
        row["fold"] = {1: "train", 2: "train", 3: "valid", 4: "test"}[row["fold"]]
    return rows


def test_a_fixed_split_tests_once_and_chooses_on_validation(fixed_rows, write_task):
    task = load_task(write_task(fixed_rows))
    check_task(task)
    assert task.fixed and refold(task) is task
    folds = np.array([clip.fold for clip in task.clips])
    (split,) = outer_splits(folds, np.arange(16))
    assert split.fold == "test" and split.choose is not None
    fit, held_out = split.choose
    assert set(folds[fit]) == {"train"} and set(folds[held_out]) == {"valid"} and set(folds[split.test]) == {"test"}
    assert sorted(split.train) == sorted([*fit, *held_out])
    assert not set(split.test) & {*split.train, *fit, *held_out}
    assert list(rows_tested(folds)) == list(split.test)


def test_without_a_validation_part_there_is_nothing_to_choose_on(fixed_rows, write_task):
    for row in fixed_rows:
        row["fold"] = "test" if row["fold"] == "test" else "train"
    task = load_task(write_task(fixed_rows))
    check_task(task)
    (split,) = outer_splits(np.array([clip.fold for clip in task.clips]), np.arange(16))
    assert split.choose is None and len(split.train) == 12


@pytest.mark.parametrize(("one", "other"), [("train", "test"), ("valid", "test"), ("train", "valid")])
def test_a_group_in_two_parts_is_refused(fixed_rows, write_task, one, other):
    first = next(row for row in fixed_rows if row["fold"] == one)
    second = next(row for row in fixed_rows if row["fold"] == other)
    second["group"] = first["group"]
    with pytest.raises(ProbeError, match=rf"leaks: 1 of 15 .*in fold {one} .*in fold {other}") as caught:
        check_task(load_task(write_task(fixed_rows)))
    assert "--refold" not in str(caught.value)


def test_folds_and_parts_do_not_mix(rows, write_task):
    rows[0]["fold"] = "train"
    with pytest.raises(ProbeError, match=r"folds and parts \(1, 2, 3, 4, train\)"):
        check_task(load_task(write_task(rows)))


@pytest.mark.parametrize("part", ["train", "valid"])
def test_a_fixed_split_needs_training_and_test(fixed_rows, write_task, part):
    for row in fixed_rows:
        row["fold"] = part
    with pytest.raises(ProbeError, match=rf"has the parts {part} only"):
        check_task(load_task(write_task(fixed_rows)))


def test_a_class_with_one_clip_is_refused_wherever_it_is(fixed_rows, write_task):
    fixed_rows[0]["label"] = "rare"
    with pytest.raises(ProbeError, match=r"'rare' .* has one clip, high-1-0[\s\S]*clips.jsonl:1"):
        check_task(load_task(write_task(fixed_rows)))
    fixed_rows[0]["label"] = "high"
    fixed_rows[-1]["label"] = "rare"
    with pytest.raises(ProbeError, match=r"'rare' .* has 0 clip\(s\) outside fold test"):
        check_task(load_task(write_task(fixed_rows)))


def test_the_rarest_label_of_a_clip(rows, write_task):
    for row in rows:
        row["label"] = [row["label"], "sound"]
    rows[0]["label"] = ["sound", "low", "high"]
    task = load_task(write_task(rows))
    assert task.metric == "mAP" and task.classes == ["high", "low", "sound"]
    assert rarest_labels(task.clips)[:3] == ["high", "high", "low"]
    check_task(task)
