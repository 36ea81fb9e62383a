"""What is wrong with a manifest, and what is in it: the two reports of ``whisper-aut manifest``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whisper_aut.constants import MAX_TOKENS, SAMPLE_RATE, WINDOW_SEC, Domain
from whisper_aut.data.audio import check_values, read_frames
from whisper_aut.data.audit import Audit
from whisper_aut.data.captions import DEFAULT_PROMPTS, TextEncoder, load_tokenizer, too_long_text
from whisper_aut.data.channels import differing, mixed
from whisper_aut.data.manifest import Clip, Manifest, load_manifest, read_manifest
from whisper_aut.data.manifest_counts import Histogram, duration_histogram, text_histogram
from whisper_aut.data.row_checks import Problem
from whisper_aut.data.rows import MAX_PROBLEMS
from whisper_aut.data.silence import find_silence
from whisper_aut.errors import AudioError, ManifestError
from whisper_aut.files import is_regular_file, missing_hint
from whisper_aut.progress import track

_SPECIAL_TOKEN = re.compile(r"<\|[^|<>\s]{1,40}\|>")  # <|endoftext|>, <|en|>, <|12.34|>: left over from other tools
_AUDITED_ROWS = 65_536  # at once
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class ManifestReport:
    """The outcome of a validation.

    Attributes:
        problems: in the order of the file's rows; empty when all is well.
        summary: clips, hours and how many problems each field has, for people.
    """

    problems: list[Problem]
    summary: dict[str, Any]


def validate_manifest(
    path: Path,
    *,
    check_audio: bool,
    tokenizer_dir: Path | None = None,
    prompts: Mapping[Domain, str | None] = DEFAULT_PROMPTS,
    show_progress: bool = False,
) -> ManifestReport:
    """All that is wrong with the rows of ``path``, not just the first.

    Args:
        path: the manifest.
        check_audio: whether to decode every clip, too.
        tokenizer_dir: folder with a ``tokenizer.json`` of Whisper, to count tokens; None leaves them uncounted.
        prompts: counted with the texts.
        show_progress: over the clips.

    Raises:
        ManifestError: the file as a whole cannot be read.
        BaseModelError: the tokenizer cannot be read.
    """
    text_encoder = TextEncoder(load_tokenizer(tokenizer_dir), prompts) if tokenizer_dir else None
    manifest, problems = read_manifest(path)
    num_differing = 0
    broken = {problem.where for problem in problems}  # a row that is wrong already is not looked at again
    clips = track(manifest.clips(), f"validate {path.name}", total=len(manifest), unit="clips", enabled=show_progress)
    for row, clip in enumerate(clips):
        if broken and manifest.where(row) in broken:
            continue
        if len(problems) >= MAX_PROBLEMS:  # the list would grow with the manifest
            what = f"more than {MAX_PROBLEMS} problems; what follows was not looked at"
            problems.append(Problem(manifest.where(row), "file", "", what))
            break
        found = [_audio_length_problem(clip), _text_problem(clip, text_encoder), _path_problem(manifest, row)]
        if check_audio and found[2] is None:
            problem, differ = _audio_problem(manifest, row, clip)
            found.append(problem)
            num_differing += differ
        problems += [Problem(manifest.where(row), field, clip.id, text) for field, text in filter(None, found)]
    problems.sort(key=lambda problem: int(problem.where.rpartition(":")[2]))
    summary = {
        "manifest": str(path),
        "fingerprint": manifest.fingerprint,
        "clips": len(manifest),
        "hours": int(manifest.table.numbers["num_samples"].sum(dtype=np.int64)) / SAMPLE_RATE / 3600,
        "audio_checked": check_audio,
        "tokens_counted": text_encoder is not None,
        **({"channels_differ": num_differing} if check_audio else {}),
        "problems": len(problems),
        "problems_by_field": dict(Counter(problem.field for problem in problems)),
    }
    return ManifestReport(problems, summary)


def manifest_stats(paths: Sequence[Path]) -> dict[str, Any]:
    """What the manifests hold: clips, hours, domains, sources, languages, licences, durations and text lengths.

    Raises:
        ManifestError: a manifest cannot be read or a row is wrong.
    """
    manifests = [load_manifest(path) for path in paths]
    durations = np.concatenate([manifest.table.texts["duration_sec"].to_numpy() for manifest in manifests])
    text_chars = np.concatenate([pc.utf8_length(manifest.table.texts["text"]).to_numpy() for manifest in manifests])
    return {
        "manifests": [str(path) for path in paths],
        "clips": len(durations),
        "hours": float(durations.sum()) / 3600,
        "domains": _tally(manifests, "domain", durations),
        "sources": _tally(manifests, "source", durations),
        "languages": _tally(manifests, "language", durations),
        "licenses": _tally(manifests, "license", durations),
        "splits": _tally(manifests, "split", durations),
        "duration_sec": _quantiles(durations),
        "text_chars": _quantiles(text_chars),
        "duration_histogram": _histogram(duration_histogram(), durations),
        "text_histogram": _histogram(text_histogram(), text_chars),
        "audit": _audit(manifests),
    }


def _audit(manifests: Sequence[Manifest]) -> dict[str, Any]:
    """What deserves a second look, a piece of the columns at a time."""
    audit = Audit()
    for manifest in manifests:
        domain = manifest.clip(0).domain
        for batch in manifest.table.texts.select(["id", "duration_sec", "text"]).to_batches(_AUDITED_ROWS):
            audit.add(pa.Table.from_batches([batch]).append_column("domain", pa.repeat(domain, len(batch))))
    return audit.as_dict()


def _audio_length_problem(clip: Clip) -> tuple[str, str] | None:
    if clip.duration_sec <= WINDOW_SEC:
        return None
    return "duration_sec", f"{clip.duration_sec:g} s is longer than Whisper's window of {WINDOW_SEC} s"


def _text_problem(clip: Clip, text_encoder: TextEncoder | None) -> tuple[str, str] | None:
    if (token := _SPECIAL_TOKEN.search(clip.text)) is not None:
        return "text", f"holds '{token[0]}'; training reads it as these characters, not as Whisper's token: remove it"
    if text_encoder is None:
        return _language_problem(clip.language)
    try:
        num_tokens = text_encoder.num_tokens(clip.text, clip.domain, clip.language)
    except ManifestError as error:
        return "language", error.what
    return ("text", too_long_text(num_tokens).what.removeprefix("text: ")) if num_tokens > MAX_TOKENS else None


def _language_problem(language: str) -> tuple[str, str] | None:
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    if language in LANGUAGES:
        return None
    return "language", f"'{language}' is no language of Whisper; write its code, e.g. en"


def _path_problem(manifest: Manifest, row: int) -> tuple[str, str] | None:
    try:
        source = manifest.audio_source(row)
    except ManifestError as error:
        return "audio", error.what
    if isinstance(source, Path):
        return None if is_regular_file(source) else ("audio", f"there is no file {source}{missing_hint(source)}")
    if source.is_url or is_regular_file(source.place):  # URLs are asked with --check-audio alone
        return None
    return "audio", f"there is no shard {source.place}{missing_hint(source.place)}"


def _audio_problem(manifest: Manifest, row: int, clip: Clip) -> tuple[tuple[str, str] | None, bool]:
    """What is wrong with the clip's audio, and whether it mixes channels that differ without being told to.

    A caption speaks of all that is heard, and music is recorded so; under a transcript a second voice is wrong.
    """
    where = f"clip {clip.id}"
    try:
        frames, _ = read_frames(manifest.audio_source(row), where, clip.offset_sec, clip.duration_sec)
        mono = mixed(frames, clip.channels, where)
        low, high = check_values(mono, where)
    except AudioError as error:
        return ("audio", f"{error.what} ({clip.audio})"), False
    if (silence := find_silence(frames, clip.channels, mono, low, high)) is not None:
        return ("audio", f"{silence.what} ({clip.audio})"), False
    correlation = None if clip.channels else differing(frames)
    if correlation is None or clip.domain != "speech":
        return None, correlation is not None
    every = list(range(frames.shape[1]))
    what = (
        f"the row names none of the file's {len(every)} channels, and they differ (correlation {correlation:.2f}): "
        f"write the channel's number from 0, or {every} where all of them together are meant"
    )
    return ("channel", what), True


def _tally(manifests: Sequence[Manifest], column: str, durations: npt.NDArray[np.float64]) -> dict[str, dict[str, Any]]:
    """Clips and hours of each value of ``column``, most clips first."""
    clips: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    start = 0
    for manifest in manifests:
        codes, values = manifest.table.numbers[column], manifest.table.values[column]
        of_manifest = durations[start : start + len(codes)]
        start += len(codes)
        clips.update(dict(zip(values, np.bincount(codes, minlength=len(values)).tolist(), strict=True)))
        for value, total in zip(values, np.bincount(codes, of_manifest, len(values)).tolist(), strict=True):
            seconds[value] += total
    order = sorted(sorted(clips), key=lambda value: -clips[value])
    return {value: {"clips": clips[value], "hours": seconds[value] / 3600} for value in order}


def _histogram(empty: Histogram, values: npt.NDArray[np.float64]) -> dict[str, Any]:
    empty.add(values)
    return empty.as_dict()


def _quantiles(values: npt.NDArray[np.float64]) -> dict[str, float]:
    names = ("min", "p05", "p25", "median", "p75", "p95", "max")
    return dict(zip(names, np.quantile(values, _QUANTILES).tolist(), strict=True))
