"""A labelled task as mteb takes one: a classification with one of the task's folds as the test."""

from __future__ import annotations

from typing import Any

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.data.audio import read_waveform
from whisper_aut.errors import ProbeError
from whisper_aut.probe.bridges import check_folds, import_suite
from whisper_aut.probe.tasks.labelled import LabelledClip, Task


def mteb_task(task: Task, test_fold: int) -> Any:
    """An ``AbsTaskClassification`` whose test split is one fold and whose training split are the others.

    mteb's own rules hold: eight clips a class drawn ten times, logistic regression. Its cross validation deals folds at
    random, so that clips of one recording would stand on both sides; hence official folds, one at a time. Audio is
    decoded into memory when the task is run.

    Raises:
        ProbeError: the task has no such fold, a fixed split, or several labels a clip.
        EnvironmentProblem: mteb is not installed.
    """
    check_folds(task, "mteb")
    folds = sorted({clip.fold for clip in task.clips})
    if test_fold not in folds:
        raise ProbeError(
            f"the task {task.name} has no fold {test_fold}", remedy=f"give one of {', '.join(map(str, folds))}"
        )
    base = import_suite("mteb.abstasks").AbsTaskClassification
    metadata = import_suite("mteb").TaskMetadata(
        name=f"{task.name}-fold-{test_fold}",
        description=f"fold {test_fold} of the labelled task {task.name}",
        reference=None,
        dataset={"path": task.name, "revision": task.clips_sha256},
        type="AudioClassification",
        category="a2c",
        modalities=["audio"],
        eval_splits=["test"],
        eval_langs=["zxx-Zxxx"],
        main_score="accuracy",
    )

    def load_data(self: Any, num_proc: int | None = None, **_: Any) -> None:
        """Called by mteb."""
        if not self.data_loaded:
            self.dataset = _splits(task, test_fold)
            self.data_loaded = True

    return type(
        "LabelledTask",
        (base,),
        {
            "metadata": metadata,
            "input_column_name": "audio",
            "label_column_name": "label",
            "load_data": load_data,
        },
    )()


def _splits(task: Task, test_fold: int) -> Any:
    from datasets import Dataset, DatasetDict, Features, List, Value

    # Samples, not the type Audio: that decodes through torchcodec and the FFmpeg of the system.
    features = Features(
        {"audio": {"array": List(Value("float32")), "sampling_rate": Value("int32")}, "label": Value("int64")}
    )
    numbers = {label: number for number, label in enumerate(task.classes)}
    return DatasetDict(
        {
            name: Dataset.from_list(
                [
                    {
                        "audio": {"array": _samples(clip), "sampling_rate": SAMPLE_RATE},
                        "label": numbers[clip.label],
                    }
                    for clip in task.clips
                    if (clip.fold == test_fold) == (name == "test")
                ],
                features=features,
            )
            for name in ("train", "test")
        }
    )


def _samples(clip: LabelledClip) -> Any:
    return read_waveform(
        clip.audio,
        offset_sec=clip.offset_sec,
        duration_sec=clip.duration_sec,
        clip_id=clip.id,
        channels=clip.channels,
    )
