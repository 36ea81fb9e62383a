"""FMA small, eight genres of music by artists who share it freely."""

from __future__ import annotations

from pathlib import Path

from whisper_aut.data.separated import Dialect, records
from whisper_aut.data.text_lines import numbered_lines
from whisper_aut.errors import ProbeError
from whisper_aut.probe.tasks.benchmark import Archive, Benchmark, make_clip
from whisper_aut.probe.tasks.labelled import LabelledClip, Part

PARTS: dict[str, Part] = {"training": "train", "validation": "valid", "test": "test"}
COLUMNS = {
    "subset": ("set", "subset"),
    "split": ("set", "split"),
    "genre": ("track", "genre_top"),
    "license": ("track", "license"),
    "artist": ("artist", "id"),
}


def list_fma_small(root: Path) -> list[LabelledClip]:
    """The 8000 tracks of the subset 'small', in the order of the official table.

    Raises:
        ProbeError: the table cannot be read, or a track is in no part.
    """
    path = root / "fma_metadata" / "tracks.csv"
    clips = []
    for where, track, row in _tracks(path):
        if row["subset"] != "small":
            continue
        part = PARTS.get(row["split"])
        if part is None or not row["genre"]:
            raise ProbeError(
                f"the track {track} has the split '{row['split']}' and the genre '{row['genre']}'",
                where=where,
                remedy="get fma_metadata.zip again",
            )
        clips.append(
            make_clip(
                root,
                f"fma_small/{track[:3]}/{track}.mp3",
                labels=row["genre"],
                fold=part,
                group=f"artist {row['artist']}",
                license_name=row["license"] or "unknown",
                where=where,
            )
        )
    return clips


def _tracks(path: Path) -> list[tuple[str, str, dict[str, str]]]:
    """(file:line, number of six digits, columns). The table has two lines of headings, and one that names its index."""
    try:
        found = records(numbered_lines(path), Dialect())
        (_, first), (_, second), _ = next(found), next(found), next(found)
        headings = list(zip(first, second, strict=True))
        at = {name: headings.index(heading) for name, heading in COLUMNS.items()}
        rows = [(f"{path}:{number}", cells) for number, cells in found]
        for where, cells in rows:
            if isinstance(cells, str) or len(cells) != len(headings):
                what = cells if isinstance(cells, str) else f"it has {len(cells)} columns, not {len(headings)}"
                raise ProbeError(f"the line cannot be read: {what}", where=where, remedy="get fma_metadata.zip again")
        return [
            (where, f"{int(cells[0]):06d}", {name: cells[index] for name, index in at.items()}) for where, cells in rows
        ]
    except (OSError, StopIteration, ValueError) as error:
        raise ProbeError(
            f"the table of tracks cannot be read: {error!r}", where=str(path), remedy="get fma_metadata.zip again"
        ) from None


FMA_SMALL = Benchmark(
    name="fma_small",
    title="FMA small",
    domain="music",
    license="the artists' own, by track; metadata CC BY 4.0",
    version="rc1 (2017-05-09)",
    homepage="https://github.com/mdeff/fma",
    num_clips=7994,
    num_classes=8,
    split="official training, validation and test (80/10/10, no artist in two of them); group: the artist",
    layout="fma_metadata/tracks.csv and fma_small/NNN/NNNNNN.mp3 (30 s)",
    checked="addresses and SHA-1 sums from the owners' README; columns as many readers of the table use them; the six "
    "broken clips as several users list them (three of 0.5 to 1.6 s, three empty)",
    marker="fma_metadata/tracks.csv",
    folders=("fma_small", "fma", "."),
    list_clips=list_fma_small,
    archives=(
        Archive("https://os.unil.cloud.switch.ch/fma/fma_small.zip", "sha1:ade154f733639d52e35e32f5593efe5be76c6d70"),
        Archive(
            "https://os.unil.cloud.switch.ch/fma/fma_metadata.zip", "sha1:f0df49ffe5f2a6008d7dc83c6915b31835dfe733"
        ),
    ),
    broken={
        "098565": "1.6 s",
        "098567": "0.5 s",
        "098569": "1.5 s",
        "099134": "empty",
        "108925": "empty",
        "133297": "empty",
    },
)
