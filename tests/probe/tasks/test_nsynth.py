import json

import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.arrays import task_arrays
from whisper_aut.probe.splits import check_task, outer_splits
from whisper_aut.probe.tasks.nsynth import NSYNTH

INSTRUMENTS = {
    "train": ("bass_electronic_018", "bass_electronic_025", "flute_acoustic_002", "flute_acoustic_003"),
    "valid": ("bass_electronic_001", "flute_acoustic_001"),
    "test": ("bass_electronic_001", "flute_acoustic_009"),  # as the official parts: one is also in valid
}


@pytest.fixture
def copy(tmp_path, write_audio):
    for start, (part, instruments) in enumerate(INSTRUMENTS.items()):
        notes = {}
        for instrument in instruments:
            for pitch in range(10 * start, 10 * start + 2):
                note = f"{instrument}-{pitch:03d}-127"
                family = instrument.partition("_")[0]
                notes[note] = {"note_str": note, "instrument_str": instrument, "instrument_family_str": family}
                write_audio(tmp_path / "nsynth" / f"nsynth-{part}" / "audio" / f"{note}.wav")
        (tmp_path / "nsynth" / f"nsynth-{part}" / "examples.json").write_text(json.dumps(notes))
    return tmp_path / "nsynth"


def test_families_by_the_official_parts_with_instruments_as_groups(copy, tmp_path):
    task = NSYNTH.load(tmp_path)
    check_task(task)
    assert task.classes == ["bass", "flute"]
    for clip in task.clips:
        assert clip.group in INSTRUMENTS[clip.fold] and clip.label == clip.group.partition("_")[0]


def test_validation_notes_of_tested_instruments_choose_but_do_not_train(copy, tmp_path):
    task = NSYNTH.load(tmp_path)
    arrays = task_arrays(task)
    (split,) = outer_splits(arrays.folds, arrays.groups)
    trained = {task.clips[row].group for row in split.train}
    assert trained == {*INSTRUMENTS["train"], "flute_acoustic_001"}
    assert split.choose is not None and len(split.choose[1]) == 4


def test_an_instrument_in_train_and_test_is_a_leak_all_the_same(copy, tmp_path):
    path = copy / "nsynth-train" / "examples.json"
    path.write_text(
        path.read_text().replace('"instrument_str": "flute_acoustic_002"', '"instrument_str": "flute_acoustic_009"')
    )
    with pytest.raises(ProbeError, match="leaks"):
        check_task(NSYNTH.load(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]1", '{"a": {}}', "[1]"])
def test_a_damaged_list_is_refused(copy, tmp_path, text):
    (copy / "nsynth-valid" / "examples.json").write_text(text)
    with pytest.raises(ProbeError, match=r"list of notes cannot be read[\s\S]*nsynth-valid"):
        NSYNTH.load(tmp_path)
