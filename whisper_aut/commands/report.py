"""``whisper-aut report``: the page of a probe, and `compare`, of two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whisper_aut.commands.choices import one_of, require_file
from whisper_aut.errors import ProbeError

if TYPE_CHECKING:
    from whisper_aut.report.build import ReportPaths
    from whisper_aut.report.gate import Gate

app = typer.Typer(invoke_without_command=True)
_MAX_DROP = typer.Option(help="TASK=POINTS: leave with exit code 3 if TASK dropped more. Repeatable.")
_MIN_GAIN = typer.Option(help="TASK=POINTS: leave with exit code 3 if TASK gained less. Repeatable.")
_GATE = typer.Option(
    help="What is held against those points: estimate (the change), lenient (fail only where the 95% interval proves a "
    "breach), strict (pass only where it rules one out)."
)
_JUNIT = typer.Option(help="File for the gate's checks as JUnit XML.")


@app.callback()
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
    leakage: Annotated[
        list[Path] | None, typer.Option(help="leakage.json, written by `whisper-aut leakage`. Repeatable.")
    ] = None,
    speech: Annotated[Path | None, typer.Option(help="speech.json, written by `whisper-aut wer`.")] = None,
    card: Annotated[
        Path | None, typer.Option(help="An export that was probed: the results go into its model card, too.")
    ] = None,
) -> None:
    """Write the report and close the gate; `report compare` holds two probes against each other."""
    if context.invoked_subcommand is not None:
        return
    if probe_json is None:
        raise ProbeError("there is nothing to report", remedy="give --probe and what `whisper-aut probe` wrote")
    asked = _gate(max_drop, min_gain, gate, junit)
    require_file(probe_json, "the probe results", "run `whisper-aut probe` first")
    for path in leakage or []:
        require_file(
            path, "the leakage check", "give leakage.json in the folder that `whisper-aut leakage --out` named"
        )
    if speech is not None:
        require_file(speech, "the word errors", "give speech.json in the folder that `whisper-aut wer --out` named")
    from whisper_aut.report.build import build_report

    paths = build_report(
        run_dir=run,
        probe_json=probe_json,
        out_dir=out,
        gate=asked,
        notes=note or [],
        leakage=leakage or [],
        speech=speech,
        junit=junit,
    )
    if card is not None:
        from whisper_aut.report.card import put_into_card

        print(f"model card: {put_into_card(probe_json, card)} scores in {card / 'README.md'}")
    _finish(paths)


@app.command("compare")
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
        one_of("gate", rule, GATE_RULES),
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
