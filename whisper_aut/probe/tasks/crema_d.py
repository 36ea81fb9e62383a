"""CREMA-D, six emotions acted in twelve sentences."""

from __future__ import annotations

from pathlib import Path

from whisper_aut.errors import ProbeError
from whisper_aut.probe.tasks.benchmark import Benchmark, make_clip, with_folds
from whisper_aut.probe.tasks.labelled import LabelledClip

EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
NUM_FOLDS = 5
LICENSE = "ODbL 1.0"


def list_crema_d(root: Path) -> list[LabelledClip]:
    """All clips of ``AudioWAV``, in the order of their names, with folds dealt by actor.

    Raises:
        ProbeError: a file's name is not ACTOR_SENTENCE_EMOTION_LEVEL.wav.
    """
    folder = root / "AudioWAV"
    clips = []
    for path in sorted(folder.glob("*.wav")):
        fields = path.stem.split("_")
        if len(fields) != 4 or fields[2] not in EMOTIONS:
            raise ProbeError(
                f"the name '{path.name}' is not ACTOR_SENTENCE_EMOTION_LEVEL.wav",
                where=str(folder),
                remedy=f"emotions are {', '.join(EMOTIONS)}; get the folder again",
            )
        clips.append(
            make_clip(
                root,
                f"AudioWAV/{path.name}",
                labels=EMOTIONS[fields[2]],
                fold=1,
                group=fields[0],
                license_name=LICENSE,
                where=str(folder),
            )
        )
    return with_folds(clips, NUM_FOLDS, by_label=False)


CREMA_D = Benchmark(
    name="crema_d",
    title="CREMA-D",
    domain="speech",
    license=LICENSE,
    version="1.0",
    homepage="https://github.com/CheyneyComputerScience/CREMA-D",
    num_clips=7441,
    num_classes=6,
    split="no official split; here five folds by actor (91 actors in the order of the SHA-256 of their number, dealt "
    "in turn), label: the emotion that the actor was asked for; group: the actor",
    layout="AudioWAV/ACTOR_SENTENCE_EMOTION_LEVEL.wav (7442 files, 16 kHz)",
    checked="names, 7442 clips, 91 actors and six emotions from the owners' page; the silent clip is an issue of "
    "theirs that several users report. Others split otherwise: HEAR and X-ARES do not keep actors apart. Not "
    "verified: the licence, which their page was not read for, and 1064_IEO_DIS_MD, which some users leave out as a "
    "minute of all emotions",
    marker="AudioWAV",
    folders=("crema_d/CREMA-D", "crema_d", "CREMA-D", "."),
    list_clips=list_crema_d,
    by_hand="the owners ask for a form and keep the audio in git-lfs: `git lfs clone "
    "https://github.com/CheyneyComputerScience/CREMA-D.git`",
    notes=("no official split: folds dealt by actor",),
    broken={"1076_MTI_SAD_XX": "has no audio"},
)
