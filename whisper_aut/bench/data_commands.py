"""``whisper-aut bench data WHAT``: what the data half of the project costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Measure manifests, loading and the leakage check.", no_args_is_help=True)
_OUT = typer.Option(help="JSON file for the numbers and their circumstances.")


@app.command("leak-index")
def leak_index(
    manifest: Annotated[list[Path], typer.Argument(help="Clips to index, JSONL or Parquet; real recordings.")],
    max_clips: Annotated[int, typer.Option(help="Of each manifest, evenly chosen.", min=1)] = 1000,
    generated_hours: Annotated[
        float, typer.Option(help="Hours of a large index from varied landmarks of these clips; 0 leaves it out.", min=0)
    ] = 100.0,
    out: Annotated[Path | None, _OUT] = None,
) -> None:
    """Building the index of the leakage check: times real time on one core, decoding in and out; bytes an hour."""
    from whisper_aut.bench.leak_index import measure_leak_index
    from whisper_aut.bench.record import finish

    finish(measure_leak_index(manifest, max_clips=max_clips, generated_hours=generated_hours), out)


@app.command("leak-recall")
def leak_recall(
    task: Annotated[Path, typer.Option(help="Folder with clips.jsonl: copies of its clips are looked for.")],
    others: Annotated[Path, typer.Option(help="Manifest of other sounds, to mix and surround copies with.")],
    clips: Annotated[int, typer.Option(help="Clips that are copied, evenly chosen.", min=1)] = 60,
    out: Annotated[Path | None, _OUT] = None,
) -> None:
    """Changed copies that the leakage check finds, change by change, and which it does not."""
    from whisper_aut.bench.leak_recall import measure_leak_recall, table
    from whisper_aut.bench.record import finish

    numbers = measure_leak_recall(task, others, num_clips=clips)
    finish(numbers, out, shown=table(numbers))
