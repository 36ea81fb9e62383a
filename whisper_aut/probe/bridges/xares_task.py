"""A labelled task as X-ARES takes one: tars of WAV files, one for each fold, and a ``TaskConfig``."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.data.audio import read_waveform
from whisper_aut.errors import EnvironmentProblem, ProbeError
from whisper_aut.probe.bridges import check_folds, import_suite
from whisper_aut.probe.tasks.labelled import LabelledClip, Task

READY = ".audio_tar_ready"  # X-ARES downloads where this is missing


def write_tars(task: Task, env_dir: Path) -> Path:
    """Write the task's clips into ``env_dir/NAME``, where X-ARES looks for them; nothing where they are already.

    NAME ends with the clips' hash: X-ARES keeps embeddings beside the audio and never asks whether the audio changed.

    Returns:
        The folder.

    Raises:
        AudioError: a clip cannot be read.
        ProbeError: the folder cannot be written.
    """
    folder = env_dir / _name(task)
    if (folder / READY).exists():
        return folder
    numbers = {label: number for number, label in enumerate(task.classes)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for fold in sorted({clip.fold for clip in task.clips}):
            with tarfile.open(folder / f"wds-audio-fold-{fold}-000000.tar", "w") as tar:
                for row, clip in enumerate(task.clips):
                    if clip.fold == fold:
                        _add(tar, f"{row:07d}.wav", _wav(clip))
                        _add(tar, f"{row:07d}.json", json.dumps({"class": numbers[clip.label]}).encode())
        (folder / READY).touch()
    except OSError as error:
        raise ProbeError(
            f"the audio for X-ARES cannot be written: {error}", where=str(folder), remedy="give another folder"
        ) from None
    return folder


def xares_settings(task: Task, encoder: nn.Module, env_dir: Path, *, seed: int = 42) -> Any:
    """X-ARES' ``TaskConfig`` of a task whose tars ``write_tars`` wrote: its folds, its classes, all else as X-ARES has
    it. Embeddings lie beside the tars; of Whisper at full context 1500 x D floats a clip.

    Args:
        task: with two or more folds.
        encoder: of a class that ``xares_encoder`` made, or any that X-ARES accepts.
        env_dir: as for ``write_tars``.
        seed: of the head; X-ARES' own is 42. The order of clips is never the same twice there.

    Raises:
        ProbeError: the task has a fixed split or several labels a clip.
        EnvironmentProblem: X-ARES is not installed.
    """
    check_folds(task, "X-ARES")
    config = import_suite("xares.task").TaskConfig(
        name=_name(task),
        formal_name=task.name,
        encoder=encoder,
        env_root=env_dir,
        private=True,  # nothing to download
        k_fold_splits=sorted({clip.fold for clip in task.clips}),
        label_processor=_class_of,
        output_dim=len(task.classes),
        eval_weight=len(task.clips),
        seed=seed,
    )
    config.ckpt_dir_name = f"checkpoints-seed-{seed}"  # X-ARES would give the first seed's score for every other
    return config


def decode_with_soundfile() -> None:
    """Let ``torchaudio.load`` read WAV through libsndfile, in this process.

    From torchaudio 2.9 on it needs torchcodec and the FFmpeg of the system. Where they are missing, X-ARES warns for
    each clip, skips it, and fails at an empty loader.

    Raises:
        EnvironmentProblem: torchaudio cannot be imported.
    """
    try:
        import torchaudio
    except (ImportError, OSError, RuntimeError) as error:
        raise EnvironmentProblem(
            f"X-ARES needs torchaudio, which cannot be imported: {error}",
            remedy="install the torchaudio that fits this torch",
        ) from None

    def load(path: str) -> tuple[Tensor, int]:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return torch.from_numpy(np.ascontiguousarray(samples.T)), int(rate)

    torchaudio.load = load


def _name(task: Task) -> str:
    return f"{task.name}-{task.clips_sha256[:8]}"


def _class_of(row: dict[str, Any]) -> int:
    return int(row["class"])


def _wav(clip: LabelledClip) -> bytes:
    waveform = read_waveform(
        clip.audio,
        offset_sec=clip.offset_sec,
        duration_sec=clip.duration_sec,
        clip_id=clip.id,
        channels=clip.channels,
    )
    file = io.BytesIO()
    soundfile.write(file, waveform, SAMPLE_RATE, format="WAV", subtype="FLOAT")  # the very samples that we embed
    return file.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
