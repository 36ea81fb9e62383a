"""UrbanSound8K, ten sounds of the city."""

from __future__ import annotations

from pathlib import Path

from whisper_aut.probe.tasks.benchmark import Archive, Benchmark, make_clip, read_rows, whole_number
from whisper_aut.probe.tasks.labelled import LabelledClip

COLUMNS = ("slice_file_name", "fsID", "fold", "class")
LICENSE = "CC BY-NC 3.0"


def list_urbansound8k(root: Path) -> list[LabelledClip]:
    """All 8732 excerpts, in the order of the official list."""
    return [
        make_clip(
            root,
            f"audio/fold{row['fold']}/{row['slice_file_name']}",
            labels=row["class"],
            fold=whole_number(row["fold"], "fold", where),
            group=row["fsID"],
            license_name=LICENSE,
            where=where,
        )
        for where, row in read_rows(root / "metadata" / "UrbanSound8K.csv", COLUMNS)
    ]


URBANSOUND8K = Benchmark(
    name="urbansound8k",
    title="UrbanSound8K",
    domain="environment",
    license=LICENSE,
    version="1.0",
    homepage="https://urbansounddataset.weebly.com/urbansound8k.html",
    num_clips=8732,
    num_classes=10,
    split="ten official folds; group: the Freesound recording it was cut from (fsID)",
    layout="audio/foldN/FSID-CLASS-OCCURRENCE-SLICE.wav (up to 4 s) and metadata/UrbanSound8K.csv",
    checked="columns, licence and the archive's MD5 as soundata records them; the owners' page asks for a form, their "
    "own record on Zenodo does not",
    marker="metadata/UrbanSound8K.csv",
    folders=("urbansound8k/UrbanSound8K", "urbansound8k", "UrbanSound8K", "."),
    list_clips=list_urbansound8k,
    archives=(
        Archive(
            "https://zenodo.org/record/1203745/files/UrbanSound8K.tar.gz?download=1",
            "md5:9aa69802bbf37fb986f71ec1483a196e",
        ),
    ),
)
