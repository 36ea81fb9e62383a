"""``whisper-aut manifest pack``, ``verify-shards`` and ``index``: clips in tar shards."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from whisper_aut.commands.choices import one_of


def pack(
    files: Annotated[list[Path], typer.Argument(help="JSONL or Parquet manifests of one domain.")],
    out: Annotated[Path, typer.Option(help="Folder for the shards; begun before, it is finished.")],
    audio_format: Annotated[
        str, typer.Option("--format", help="flac (lossless) or opus (about a fifth of it).")
    ] = "flac",
    shard_mb: Annotated[float, typer.Option(help="Size of a shard, MB.", min=0.01, max=100_000)] = 256.0,
    num_workers: Annotated[int | None, typer.Option(help="Processes; one a core if left out.", min=0)] = None,
    max_reject_rate: Annotated[
        float, typer.Option(help="Stop when a larger share of clips is unreadable.", min=0, max=1)
    ] = 0.02,
) -> None:
    """Put clips into tar shards that WebDataset reads, and write a manifest that points into them."""
    from whisper_aut.data.encode import AUDIO_FORMATS
    from whisper_aut.data.pack import PackSettings, pack_manifests
    from whisper_aut.machine import usable_cores

    chosen = one_of("format", audio_format, AUDIO_FORMATS)
    summary = pack_manifests(
        files,
        out,
        PackSettings(chosen, shard_mb),
        num_workers=usable_cores() if num_workers is None else num_workers,
        max_reject_rate=max_reject_rate,
        show_progress=True,
    )
    print(json.dumps(summary, ensure_ascii=False))


def verify_shards(
    folder: Annotated[Path, typer.Argument(help="Made by `manifest pack`.")],
    show: Annotated[int, typer.Option(help="Problems shown.")] = 20,
) -> None:
    """Check the sum of every shard, and that every row of the manifest points at its member."""
    from whisper_aut.data.shard_check import check_shards
    from whisper_aut.errors import ManifestError

    report = check_shards(folder, show_progress=True)
    for problem in report.problems[:show]:
        print(problem, file=sys.stderr)
    print(json.dumps(report.summary, ensure_ascii=False))
    if report.problems:
        raise ManifestError(
            f"{len(report.problems)} problem(s) found", remedy="pack or copy the shards named above anew"
        )


def index(
    shards: Annotated[list[str], typer.Argument(help="Tar shards that others made: paths or URLs.")],
    out: Annotated[Path, typer.Option(help="The manifest to write, .jsonl or .parquet.")],
    domain: Annotated[str, typer.Option(help="Of all clips: speech, environment or music.")],
    text_field: Annotated[str, typer.Option(help="Of KEY.json, where there is no KEY.txt.")] = "text",
    source: Annotated[str | None, typer.Option(help="Name of the corpus; the shard's name if left out.")] = None,
    language: Annotated[str, typer.Option(help="Where KEY.json names none.")] = "en",
    license_name: Annotated[str, typer.Option("--license", help="Where KEY.json names none.")] = "unknown",
) -> None:
    """Write a manifest of WebDataset shards that others made; nothing is extracted."""
    from whisper_aut.constants import DOMAINS
    from whisper_aut.data.shard_index import IndexDefaults, index_shards

    chosen = one_of("domain", domain, DOMAINS)
    defaults = IndexDefaults(chosen, text_field, source, language, license_name)
    print(json.dumps(index_shards(shards, out, defaults, show_progress=True), ensure_ascii=False))
