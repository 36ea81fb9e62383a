"""``python -m whisper_aut.bench WHAT``: one measurement, on the screen and as JSON with its circumstances."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from whisper_aut.errors import WhisperAutError

app = typer.Typer(
    help="Measure speed and memory.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
_OUT = typer.Option(help="JSON file for the numbers and their circumstances.")


@app.command()
def embed(
    task: Annotated[Path, typer.Option(help="Folder with clips.jsonl; clips of five seconds say most.")],
    encoder: Annotated[str, typer.Option(help="As `probe --base` takes it.")] = "pypi:tiny.en",
    rounds: Annotated[int, typer.Option(help="Both sides take turns this often.", min=1)] = 3,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    out: Annotated[Path | None, _OUT] = None,
) -> None:
    """Embedding at the clips' own length against padding every clip to 30 s: clips a second, accuracy, memory."""
    from whisper_aut.bench.probe import measure_embedding
    from whisper_aut.bench.record import finish

    finish(measure_embedding(task, encoder, rounds=rounds, device=device, precision=precision), out)


@app.command()
def head(
    clips: Annotated[int, typer.Option(min=100)] = 85_000,
    width: Annotated[int, typer.Option(min=2)] = 1280,
    classes: Annotated[int, typer.Option(min=2)] = 35,
    c: Annotated[float, typer.Option("--c", help="Inverse strength of the penalty.")] = 0.01,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    reference: Annotated[bool, typer.Option("--reference", help="Fit scikit-learn's as well, and compare.")] = False,
    out: Annotated[Path | None, _OUT] = None,
) -> None:
    """One logistic regression of the size of Speech Commands on large-v3, on made-up correlated features."""
    from whisper_aut.bench.probe import measure_head
    from whisper_aut.bench.record import finish

    finish(measure_head(clips, width, classes, c, device=device, reference=reference), out)


if __name__ == "__main__":
    try:
        app(standalone_mode=False)
    except WhisperAutError as error:
        print("error: " + "\n".join(error.lines()), file=sys.stderr)
        sys.exit(error.exit_code)
