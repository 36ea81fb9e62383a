"""``whisper-aut bench data WHAT``: what the data half of the project costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Measure manifests, loading and the leakage check.", no_args_is_help=True)
_OUT = typer.Option(help="JSON file for the numbers and their circumstances.")


_ROUNDS = typer.Option(help="All sides take turns this often.", min=1)


@app.command()
def shards(
    packed: Annotated[Path | None, typer.Option(help="Folder made by `manifest pack`; noise if left out.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where the single files go: on the disk that is meant.")] = None,
    clips: Annotated[int, typer.Option(help="Made, without --packed.", min=10)] = 2000,
    reads: Annotated[int, typer.Option(help="In each turn.", min=1)] = 300,
    rounds: Annotated[int, _ROUNDS] = 7,
    out: Annotated[Path | None, _OUT] = None,
) -> None:
    """Random access to clips in shards against single files, cold and warm."""
    from whisper_aut.bench.record import finish
    from whisper_aut.bench.shards import measure_access, table

    numbers = measure_access(packed, folder, clips=clips, reads=reads, rounds=rounds)
    finish(numbers, out, shown=table(numbers))


@app.command()
def decode(
    clips: Annotated[int, typer.Option(help="Of each format.", min=4)] = 32,
    clip_sec: Annotated[float, typer.Option(min=0.5, max=30)] = 5.0,
    rate: Annotated[int, typer.Option(help="Hz.", min=8_000)] = 44_100,
    channels: Annotated[int, typer.Option(min=1, max=2)] = 1,
    rounds: Annotated[int, _ROUNDS] = 7,
    out: Annotated[Path | None, _OUT] = None,
) -> None:
    """Decoding, resampling and log-mel on one core against `datasets` with WhisperFeatureExtractor."""
    from whisper_aut.bench.decode import DecodeBench, measure_decoding, table
    from whisper_aut.bench.record import finish

    asked = DecodeBench(clips=clips, clip_sec=clip_sec, rate=rate, channels=channels, rounds=rounds)
    numbers = measure_decoding(asked)
    finish(numbers, out, shown=table(numbers))


@app.command("manifests")
def manifests(
    folder: Annotated[Path, typer.Option(help="For generated manifests and their cache; used again.")],
    rows: Annotated[int, typer.Option(help="Over three manifests.", min=10_000)] = 20_000_000,
    out: Annotated[Path | None, _OUT] = None,
) -> None:
    """Manifests of the paper's size: opening, memory, the plan's next step, a jump to any step, padding."""
    from whisper_aut.bench.manifest_size import measure_manifests
    from whisper_aut.bench.record import finish

    finish(measure_manifests(rows, folder), out)


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
