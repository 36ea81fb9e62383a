"""``whisper-aut demo``: end to end on synthesised data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, run and report.")] = Path("runs/demo"),
    base: Annotated[str, typer.Option(help="Hub name, folder, or pypi:tiny.en.")] = "pypi:tiny.en",
    seed: Annotated[int, typer.Option(help="Of the synthesised data and the plan.")] = 0,
    overrides: Annotated[list[str] | None, typer.Argument(help="section.field=value for the demo's recipe.")] = None,
) -> None:
    """The whole way in about ten minutes on two cores, without a download.

    Makes data, trains, exports, probes and reports; prints each command, so that it can be typed again.
    """
    from whisper_aut.demo.run import run_demo

    run_demo(out, base=base, seed=seed, overrides=overrides or [])
