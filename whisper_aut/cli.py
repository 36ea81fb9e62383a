"""The command line: parse, call one function, turn an error into an exit code. Nothing else happens here."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

import whisper_aut
from whisper_aut.bench.commands import app as bench_app
from whisper_aut.commands.choices import one_of
from whisper_aut.commands.doctor import doctor
from whisper_aut.commands.export import export
from whisper_aut.commands.leakage import leakage
from whisper_aut.commands.manifest import app as manifest_app
from whisper_aut.commands.parity import parity
from whisper_aut.commands.report import app as report_app
from whisper_aut.commands.share import push, verify
from whisper_aut.commands.speech import wer
from whisper_aut.commands.tasks import app as tasks_app
from whisper_aut.errors import EXIT_DONE, EXIT_WRONG_INPUT, WhisperAutError
from whisper_aut.machine import set_thread_environment

app = typer.Typer(
    name="whisper-aut",
    help="Fine-tune Whisper into an encoder for all sound, export it, and prove what was gained and lost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(manifest_app, name="manifest")
app.add_typer(report_app, name="report")
app.add_typer(tasks_app, name="tasks")
app.add_typer(bench_app, name="bench")
app.command()(doctor)
app.command()(export)
app.command()(leakage)
app.command()(wer)
app.command()(parity)
app.command()(push)
app.command()(verify)


def main() -> None:
    """Entry point: exit codes 0 done, 2 wrong input, 3 gate failed, 75 interrupted with a checkpoint saved."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # loader workers fork after the tokenizer was used
    set_thread_environment()
    try:
        sys.exit(app(standalone_mode=False) or EXIT_DONE)
    except WhisperAutError as error:
        rank = f" (rank {os.environ['RANK']})" if "RANK" in os.environ and os.environ.get("WORLD_SIZE") != "1" else ""
        print(f"error{rank}: " + "\n".join(error.lines()), file=sys.stderr)
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(EXIT_DONE)
    except Exception as error:
        if hasattr(error, "format_message"):  # click's own: a wrong option, a missing argument
            if message := error.format_message():  # empty where a bare command has printed its help
                print(f"error: {message}\n  remedy: add --help to the command", file=sys.stderr)
            sys.exit(EXIT_WRONG_INPUT)
        raise


@app.callback(invoke_without_command=True)
def _whole_command(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
    local_rank: Annotated[
        int,
        typer.Option("--local_rank", hidden=True, help="Given by the deepspeed launcher; LOCAL_RANK says the same."),
    ] = -1,
) -> None:
    if version:
        print(whisper_aut.__version__)
        raise typer.Exit


@app.command()
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


@app.command()
def probe(
    base: Annotated[str, typer.Option(help="The encoder to compare with: hub name, folder, or pypi:tiny.en.")],
    encoder: Annotated[
        list[str],
        typer.Option(
            help="An encoder to compare with it: a folder that `whisper-aut export` wrote, a hub name, random:SPEC, "
            "mfcc, logmel, or hf:NAME_OR_DIR (AST, wav2vec 2.0, HuBERT, CLAP). Repeatable."
        ),
    ],
    task: Annotated[
        list[str],
        typer.Option(help="A benchmark (see `whisper-aut tasks`), or a folder with clips.jsonl. Repeatable."),
    ],
    data_root: Annotated[Path | None, typer.Option(help="Folder that benchmarks are in.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for probe.json.")] = Path("probe"),
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="paper, strict, xares, xares-knn or few-shot. Repeatable; paper and strict if left out."),
    ] = None,
    context: Annotated[list[str] | None, typer.Option(help="full or trimmed. Repeatable; both if left out.")] = None,
    pooling: Annotated[str, typer.Option(help="mean, mean+std or max, instead of the protocol's own.")] = "",
    layers: Annotated[
        str,
        typer.Option(
            help="last; a number from 0 (the first block's input); weighted: a learned sum; all: analyse each."
        ),
    ] = "last",
    seed: Annotated[int, typer.Option(help="Of heads, draws, bootstrap and random weights.", min=0, max=2**32 - 1)] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder of cached embeddings; OUT/cache if left out.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; cuda where there is one if left out.")] = "",
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16, or auto: what this device computes faster.")
    ] = "auto",
    jobs: Annotated[
        int | None, typer.Option(help="Processes that fit heads; as many as are worth it here if left out.", min=1)
    ] = None,
    refold: Annotated[
        bool, typer.Option("--refold", help="Deal folds anew by group where a group stands in several (else refused).")
    ] = False,
) -> None:
    """Linear probes of encoders on the same clips, each paired with the base, by frozen protocols."""
    import torch

    from whisper_aut.constants import CONTEXTS
    from whisper_aut.model.precision import DTYPES
    from whisper_aut.probe.encoders.base import STATISTICS
    from whisper_aut.probe.protocols import DEFAULT_PROTOCOLS, PROTOCOL_NAMES, parse_layer
    from whisper_aut.probe.run import run_probe

    run_probe(
        base,
        encoder,
        task,
        out_dir=out,
        data_root=data_root,
        protocols=[one_of("protocol", name, PROTOCOL_NAMES) for name in protocol or DEFAULT_PROTOCOLS],
        contexts=[one_of("context", name, CONTEXTS) for name in context or CONTEXTS],
        pooling=one_of("pooling", pooling, STATISTICS) if pooling else None,
        layer=parse_layer("last" if layers == "all" else layers),
        every_layer=layers == "all",
        seed=seed,
        cache_dir=cache or out / "cache",
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        precision=one_of("precision", precision, ("auto", *DTYPES)),
        refold_leaky=refold,
        jobs=jobs,
    )
    following = shlex.join(["whisper-aut", "report", "--probe", str(out / "probe.json"), "--out", str(out)])
    print(f"probed: {out / 'probe.json'}\nnext: {following}")


@app.command()
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
    from whisper_aut.model.precision import DTYPES
    from whisper_aut.probe.protocols import PROTOCOL_NAMES
    from whisper_aut.watch import Suite
    from whisper_aut.watch import watch as watch_run

    suite = Suite(
        task,
        protocols=[one_of("protocol", name, PROTOCOL_NAMES) for name in protocol or ["strict"]],
        contexts=[one_of("context", name, CONTEXTS) for name in context or ["trimmed"]],
        seed=seed,
        device=device,
        precision=one_of("precision", precision, ("auto", *DTYPES)),
        refold_leaky=refold,
        jobs=jobs,
    )
    print(f"watched: {watch_run(run, suite, out_dir=out or run / 'watch', every_sec=every, once=once)}")


@app.command()
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
