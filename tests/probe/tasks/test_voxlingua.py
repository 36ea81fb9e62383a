from whisper_aut.probe.splits import check_task
from whisper_aut.probe.tasks.voxlingua import VOXLINGUA107_TOP10


def test_the_ten_languages_with_most_clips_in_folds_by_video(tmp_path, write_audio):
    root = tmp_path / "voxlingua107_top10" / "dev"
    for rank, language in enumerate(["en", "de", "fr", "es", "it", "ru", "pl", "fi", "et", "sv", "aa", "zz"]):
        for video in range(12 - min(rank, 9)):  # the last three are equal: the first of the alphabet is taken
            for piece in range(2):
                write_audio(root / language / f"{language}vid{video}__U__S1---000{piece}.0-0001.0.wav")
    task = VOXLINGUA107_TOP10.load(tmp_path)
    check_task(task)
    assert task.classes == sorted(["en", "de", "fr", "es", "it", "ru", "pl", "fi", "et", "aa"])
    assert {clip.fold for clip in task.clips} == {1, 2, 3, 4, 5}
    assert all(clip.group.startswith(f"{clip.label}vid") and "__U__" not in clip.group for clip in task.clips)
