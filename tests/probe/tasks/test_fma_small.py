import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.splits import check_task
from whisper_aut.probe.tasks.fma_small import FMA_SMALL

TABLE = """,album,artist,set,set,track,track
,id,id,split,subset,genre_top,license
track_id,,,,,,
"""


@pytest.fixture
def copy(tmp_path, write_audio):
    """Two genres, an artist each and part; a track of another subset; a track that is known to be broken."""
    root, lines = tmp_path / "fma_small", []
    for number in range(12):
        part = ("training", "training", "validation", "test")[number % 4]
        genre = ("Rock", "Folk")[number // 4 % 2]
        lines.append(f"{number + 2},1,{number % 4}{number // 4 % 2},{part},small,{genre},CC BY")
        write_audio(root / "fma_small" / "000" / f"{number + 2:06d}.mp3", rate=44_100)
    lines += ["77,1,1,training,large,Rock,CC BY", "98565,1,1,training,small,Rock,CC BY"]
    (root / "fma_metadata").mkdir()
    (root / "fma_metadata" / "tracks.csv").write_text(TABLE + "\n".join(lines) + "\n")
    return root


def test_official_parts_with_artists_as_groups_and_without_broken_tracks(copy, tmp_path):
    task = FMA_SMALL.load(tmp_path)
    check_task(task)
    assert task.classes == ["Folk", "Rock"]
    assert len(task.clips) == 12
    assert [clip.fold for clip in task.clips[:4]] == ["train", "train", "valid", "test"]
    assert "1 clip(s) known to be broken left out" in task.notes
    assert all(clip.duration_sec > 0.1 for clip in task.clips)


def test_the_six_known_broken_tracks_are_left_out():
    assert set(FMA_SMALL.broken) == {"098565", "098567", "098569", "099134", "108925", "133297"}


@pytest.mark.parametrize("damage", ["empty", "columns", "number", "split"])
def test_a_damaged_table_is_refused(copy, tmp_path, damage):
    path = copy / "fma_metadata" / "tracks.csv"
    text = path.read_text()
    path.write_text(
        {
            "empty": "",
            "columns": text.replace("subset", "part", 1),
            "number": text.replace("\n2,", "\ntwo,", 1),
            "split": text.replace("training", "practice", 1),
        }[damage]
    )
    with pytest.raises(ProbeError, match=r"table of tracks cannot be read|split 'practice'"):
        FMA_SMALL.load(tmp_path)
