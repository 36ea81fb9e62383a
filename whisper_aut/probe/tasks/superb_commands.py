"""SUPERB's keyword spotting: Speech Commands v0.01 as ten words, unknown and silence, with its own test archive."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from whisper_aut.errors import ProbeError
from whisper_aut.probe.tasks.benchmark import Archive, Benchmark, make_clip
from whisper_aut.probe.tasks.labelled import LabelledClip
from whisper_aut.probe.tasks.speech_commands import LICENSE, listed_parts, speaker_of, word_clips

TEN_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHER_WORDS = (
    "bed", "bird", "cat", "dog", "eight", "five", "four", "happy", "house", "marvin", "nine", "one", "seven", "sheila",
    "six", "three", "tree", "two", "wow", "zero",
)  # fmt: skip
UNKNOWN, SILENCE = "_unknown_", "_silence_"
TRAIN_FOLDER, TEST_FOLDER = "speech_commands_v0.01", "speech_commands_test_set_v0.01"
NOISE_FOLDER = "_background_noise_"
VALID_NOISE = "running_tap"  # the recording whose crops are for validation
CROP_SEC = 1.0


def list_superb(root: Path) -> list[LabelledClip]:
    """Training and validation words, crops of the noise recordings, and the test archive.

    Raises:
        ProbeError: the noise recordings or the test archive are missing.
    """
    train_root, test_root = root / TRAIN_FOLDER, root / TEST_FOLDER
    # The clips of testing_list.txt are not used: the test archive takes their place.
    words = [
        replace(clip, labels=(clip.label if clip.label in TEN_WORDS else UNKNOWN,))
        for clip in word_clips(train_root, listed_parts(train_root), TEN_WORDS + OTHER_WORDS)
        if clip.fold != "test"
    ]
    return words + _noise_crops(train_root) + _test_clips(test_root)


def _noise_crops(train_root: Path) -> list[LabelledClip]:
    """Consecutive crops of one second, without overlap; one recording is kept for validation."""
    crops = []
    for path in sorted((train_root / NOISE_FOLDER).glob("*.wav")):
        whole = make_clip(
            train_root,
            f"{NOISE_FOLDER}/{path.name}",
            labels=SILENCE,
            fold="valid" if path.stem == VALID_NOISE else "train",
            group=path.stem,
            license_name=LICENSE,
            where=str(path.parent),
        )
        num_crops = 0 if math.isnan(whole.duration_sec) else int(whole.duration_sec / CROP_SEC)
        crops += [
            replace(
                whole,
                id=f"{SILENCE}/{path.stem}-{number}",
                offset_sec=number * CROP_SEC,
                duration_sec=CROP_SEC,
                where=f"{path}, crop {number}",
            )
            for number in range(num_crops)
        ]
    if not crops:
        raise ProbeError(
            "there are no noise recordings of a second or more to cut silence from",
            where=str(train_root / NOISE_FOLDER),
            remedy="get a whole copy of Speech Commands v0.01",
        )
    return crops


def _test_clips(test_root: Path) -> list[LabelledClip]:
    clips = [
        make_clip(
            test_root,
            f"{label}/{path.name}",
            labels=label,
            fold="test",
            group=speaker_of(path.name) if "_nohash_" in path.name else f"test {label}/{path.stem}",
            license_name=LICENSE,
            where=str(path.parent),
            clip_id=f"test/{label}/{path.stem}",
        )
        for label in (*TEN_WORDS, UNKNOWN, SILENCE)
        for path in sorted((test_root / label).glob("*.wav"))
    ]
    if not clips:
        raise ProbeError(
            "the test archive is not there: no clip of the twelve classes",
            where=str(test_root),
            remedy="`whisper-aut tasks fetch speech_commands_superb`, or unpack speech_commands_test_set_v0.01.tar.gz "
            "there",
        )
    return clips


SPEECH_COMMANDS_SUPERB = Benchmark(
    name="speech_commands_superb",
    title="Speech Commands v0.01, 12 classes of SUPERB",
    domain="speech",
    license=LICENSE,
    version="0.01",
    homepage="https://arxiv.org/abs/2105.01051",
    num_clips=None,  # 51088, 6798 and 3081, and silence: as many whole seconds as the noise recordings have
    num_classes=12,
    split="training and validation words by the lists of v0.01, which its test-list words leave; test: the separate "
    "test archive (3081 clips); the 20 other words are _unknown_; group: the speaker's hash, for silence the noise "
    "recording",
    layout=f"{TRAIN_FOLDER}/WORD/SPEAKER_nohash_N.wav with its two lists and {NOISE_FOLDER}, and "
    f"{TEST_FOLDER}/CLASS/*.wav with {UNKNOWN} and {SILENCE}",
    checked="classes, words and the use of the test archive as s3prl has them; numbers (51094 train with 6 noise "
    "recordings, 6798 valid, 3081 test), SHA-256 and sizes as Hugging Face's superb/ks records them. s3prl finds the "
    "parts by hashing speakers, which is how the lists were made. Not verified: how files of _unknown_ in the test "
    "archive are named, and whether its silence is cut from the training noise",
    marker=f"{TEST_FOLDER}/_silence_",
    folders=("speech_commands_superb", "."),
    list_clips=list_superb,
    archives=(
        Archive(
            "http://download.tensorflow.org/data/speech_commands_v0.01.tar.gz",
            "sha256:743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
            num_bytes=1_489_096_277,
            into=TRAIN_FOLDER,
        ),
        Archive(
            "http://download.tensorflow.org/data/speech_commands_test_set_v0.01.tar.gz",
            "sha256:baa084f6b62c91de660ff0588ae4dfc4e4d534aa99ac0e5f406cba75836cbd00",
            num_bytes=71_271_436,
            into=TEST_FOLDER,
        ),
    ),
    notes=(
        "silence is every whole second of the noise recordings, running_tap for validation; s3prl draws one random "
        "second of each recording at a time, uses all recordings in both parts, and draws classes equally often",
    ),
)
