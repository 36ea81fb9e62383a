"""``whisper-aut doctor``: this installation, or those of several machines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from whisper_aut.errors import EXIT_WRONG_INPUT, HostfileError
from whisper_aut.machine import LIBRARIES_BYTES, require_memory


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

    Also what this machine gives (products, cores, memory, disk) and how long the demo takes on it.

    --nodes needs ssh without a password, as training does. Nothing is left behind on any machine.
    """
    if nodes is not None:
        _doctor_nodes(nodes, shared, python or sys.executable, port, timeout, as_json)
        return
    if shared is not None or python:
        raise HostfileError("--shared and --python say how to look at other machines", remedy="add --nodes HOSTFILE")
    require_memory(LIBRARIES_BYTES, "doctor")  # before the imports that take it
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
