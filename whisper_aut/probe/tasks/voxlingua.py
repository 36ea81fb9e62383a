"""VoxLingua107's ten most frequent languages, from its development set, as HEAR has it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from whisper_aut.probe.tasks.benchmark import Archive, Benchmark, make_clip, with_folds
from whisper_aut.probe.tasks.labelled import LabelledClip

NUM_LANGUAGES = 10
NUM_FOLDS = 5
LICENSE = "CC BY 4.0"


def list_voxlingua(root: Path) -> list[LabelledClip]:
    """All clips of the ten languages with most clips (of equals the first in the alphabet), folds dealt by video."""
    paths = sorted(root.glob("*/*.wav"))
    counts = Counter(path.parent.name for path in paths)
    chosen = sorted(counts, key=lambda language: (-counts[language], language))[:NUM_LANGUAGES]
    clips = [
        make_clip(
            root,
            f"{path.parent.name}/{path.name}",
            labels=path.parent.name,
            fold=1,
            group=path.stem.partition("__U__")[0],
            license_name=LICENSE,
            where=str(path.parent),
            clip_id=f"{path.parent.name}/{path.stem}",
        )
        for path in paths
        if path.parent.name in chosen
    ]
    return with_folds(clips, NUM_FOLDS, by_label=True)


VOXLINGUA107_TOP10 = Benchmark(
    name="voxlingua107_top10",
    title="VoxLingua107, ten languages",
    domain="speech",
    license=LICENSE,
    version="hear2021",
    homepage="http://bark.phon.ioc.ee/voxlingua107/",
    num_clips=972,
    num_classes=10,
    split="the ten most frequent languages of the development set and five folds, as in HEAR; folds here dealt by the "
    "SHA-256 of the video within each language, for HEAR's own order could not be looked up; group: the video",
    layout="LANGUAGE/VIDEO__U__*.wav (up to 20 s)",
    checked="address, MD5, choice of languages and 972 clips as HEAR (hear-preprocess) has them. Not verified: the "
    "licence, and that names begin with the video's id and __U__; where they do not, each clip is its own group",
    marker="en",
    folders=("voxlingua107_top10/dev", "voxlingua107_top10", "voxlingua107/dev", "voxlingua107"),
    list_clips=list_voxlingua,
    archives=(Archive("http://bark.phon.ioc.ee/voxlingua107/dev.zip", "md5:07fbd4732c97f28c10ec8dcfed4f600e"),),
    notes=("folds dealt by video; HEAR deals clips",),
)
