"""``whisper-aut train``: options in, one call of the trainer."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file; see data_manifests/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="section.field=value, e.g. train.lr=3e-5 data.root=/data")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/<name of the recipe> if left out.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and print the plan; touch no weight.")
    ] = False,
    accept_changed_data: Annotated[
        bool, typer.Option("--accept-changed-data", help="Go on although manifests changed since the run began.")
    ] = False,
    ranks: Annotated[
        int | None, typer.Option(help="Processes to start on this machine, one a GPU; without it, this one.", min=1)
    ] = None,
) -> None:
    """Train, or go on with an interrupted run: the same command again resumes from its newest checkpoint.

    On SIGTERM, SIGINT or SIGUSR1 a checkpoint is written first and the exit code is 75; a second signal ends the run at
    once, without one.

    Several machines: launch/train_multinode.sh, or any launcher that sets RANK, such as
    deepspeed --module whisper_aut train RECIPE.yaml.
    """
    from whisper_aut.config import load_recipe
    from whisper_aut.train.preempt import StopRequest
    from whisper_aut.train.preflight import check_before_loading

    loaded = load_recipe(recipe, overrides or [])
    run_dir = out or Path("runs") / recipe.stem
    check_before_loading(loaded, run_dir)
    if ranks is not None and not dry_run:
        from whisper_aut.train.start import start_ranks

        words = ["train", str(recipe), *(overrides or []), *(["--out", str(out)] if out else [])]
        words += ["--accept-changed-data"] * accept_changed_data
        raise typer.Exit(start_ranks(ranks, words))
    with StopRequest() as stop:  # before torch is imported: that takes seconds, and a signal may come in them
        from whisper_aut.commands.dry_run import num_ranks, print_plan
        from whisper_aut.train.loop import prepare
        from whisper_aut.train.loop import train as run_training

        if dry_run:
            prepared = prepare(loaded)
            prepared.plan.check_world_size(num_ranks(ranks))
            print_plan(prepared, num_ranks(ranks))
            return
        newest = run_training(loaded, run_dir, stop, accept_changed_data=accept_changed_data)
    if int(os.environ.get("RANK", "0")) == 0:
        print(f"done: {newest}\nnext: {shlex.join(['whisper-aut', 'export', str(run_dir)])}")
