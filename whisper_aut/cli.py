"""The command line: parse, call one function, turn an error into an exit code. Nothing else happens here."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import whisper_aut
from whisper_aut.bench.commands import app as bench_app
from whisper_aut.commands.demo import demo
from whisper_aut.commands.doctor import doctor
from whisper_aut.commands.export import export
from whisper_aut.commands.leakage import leakage
from whisper_aut.commands.manifest import app as manifest_app
from whisper_aut.commands.parity import parity
from whisper_aut.commands.probe import probe
from whisper_aut.commands.report import app as report_app
from whisper_aut.commands.share import push, verify
from whisper_aut.commands.tasks import app as tasks_app
from whisper_aut.commands.train import train
from whisper_aut.commands.watch import watch
from whisper_aut.commands.wer import wer
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
for command in (train, export, probe, wer, leakage, watch, parity, push, verify, doctor, demo):
    app.command()(command)


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
