"""FSD50K, two hundred sound events, several in a clip."""

from __future__ import annotations

from pathlib import Path

from whisper_aut.data.json_lines import load_json
from whisper_aut.errors import ProbeError
from whisper_aut.probe.tasks.benchmark import Archive, Benchmark, make_clip, read_rows
from whisper_aut.probe.tasks.labelled import LabelledClip, Part

DEV_PARTS: dict[str, Part] = {"train": "train", "val": "valid"}
COMMON_LICENSE = "CC BY 4.0 (as a whole; clips CC0, CC BY, CC BY-NC, Sampling+)"


def list_fsd50k(root: Path) -> list[LabelledClip]:
    """Development clips in their official parts, evaluation clips as the test.

    Raises:
        ProbeError: a list cannot be read, or a clip is in no part.
    """
    clips = []
    for name in ("dev", "eval"):
        licenses = _licenses(root / "FSD50K.metadata" / f"{name}_clips_info_FSD50K.json")
        columns = ("fname", "labels", "split") if name == "dev" else ("fname", "labels")
        for where, row in read_rows(root / "FSD50K.ground_truth" / f"{name}.csv", columns):
            part = DEV_PARTS.get(row["split"]) if name == "dev" else "test"
            if part is None:
                raise ProbeError(
                    f"the column 'split' is '{row['split']}'", where=where, remedy="train or val; get the file again"
                )
            clips.append(
                make_clip(
                    root,
                    f"FSD50K.{name}_audio/{row['fname']}.wav",
                    labels=[label.strip() for label in row["labels"].split(",") if label.strip()],
                    fold=part,
                    group=row["fname"],
                    license_name=licenses.get(row["fname"], COMMON_LICENSE),
                    where=where,
                )
            )
    return clips


def _licenses(path: Path) -> dict[str, str]:
    """Of each clip, by its file name; none where the file, which is not needed, is not there."""
    if not path.is_file():
        return {}
    try:
        found = load_json(path.read_bytes())
        return {str(clip): str(info["license"]) for clip, info in found.items()}
    except (OSError, UnicodeDecodeError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ProbeError(
            f"the clips' licences cannot be read: {error}", where=str(path), remedy="get the file again, or remove it"
        ) from None


def _zenodo(file: str, md5: str, *volumes: Archive) -> Archive:
    return Archive(f"https://zenodo.org/record/4060432/files/{file}?download=1", f"md5:{md5}", volumes=volumes)


FSD50K = Benchmark(
    name="fsd50k",
    title="FSD50K",
    domain="environment",
    license=COMMON_LICENSE,
    version="1.0",
    homepage="https://zenodo.org/record/4060432",
    num_clips=51_197,
    num_classes=200,
    split="development set's official train and val (column split), evaluation set as test; labels as published, "
    "propagated to their parents; group: the Freesound clip",
    layout="FSD50K.dev_audio/ID.wav, FSD50K.eval_audio/ID.wav, FSD50K.ground_truth/dev.csv and eval.csv, and "
    "optionally FSD50K.metadata/*_clips_info_FSD50K.json for the clips' licences",
    checked="files, MD5 sums, columns and counts (40966 development, 10231 evaluation clips) as soundata records "
    "them; how the volumes are joined as the data set's page has it. Uploaders are not used as groups: whether one "
    "stands in train and val was not verified",
    marker="FSD50K.ground_truth/dev.csv",
    folders=("fsd50k", "FSD50K", "."),
    list_clips=list_fsd50k,
    metric="mAP",
    archives=(
        _zenodo("FSD50K.metadata.zip", "b9ea0c829a411c1d42adb9da539ed237"),
        _zenodo(
            "FSD50K.dev_audio.zip",
            "c480d119b8f7a7e32fdb58f3ea4d6c5a",
            _zenodo("FSD50K.dev_audio.z01", "faa7cf4cc076fc34a44a479a5ed862a3"),
            _zenodo("FSD50K.dev_audio.z02", "8f9b66153e68571164fb1315d00bc7bc"),
            _zenodo("FSD50K.dev_audio.z03", "1196ef47d267a993d30fa98af54b7159"),
            _zenodo("FSD50K.dev_audio.z04", "d088ac4e11ba53daf9f7574c11cccac9"),
            _zenodo("FSD50K.dev_audio.z05", "81356521aa159accd3c35de22da28c7f"),
        ),
        _zenodo(
            "FSD50K.eval_audio.zip",
            "6fa47636c3a3ad5c7dfeba99f2637982",
            _zenodo("FSD50K.eval_audio.z01", "3090670eaeecc013ca1ff84fe4442aeb"),
        ),
        _zenodo("FSD50K.ground_truth.zip", "ca27382c195e37d2269c4c866dd73485"),
    ),
)
