"""``whisper-aut bench data WHAT``: the speed of reading."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Measure the speed of reading.", no_args_is_help=True)
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
