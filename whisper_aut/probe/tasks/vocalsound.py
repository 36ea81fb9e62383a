"""VocalSound, six sounds that people make without words."""

from __future__ import annotations

from pathlib import Path

from whisper_aut.errors import ProbeError
from whisper_aut.probe.tasks.benchmark import Benchmark, make_clip, read_rows
from whisper_aut.probe.tasks.labelled import LabelledClip, Part

SOUNDS = ("cough", "laughter", "sigh", "sneeze", "sniff", "throatclearing")
LISTS: dict[str, Part] = {"tr_meta.csv": "train", "val_meta.csv": "valid", "te_meta.csv": "test"}
LICENSE = "CC BY-SA 4.0"


def list_vocalsound(root: Path) -> list[LabelledClip]:
    """All clips of ``audio_16k``, in the order of their names; the lists say each speaker's part.

    Raises:
        ProbeError: a list cannot be read, a speaker is in two, or a file's name says no speaker or sound that is known.
    """
    parts: dict[str, Part] = {}
    for list_name, part in LISTS.items():
        for where, row in read_rows(root / "meta" / list_name, ("speaker",), header=False):
            if parts.setdefault(row["speaker"], part) != part:
                raise ProbeError(
                    f"the speaker {row['speaker']} is in two parts", where=where, remedy="get the lists again"
                )
    clips = []
    for path in sorted((root / "audio_16k").glob("*.wav")):
        speaker, _, rest = path.stem.partition("_")
        sound = rest.rpartition("_")[2]
        if speaker not in parts or sound not in SOUNDS:
            raise ProbeError(
                f"the name '{path.name}' is not SPEAKER_N_SOUND.wav with a speaker of the lists and a known sound",
                where=str(path.parent),
                remedy=f"sounds are {', '.join(SOUNDS)}; get the archive again",
            )
        clips.append(
            make_clip(
                root,
                f"audio_16k/{path.name}",
                labels=sound,
                fold=parts[speaker],
                group=speaker,
                license_name=LICENSE,
                where=str(path.parent),
            )
        )
    return clips


VOCALSOUND = Benchmark(
    name="vocalsound",
    title="VocalSound",
    domain="environment",
    license=LICENSE,
    version="16 kHz release",
    homepage="https://github.com/YuanGongND/vocalsound",
    num_clips=15_531 + 1_855 + 3_591,
    num_classes=6,
    split="official train, validation and test speakers (15531, 1855, 3591 clips); group: the speaker",
    layout="audio_16k/SPEAKER_N_SOUND.wav and meta/tr_meta.csv, val_meta.csv, te_meta.csv, whose first column is the "
    "speaker",
    checked="names and folders from the owners' README, the lists as X-ARES reads them. Not verified: the licence, "
    "the number of clips (their README counts 21024 files, users of the release 20977) and any checksum, without "
    "which nothing is fetched here",
    marker="meta/te_meta.csv",
    folders=("vocalsound/vs_release_16k", "vocalsound", "vs_release_16k", "."),
    list_clips=list_vocalsound,
    by_hand="download vs_release_16k.zip by the links of https://github.com/YuanGongND/vocalsound (1.7 GB)",
)
