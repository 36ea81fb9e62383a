"""``whisper-aut parity``: does every program that loads an export get this encoder?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whisper_aut.machine import LIBRARIES_BYTES, require_memory

if TYPE_CHECKING:
    from whisper_aut.parity.run import Parity


def parity(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `whisper-aut export` wrote.")],
    audio: Annotated[
        list[Path] | None,
        typer.Option(help="A recording to compare on (its first 30 s). Repeatable; synthesised speech if left out."),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="What to hold it against: a run, a checkpoint, a model's folder; DIR/encoder if left out."),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="Arithmetic of states: float32, the export's own, or auto: its own unless that is slow on this CPU."
        ),
    ] = "auto",
    out: Annotated[Path | None, typer.Option(help="File for the results; DIR/parity.json if left out.")] = None,
) -> None:
    """Load an export with every consumer that is installed and compare keys, weights and encoder states.

    Leaves with exit code 3 where one of them does not get the encoder that was trained. What is not installed is
    named; pip install 'whisper-aut\\[parity]' brings it.
    """
    from whisper_aut.export.about import read_about

    read_about(folder)  # a folder that is no export is refused before anything is imported
    require_memory(LIBRARIES_BYTES, "parity")
    from whisper_aut.parity.run import REPORT, check_report_place, run_parity, write_parity

    path = out or folder / REPORT
    check_report_place(path)
    found = run_parity(folder, audio_files=audio or [], reference=reference, precision=precision)
    write_parity(found, path, folder)
    _print(found)
    print(f"written: {path}")
    found.raise_if_failed(folder)


def _print(found: Parity) -> None:
    from whisper_aut.commands.tables import plain_table, show

    table = plain_table(
        ("consumer", "version", "call", "states in", "max difference", "rms", "verdict"),
        right={"max difference", "rms"},
        unbroken={"version", "states in", "max difference", "rms", "verdict"},
    )
    for row in found.rows:
        if row.status != "not run":
            numbers = (f"{row.distance.largest:.1e}", f"{row.distance.rms:.1e}") if row.distance else ("–", "–")
            verdict = row.status.upper().replace("SAME", "same")
            table.add_row(row.consumer, row.version, row.call, row.computed_in or "–", *numbers, verdict)
    show(table)
    print(
        f"tolerance in {found.precision}: {found.tolerance.largest:g} at most, {found.tolerance.rms:g} rms, in units "
        f"of the states' own rms; weights bit by bit where the consumer shows them\nstates in {found.arithmetic}\n"
        f"audio: {found.audio}"
    )
    for row in found.rows:
        if row.status == "not run":
            print(f"not run: {row.consumer}: {row.reason}")
        elif row.note:
            print(f"{row.consumer}: {row.note}")
