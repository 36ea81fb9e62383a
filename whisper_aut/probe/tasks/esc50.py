"""ESC-50, fifty environmental sounds, and its subset ESC-10."""

from __future__ import annotations

from pathlib import Path

from whisper_aut.probe.tasks.benchmark import Archive, Benchmark, make_clip, read_rows, whole_number
from whisper_aut.probe.tasks.labelled import LabelledClip

COLUMNS = ("filename", "fold", "category", "esc10", "src_file")
_ARCHIVE = Archive(
    "https://github.com/karoldvl/ESC-50/archive/master.zip",
    "md5:7771e4b9d86d0945acce719c7a59305a",
)
_LAYOUT = "audio/FOLD-SOURCE-TAKE-TARGET.wav (5 s, 44.1 kHz) and meta/esc50.csv"
_CHECKED = (
    "columns, file names and folds from the dataset's own description; the archive's MD5 as soundata and HEAR "
    "(hear-preprocess) record it. GitHub makes the archive anew from the branch, so its checksum may change one day"
)
_FOLDERS = ("esc50/ESC-50-master", "esc50", "ESC-50-master", "ESC-50", ".")


def list_esc50(root: Path) -> list[LabelledClip]:
    """All 2000 clips, in the order of the official list."""
    return _listed(root, only_esc10=False)


def list_esc10(root: Path) -> list[LabelledClip]:
    """The 400 clips that the official list marks as ESC-10."""
    return _listed(root, only_esc10=True)


def _listed(root: Path, *, only_esc10: bool) -> list[LabelledClip]:
    return [
        make_clip(
            root,
            f"audio/{row['filename']}",
            labels=row["category"],
            fold=whole_number(row["fold"], "fold", where),
            group=row["src_file"],
            license_name="CC BY 3.0" if row["esc10"] == "True" else "CC BY-NC 3.0",
            where=where,
        )
        for where, row in read_rows(root / "meta" / "esc50.csv", COLUMNS)
        if row["esc10"] == "True" or not only_esc10
    ]


ESC50 = Benchmark(
    name="esc50",
    title="ESC-50",
    domain="environment",
    license="CC BY-NC 3.0 (clips of ESC-10: CC BY 3.0)",
    version="2.0",
    homepage="https://github.com/karolpiczak/ESC-50",
    num_clips=2000,
    num_classes=50,
    split="five official folds (first field of the file name); group: the Freesound clip it was cut from (src_file)",
    layout=_LAYOUT,
    checked=_CHECKED,
    marker="meta/esc50.csv",
    folders=_FOLDERS,
    list_clips=list_esc50,
    archives=(_ARCHIVE,),
)

ESC10 = Benchmark(
    name="esc10",
    title="ESC-10",
    domain="environment",
    license="CC BY 3.0",
    version="2.0",
    homepage=ESC50.homepage,
    num_clips=400,
    num_classes=10,
    split="the five folds of ESC-50; group: the Freesound clip it was cut from (src_file)",
    layout=f"{_LAYOUT}, rows whose esc10 is True",
    checked=_CHECKED,
    marker="meta/esc50.csv",
    folders=_FOLDERS,
    list_clips=list_esc10,
    home="esc50",
    archives=(_ARCHIVE,),
)
