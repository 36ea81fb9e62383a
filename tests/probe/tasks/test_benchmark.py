import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_aut.errors import ProbeError
from whisper_aut.probe.tasks.benchmark import dealt_folds, make_clip, read_lines, read_rows, seconds_of, whole_number

NAMES = st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=60)


@given(NAMES, st.integers(2, 10))
def test_a_group_is_dealt_to_one_fold_and_folds_are_alike(groups, num_folds):
    folds = dealt_folds(groups, ["x"] * len(groups), num_folds)
    fold_of = {}
    for group, fold in zip(groups, folds, strict=True):
        assert fold_of.setdefault(group, fold) == fold
        assert 1 <= fold <= num_folds
    sizes = [sum(fold == number for fold in fold_of.values()) for number in range(1, num_folds + 1)]
    assert max(sizes) - min(sizes) <= 1


@given(NAMES, st.randoms())
def test_dealing_depends_on_names_alone_not_on_their_order(groups, random):
    labels = [str(sum(group.encode()) % 3) for group in groups]
    folds = dict(zip(groups, dealt_folds(groups, labels, 5), strict=True))
    pairs = list(zip(groups, labels, strict=True))
    random.shuffle(pairs)
    groups, labels = zip(*pairs, strict=True)
    assert dict(zip(groups, dealt_folds(groups, labels, 5), strict=True)) == folds


def test_dealing_never_changes():
    assert dealt_folds(["1001", "1002", "1003", "1004", "1005", "1006"], [""] * 6, 5) == [1, 5, 4, 2, 3, 1]


def test_the_length_comes_from_the_header(tmp_path, write_audio):
    write_audio(tmp_path / "a.wav", duration_sec=0.5, rate=44_100)
    assert seconds_of(tmp_path / "a.wav") == 0.5
    (tmp_path / "b.wav").write_text("text")
    write_audio(tmp_path / "c.wav", duration_sec=0.0)
    for name in ("b.wav", "c.wav", "none.wav", "none.raw"):
        assert math.isnan(seconds_of(tmp_path / name))


@pytest.mark.parametrize("audio", ["/etc/passwd", "../a.wav", "a/../../b.wav", "a\0.wav"])
def test_no_listed_path_leaves_the_folder(tmp_path, audio):
    with pytest.raises(ProbeError, match="leads out of the folder"):
        make_clip(tmp_path, audio, labels="x", fold=1, group="g", license_name="CC0", where="list:3")


def test_tables_are_read_with_their_lines(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text('a,b\n1,"x,y"\n2,z\n')
    assert read_rows(path, ("a", "b")) == [(f"{path}:2", {"a": "1", "b": "x,y"}), (f"{path}:3", {"a": "2", "b": "z"})]
    assert read_rows(path, ("first",), header=False)[1][1]["first"] == "1"
    path.write_text("a,b\n1\n")
    with pytest.raises(ProbeError, match=r"no 'b'[\s\S]*list.csv:2"):
        read_rows(path, ("a", "b"))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ProbeError, match="cannot be read"):
        read_rows(path, ("a",))
    with pytest.raises(ProbeError, match="cannot be read"):
        read_lines(tmp_path / "none.txt")
    with pytest.raises(ProbeError, match=r"'fold' is 'x'[\s\S]*list:7"):
        whole_number("x", "fold", "list:7")
