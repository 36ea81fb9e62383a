"""Speech Commands v0.02, all 35 words."""

from __future__ import annotations

from pathlib import Path

from whisper_aut.errors import ProbeError
from whisper_aut.probe.tasks.benchmark import Archive, Benchmark, make_clip, read_lines
from whisper_aut.probe.tasks.labelled import LabelledClip, Part

WORDS = (
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy",
    "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop",
    "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
)  # fmt: skip
LISTS: dict[str, Part] = {"validation_list.txt": "valid", "testing_list.txt": "test"}
LICENSE = "CC BY 4.0"


def speaker_of(file_name: str) -> str:
    """The hash of the speaker: what stands before ``_nohash_``, without a word put in front of it."""
    return file_name.partition("_nohash_")[0].rpartition("_")[2]


def listed_parts(root: Path) -> dict[str, Part]:
    """``word/file.wav`` to its part, from the two official lists; what they do not name is for training.

    Raises:
        ProbeError: a list is missing, or names a file twice.
    """
    parts: dict[str, Part] = {}
    for list_name, part in LISTS.items():
        for line in read_lines(root / list_name):
            if line in parts:
                raise ProbeError(f"'{line}' is listed twice", where=str(root / list_name), remedy="get the lists again")
            parts[line] = part
    return parts


def word_clips(root: Path, parts: dict[str, Part], words: tuple[str, ...]) -> list[LabelledClip]:
    """Every recording of the words, and every one that a list names, there or not, in the order of their paths."""
    found = {f"{word}/{path.name}" for word in words for path in (root / word).glob("*.wav")}
    return [
        make_clip(
            root,
            audio,
            labels=audio.partition("/")[0],
            fold=parts.get(audio, "train"),
            group=speaker_of(Path(audio).name),
            license_name=LICENSE,
            where=str(root),
            clip_id=audio.removesuffix(".wav"),
        )
        for audio in sorted(found | parts.keys())
    ]


def list_words(root: Path) -> list[LabelledClip]:
    """All recordings of the 35 words."""
    return word_clips(root, listed_parts(root), WORDS)


SPEECH_COMMANDS = Benchmark(
    name="speech_commands",
    title="Speech Commands v0.02, 35 words",
    domain="speech",
    license=LICENSE,
    version="0.02",
    homepage="https://arxiv.org/abs/1804.03209",
    num_clips=105_829,
    num_classes=35,
    split="validation_list.txt and testing_list.txt (9981 and 11005 clips), all other words train (84843); group: the "
    "speaker's hash in the file name",
    layout="WORD/SPEAKER_nohash_N.wav (up to 1 s, 16 kHz), validation_list.txt, testing_list.txt; _background_noise_ "
    "is not used",
    checked="the archive's SHA-256 and size as TensorFlow Datasets and torchaudio record them; lists and names as "
    "torchaudio reads them. The numbers of clips are the commonly quoted ones and were not counted here",
    marker="testing_list.txt",
    folders=(
        "speech_commands/speech_commands_v0.02",
        "speech_commands",
        "speech_commands_v0.02",
        "SpeechCommands/speech_commands_v0.02",
        ".",
    ),
    list_clips=list_words,
    archives=(
        Archive(
            "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
            "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
            num_bytes=2_428_923_189,
            into="speech_commands_v0.02",
        ),
    ),
)
