import json

import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.splits import check_task
from whisper_aut.probe.tasks.fsd50k import FSD50K


@pytest.fixture
def copy(tmp_path, write_audio):
    root = tmp_path / "fsd50k"
    dev, test = ["fname,labels,mids,split"], ["fname,labels,mids"]
    for number in range(8):
        labels = ("Bark,Dog,Animal", "Meow,Cat,Animal")[number % 2]
        write_audio(root / "FSD50K.dev_audio" / f"{100 + number}.wav")
        dev.append(f'{100 + number},"{labels}","/m/1,/m/2,/m/3",{"val" if number > 5 else "train"}')
        write_audio(root / "FSD50K.eval_audio" / f"{200 + number}.wav")
        test.append(f'{200 + number},"{labels}","/m/1,/m/2,/m/3"')
    (root / "FSD50K.ground_truth").mkdir()
    (root / "FSD50K.ground_truth" / "dev.csv").write_text("\n".join(dev))
    (root / "FSD50K.ground_truth" / "eval.csv").write_text("\n".join(test))
    return root


def test_several_labels_a_clip_in_the_official_parts(copy, tmp_path):
    task = FSD50K.load(tmp_path)
    check_task(task)
    assert task.metric == "mAP" and task.fixed
    assert task.classes == ["Animal", "Bark", "Cat", "Dog", "Meow"]
    assert task.clips[0].labels == ("Bark", "Dog", "Animal")
    assert [sum(clip.fold == part for clip in task.clips) for part in ("train", "valid", "test")] == [6, 2, 8]


def test_licences_come_from_the_metadata_where_it_is_there(copy, tmp_path):
    assert {clip.license for clip in FSD50K.load(tmp_path).clips} == {FSD50K.license}
    (copy / "FSD50K.metadata").mkdir()
    path = copy / "FSD50K.metadata" / "eval_clips_info_FSD50K.json"
    path.write_text(json.dumps({str(200 + number): {"license": "CC0"} for number in range(8)}))
    assert {clip.license for clip in FSD50K.load(tmp_path).clips if clip.fold == "test"} == {"CC0"}
    path.write_text("[]")
    with pytest.raises(ProbeError, match="licences cannot be read"):
        FSD50K.load(tmp_path)


def test_an_unknown_split_is_refused(copy, tmp_path):
    path = copy / "FSD50K.ground_truth" / "dev.csv"
    path.write_text(path.read_text().replace(",val", ",dev", 1))
    with pytest.raises(ProbeError, match=r"'split' is 'dev'[\s\S]*dev.csv:8"):
        FSD50K.load(tmp_path)


def test_a_class_that_is_never_tested_is_refused(copy, tmp_path):
    path = copy / "FSD50K.ground_truth" / "dev.csv"
    path.write_text(path.read_text().replace("Bark,Dog", "Wolf,Dog", 2))
    with pytest.raises(ProbeError, match=r"'Wolf' of the task fsd50k has no test clip"):
        check_task(FSD50K.load(tmp_path))
