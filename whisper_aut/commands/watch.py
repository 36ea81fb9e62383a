"""``whisper-aut watch``: the checkpoints of a run, probed while it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whisper_aut.commands.choices import one_of
from whisper_aut.machine import LIBRARIES_BYTES, require_memory


def watch(
    run: Annotated[Path, typer.Argument(help="Folder of a training run; may not have begun yet.")],
    task: Annotated[list[Path], typer.Option(help="Folder with clips.jsonl (no benchmark by name). Repeatable.")],
    out: Annotated[Path | None, typer.Option(help="Folder of results and watch.html; RUN/watch if left out.")] = None,
    protocol: Annotated[list[str] | None, typer.Option(help="As for `probe`. Repeatable; strict if left out.")] = None,
    context: Annotated[list[str] | None, typer.Option(help="full or trimmed. Repeatable; trimmed if left out.")] = None,
    seed: Annotated[int, typer.Option(help="Of heads and bootstrap.", min=0, max=2**32 - 1)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; one that training leaves free.")] = "cpu",
    precision: Annotated[
        str, typer.Option(help="As for `probe`; auto keeps that of the points that are there.")
    ] = "auto",
    every: Annotated[float, typer.Option(help="Seconds between two looks for a new checkpoint.", min=0.1)] = 30.0,
    jobs: Annotated[
        int | None, typer.Option(help="Processes that fit heads; as many as are worth it here if left out.", min=1)
    ] = None,
    refold: Annotated[
        bool, typer.Option("--refold", help="Deal folds anew by group where a group stands in several (else refused).")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Probe the checkpoints that are there, then end.")] = False,
) -> None:
    """Probe each new checkpoint of a run while it trains; a page shows gain and loss over the steps.

    Runs beside training, on another device or machine that sees the folder; training knows nothing of it. Ends after
    the run's last step. Stopped and called again, it goes on. Training keeps train.keep_checkpoints checkpoints only:
    one that is removed before it is probed is left out, and the page says so.
    """
    from whisper_aut.constants import CONTEXTS
    from whisper_aut.probe.names import PRECISION_NAMES, PROTOCOL_NAMES
    from whisper_aut.probe.tasks.registry import check_named

    protocols = [one_of("protocol", name, PROTOCOL_NAMES) for name in protocol or ["strict"]]
    contexts = [one_of("context", name, CONTEXTS) for name in context or ["trimmed"]]
    one_of("precision", precision, PRECISION_NAMES)
    check_named(task)
    require_memory(LIBRARIES_BYTES, "probing")

    from whisper_aut.watch import Suite
    from whisper_aut.watch import watch as watch_run

    suite = Suite(
        task,
        protocols=protocols,
        contexts=contexts,
        seed=seed,
        device=device,
        precision=precision,
        refold_leaky=refold,
        jobs=jobs,
    )
    print(f"watched: {watch_run(run, suite, out_dir=out or run / 'watch', every_sec=every, once=once)}")
