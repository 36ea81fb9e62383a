from whisper_aut.probe.splits import check_task
from whisper_aut.probe.tasks.urbansound8k import URBANSOUND8K

COLUMNS = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")


def test_ten_folds_by_folder_and_groups_by_recording(tmp_path, write_audio, write_csv):
    root = tmp_path / "urbansound8k" / "UrbanSound8K"
    rows = [
        (f"{100 * fold + number}-{number}-0-{piece}.wav", 100 * fold + number, 0, 1, 1, fold, number, label)
        for fold in range(1, 11)
        for number, label in enumerate(["dog_bark", "siren"])
        for piece in range(2)
    ]
    write_csv(root / "metadata" / "UrbanSound8K.csv", COLUMNS, rows)
    for row in rows:
        write_audio(root / "audio" / f"fold{row[5]}" / row[0])
    task = URBANSOUND8K.load(tmp_path)
    check_task(task)
    assert {clip.fold for clip in task.clips} == set(range(1, 11))
    assert len({clip.group for clip in task.clips}) == 20 and len(task.clips) == 40
    assert all(f"fold{clip.fold}" in str(clip.audio) for clip in task.clips)
