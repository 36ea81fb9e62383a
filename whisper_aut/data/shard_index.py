"""A manifest of shards that others made: where in which archive each clip's audio lies; nothing is extracted.

Members that share a name up to its first dot are one sample, as in WebDataset: ``KEY.flac`` (or another format),
``KEY.txt`` and ``KEY.json``. The text is the ``.txt``, else a field of the ``.json``; what else the ``.json`` says
under the names of a manifest's columns is believed, too. Texts are made plain as a build makes them. Samples without
audio or text, of doubled names or ids or of a language that Whisper does not know become rejects, as do links, devices
and names that lead out of the archive.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from whisper_aut.constants import Domain
from whisper_aut.data.audio import audio_duration_sec
from whisper_aut.data.containers.ffmpeg import advice as ffmpeg_advice
from whisper_aut.data.json_lines import load_json
from whisper_aut.data.locate import MAX_AUDIO_BYTES, AudioBytes, is_url
from whisper_aut.data.manifest_file import check_suffix
from whisper_aut.data.outputs import check_distinct, check_output, writing
from whisper_aut.data.quarantine import QuarantineEntry
from whisper_aut.data.shard_samples import APART, DOTS, Sample, misread_why, read_samples
from whisper_aut.data.sources.cleanup import plain
from whisper_aut.data.sources.clips import whisper_languages
from whisper_aut.data.tarfiles import Member, TarError
from whisper_aut.errors import AudioError, ManifestError, first_line
from whisper_aut.files import real_path, whole_file, write_whole
from whisper_aut.progress import track

_MAX_TEXT_BYTES = 2**20
_NO_TEXT = "there is no text"
_REMEDIES = {  # by what stands in a reason
    APART: "write the archive sorted by name: tar --sort=name",
    DOTS: "name members KEY.flac, KEY.txt, KEY.json with no dot in KEY",
    _NO_TEXT: "check --text-field",
}


@dataclass(frozen=True)
class IndexDefaults:
    """What the shards do not say.

    Attributes:
        domain: of all clips.
        text_field: of the ``.json``, where there is no ``.txt``.
        source: name of the corpus; None for the shard's name.
        language: where the ``.json`` names none.
        license: where the ``.json`` names none.
    """

    domain: Domain
    text_field: str = "text"
    source: str | None = None
    language: str = "en"
    license: str = "unknown"


def index_shards(
    shards: Sequence[str], out: Path, defaults: IndexDefaults, *, show_progress: bool = False
) -> dict[str, Any]:
    """Write a manifest of all clips in ``shards`` (paths or URLs) to ``out``, and what was left out beside it.

    Raises:
        ManifestError: a shard is missing, damaged, cut off or given twice, no clip was found, Whisper does not know the
            language, or the manifest cannot be written.
        EnvironmentProblem: a URL's kind needs a package that is not installed.
    """
    check_suffix(out)
    _check_shards(shards, out)
    if defaults.language not in whisper_languages():
        raise ManifestError(
            f"'{defaults.language}' is no language of Whisper", remedy="give its code as --language, e.g. en"
        )
    rows: list[dict[str, Any]] = []
    rejects: list[QuarantineEntry] = []
    seen: dict[str, str] = {}  # where each id stands
    for shard in track(shards, "index", total=len(shards), unit="shards", enabled=show_progress):
        place = shard if is_url(shard) else str(real_path(Path(shard)))
        try:
            with _opened(place) as file:
                for found in _rows(file, place, _written(place, real_path(out.parent)), defaults):
                    if isinstance(found, QuarantineEntry):
                        rejects.append(found)
                    elif (first := seen.setdefault(found["id"], found["audio"])) != found["audio"]:
                        rejects.append(QuarantineEntry(found["id"], found["audio"], f"is the id of {first} too"))
                    else:
                        rows.append(found)
        except TarError as error:
            raise ManifestError(
                f"the shard is no whole tar archive: {error}", where=shard, remedy="copy it again, or leave it out"
            ) from None
    if not rows:
        raise _none_found(len(shards), rejects)
    if advice := ffmpeg_advice(entry.reason for entry in rejects):
        print(f"note: {advice}", file=sys.stderr)
    rejects_path = out.with_name(f"{out.name}.rejects.jsonl")
    with writing(out, "the manifest"):
        _write(out, rows)
        rejects_path.unlink(missing_ok=True)
        if rejects:
            lines = [json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in rejects]
            write_whole(rejects_path, "".join(lines))
    hours = sum(row["duration_sec"] for row in rows) / 3600
    return {
        "manifest": str(out),
        "shards": len(shards),
        "clips": len(rows),
        "hours": hours,
        "rejected": len(rejects),
        "rejects": str(rejects_path) if rejects else None,
    }


def _check_shards(shards: Sequence[str], out: Path) -> None:
    files = [Path(shard) for shard in shards if not is_url(shard)]
    check_output(out, files)
    check_distinct(files)
    for number, shard in enumerate(shards):
        if shard in shards[:number]:
            raise ManifestError("the shard is given twice", where=shard, remedy="give it once")


def _none_found(num_shards: int, rejects: Sequence[QuarantineEntry]) -> ManifestError:
    what = f"no clip was found in {num_shards} shard(s)"
    if not rejects:
        return ManifestError(
            f"{what}: they hold no files in samples", remedy="give tar shards as WebDataset has them: KEY.flac, KEY.txt"
        )
    known = ((entry, remedy) for part, remedy in _REMEDIES.items() for entry in rejects if part in entry.reason)
    first, remedy = next(known, (rejects[0], "mend the shards, or give others"))
    return ManifestError(
        f"{what}; {len(rejects)} rejects, such as {first.where}: {first.id}: {first.reason}", remedy=remedy
    )


@contextmanager
def _opened(place: str) -> Iterator[BinaryIO]:
    """A shard to seek in.

    Raises:
        ManifestError: it cannot be opened.
    """
    try:
        if is_url(place):
            import fsspec  # needed where there are URLs

            with fsspec.open(place, "rb") as remote:
                yield cast(BinaryIO, remote)
        else:
            with Path(place).open("rb") as file:
                yield file
    except (OSError, ImportError) as error:
        raise ManifestError(
            f"the shard cannot be read: {first_line(error)}", where=place, remedy="check the path and its permissions"
        ) from None


def _written(place: str, folder: Path) -> str:
    """The shard as a manifest in ``folder`` names it: relative where it lies below."""
    if is_url(place) or not Path(place).is_relative_to(folder):
        return place
    return str(Path(place).relative_to(folder))


def _rows(
    file: BinaryIO, place: str, written: str, defaults: IndexDefaults
) -> Iterator[dict[str, Any] | QuarantineEntry]:
    if not place.endswith(".tar"):
        raise TarError("its name does not end in .tar, and a manifest could not name its clips")
    samples = list(read_samples(file, place))  # headers alone: a few hundred bytes each
    times = Counter(sample.key for sample in samples if isinstance(sample, Sample))
    for sample in samples:
        if isinstance(sample, QuarantineEntry):
            yield sample
        elif misread := misread_why(sample, times[sample.key]):
            yield QuarantineEntry(sample.key, place, misread)
        elif sample.doubled:
            yield QuarantineEntry(sample.key, place, f"the sample has two members .{sample.doubled}")
        elif not sample.audio:
            yield QuarantineEntry(sample.key, place, "the sample has no audio that can be read")
        else:
            for ending in sample.again:
                yield QuarantineEntry(f"{sample.key}.{ending}", place, "the same audio is there in another format")
            for ending, member in sample.audio:
                yield _row(file, place, written, sample, ending, member, defaults)


def _row(
    file: BinaryIO, place: str, written: str, sample: Sample, ending: str, member: Member, defaults: IndexDefaults
) -> dict[str, Any] | QuarantineEntry:
    told, problem = _told(file, sample)
    if problem:  # id and language may stand in it, even where the text does not
        return QuarantineEntry(f"{Path(place).stem}/{sample.key}", place, problem)
    clip_id = _plain(told, "id") or f"{Path(place).stem}/{sample.key}"
    if len(sample.audio) > 1:
        clip_id += f"/{ending}"
    if member.size > MAX_AUDIO_BYTES:
        return QuarantineEntry(clip_id, place, f"the audio has {member.size} bytes; at most {MAX_AUDIO_BYTES}")
    try:
        text = _text(file, sample, told, defaults.text_field)
    except _TextError as error:
        return QuarantineEntry(clip_id, place, str(error))
    if not text:
        why = f"neither .txt nor '{defaults.text_field}' in .json"
        return QuarantineEntry(clip_id, place, f"{_NO_TEXT}: {why}")
    source = AudioBytes(place, member.offset, member.size)
    try:
        duration_sec = audio_duration_sec(source, clip_id=clip_id)
    except AudioError as error:
        return QuarantineEntry(clip_id, str(source), error.what)
    row = {
        "id": clip_id,
        "audio": f"{written}#{member.offset}:{member.size}",
        "offset_sec": 0.0,
        "duration_sec": duration_sec,
        "text": text,
        "domain": defaults.domain,
        "source": defaults.source or Path(place).stem,
        "language": defaults.language,
        "split": "train",
        "license": defaults.license,
    }
    names = ("language", "split", "license") if defaults.source else ("source", "language", "split", "license")
    row |= {name: value for name in names if (value := _plain(told, name))}
    if row["language"] not in whisper_languages():
        return QuarantineEntry(clip_id, place, f"'{row['language']}' is no language of Whisper")
    return row


class _TextError(Exception):
    """A text that cannot be used; the reason is the only argument."""


def _told(file: BinaryIO, sample: Sample) -> tuple[dict[str, Any], str]:
    """What the .json says, and what is wrong with it."""
    if sample.told is None:
        return {}, ""
    try:
        told = load_json(_small(file, sample.told, "json"))
    except _TextError as error:
        return {}, str(error)
    except ValueError as error:
        return {}, f"the .json is no JSON: {error}"
    return (told, "") if isinstance(told, dict) else ({}, f"the .json is no object but {type(told).__name__}")


def _plain(told: dict[str, Any], name: str) -> str:
    value = told.get(name)
    return plain(value) if isinstance(value, str) else ""


def _text(file: BinaryIO, sample: Sample, told: dict[str, Any], text_field: str) -> str:
    if sample.text is None:
        return _plain(told, text_field)
    try:
        return plain(_small(file, sample.text, "txt").decode())
    except UnicodeDecodeError:
        raise _TextError("the .txt is not UTF-8") from None


def _small(file: BinaryIO, member: Member, ending: str) -> bytes:
    if member.size > _MAX_TEXT_BYTES:
        raise _TextError(f"the .{ending} has {member.size} bytes; at most {_MAX_TEXT_BYTES}")
    file.seek(member.offset)
    return file.read(member.size)


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    if out.suffix == ".parquet":
        with whole_file(out) as file:
            pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        write_whole(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
