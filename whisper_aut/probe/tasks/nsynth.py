"""NSynth, eleven families of instruments by single notes."""

from __future__ import annotations

from pathlib import Path

from whisper_aut.data.json_lines import load_json
from whisper_aut.errors import ProbeError
from whisper_aut.probe.tasks.benchmark import Archive, Benchmark, make_clip
from whisper_aut.probe.tasks.labelled import PARTS, LabelledClip

LICENSE = "CC BY 4.0"


def list_nsynth(root: Path) -> list[LabelledClip]:
    """All notes of the three parts, in the order of their names.

    Raises:
        ProbeError: a list cannot be read.
    """
    clips = []
    for part in PARTS:
        path = root / f"nsynth-{part}" / "examples.json"
        try:
            notes = load_json(path.read_bytes())
            listed = [(str(note), str(notes[note]["instrument_family_str"]), str(notes[note]["instrument_str"]))
                      for note in sorted(notes)]  # fmt: skip
        except (OSError, UnicodeDecodeError, ValueError, TypeError, KeyError, IndexError) as error:
            raise ProbeError(
                f"the list of notes cannot be read: {error!r}", where=str(path), remedy="get the archive again"
            ) from None
        clips += [
            make_clip(
                root,
                f"nsynth-{part}/audio/{note}.wav",
                labels=family,
                fold=part,
                group=instrument,
                license_name=LICENSE,
                where=str(path),
            )
            for note, family, instrument in listed
        ]
    return clips


def _archive(part: str, md5: str) -> Archive:
    return Archive(f"http://download.magenta.tensorflow.org/datasets/nsynth/nsynth-{part}.jsonwav.tar.gz", f"md5:{md5}")


NSYNTH = Benchmark(
    name="nsynth",
    title="NSynth, instrument family",
    domain="music",
    license=LICENSE,
    version="2.2.3",
    homepage="https://magenta.tensorflow.org/datasets/nsynth",
    num_clips=289_205 + 12_678 + 4_096,
    num_classes=11,
    split="official train, valid and test (289205, 12678, 4096 notes); group: the instrument. Instruments of valid "
    "and test do not stand in train, but valid and test share instruments",
    layout="nsynth-PART/examples.json and nsynth-PART/audio/NOTE.wav (4 s, 16 kHz)",
    checked="addresses, MD5 sums, version and fields as HEAR (hear-preprocess) records them; counts and which parts "
    "share instruments from Magenta's description of the data",
    marker="nsynth-test/examples.json",
    folders=("nsynth", "."),
    list_clips=list_nsynth,
    archives=(
        _archive("train", "fde6665a93865503ba598b9fac388660"),
        _archive("valid", "87e94a00a19b6dbc99cf6d4c0c0cae87"),
        _archive("test", "5e6f8719bf7e16ad0a00d518b78af77d"),
    ),
    valid_shares_groups=True,
)
