"""LibriCount, how many people speak at once: none to ten."""

from __future__ import annotations

from pathlib import Path

from whisper_aut.errors import ProbeError
from whisper_aut.probe.tasks.benchmark import Archive, Benchmark, make_clip, with_folds
from whisper_aut.probe.tasks.labelled import LabelledClip

NUM_FOLDS = 5
COUNTS = tuple(str(count) for count in range(11))
LICENSE = "CC BY 4.0"


def list_libricount(root: Path) -> list[LabelledClip]:
    """All clips of ``test``, in the order of their names, with folds dealt by clip, alike in counts.

    Raises:
        ProbeError: a file's name does not begin with a count.
    """
    clips = []
    for path in sorted((root / "test").glob("*.wav")):
        count = path.stem.partition("_")[0]
        if count not in COUNTS:
            raise ProbeError(
                f"the name '{path.name}' does not begin with a count from 0 to 10",
                where=str(path.parent),
                remedy="get the archive again",
            )
        clips.append(
            make_clip(
                root,
                f"test/{path.name}",
                labels=count,
                fold=1,
                group=path.stem,
                license_name=LICENSE,
                where=str(path.parent),
            )
        )
    return with_folds(clips, NUM_FOLDS, by_label=True)


LIBRICOUNT = Benchmark(
    name="libricount",
    title="LibriCount",
    domain="speech",
    license=LICENSE,
    version="1.0.0",
    homepage="https://zenodo.org/record/1216072",
    num_clips=5720,
    num_classes=11,
    split="no official training set; five folds as in HEAR, here dealt by the SHA-256 of the names within each count, "
    "for HEAR's own order could not be looked up; group: the clip, a mixture of speakers of LibriSpeech test-clean",
    layout="test/COUNT_ID.wav (5 s, 16 kHz), each with a .json of its speakers that is not used",
    checked="address, MD5, 5720 clips, folder and names as HEAR (hear-preprocess) has them. The licence was not "
    "verified",
    marker="test",
    folders=("libricount/LibriCount10-0dB", "libricount", "LibriCount10-0dB"),
    list_clips=list_libricount,
    archives=(
        Archive(
            "https://zenodo.org/record/1216072/files/LibriCount10-0dB.zip?download=1",
            "md5:30c8f844dc59fa65d216d53db9dc37e2",
        ),
    ),
    notes=("no official folds: dealt by clip; the speakers of LibriSpeech test-clean stand on both sides",),
)
