"""What the doctor found as a person reads it: a table of checks, or one of machines with the problems below it."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table
from rich.text import Text

from whisper_aut.doctor.examine import Check
from whisper_aut.doctor.nodes import Problem, Seen, Survey, clock_difference_sec, differences
from whisper_aut.doctor.ssh import last_line

_COLOURS = {"ok": "green", "note": "yellow", "missing": "yellow", "broken": "red"}


def print_checks(checks: list[Check]) -> None:
    """One line a check: state, what, found, remedy."""
    table = _table("", "what", "found", "remedy")
    for check in checks:
        mark = Text(check.status, _COLOURS[check.status])
        table.add_row(mark, Text(check.name), Text(check.found), Text(check.remedy))
    Console().print(table)


def print_survey(survey: Survey) -> None:
    """One line a machine, then each problem with its remedy."""
    first = survey.first
    name = first.host.name if first else "the first"
    table = _table("host", "reachable", "GPUs/ranks", f"not as on {name}", "clock", "free", "shared", "master port")
    for seen in survey.seen:
        table.add_row(*_cells(seen, first))
    console = Console()
    console.print(table)
    num_ranks = sum(seen.host.slots for seen in survey.seen)
    console.print(f"{len(survey.seen)} machines, {num_ranks} ranks", highlight=False)
    for problem in survey.problems:
        mark = Text("error", "red") if problem.breaks else Text("note", "yellow")
        console.print(mark.append(f": {problem.host}: {problem.what}\n  remedy: {problem.remedy}", "default"))
    if not survey.breaks:
        console.print("nothing stands in the way of a run", highlight=False)


def survey_json(survey: Survey) -> str:
    """The same in one line of JSON."""
    first = survey.first
    hosts = [
        {
            "host": seen.host.name,
            "slots": seen.host.slots,
            "report": seen.report.model_dump() if seen.report else None,
            "clock_difference_sec": clock_difference_sec(seen, first) if first else None,
            "free_gb": seen.free_gb,
        }
        for seen in survey.seen
    ]
    return json.dumps({"hosts": hosts, "problems": [_as_dict(problem) for problem in survey.problems]})


def _as_dict(problem: Problem) -> dict[str, object]:
    return {"host": problem.host, "what": problem.what, "remedy": problem.remedy, "breaks": problem.breaks}


def _cells(seen: Seen, first: Seen | None) -> list[Text]:
    if seen.report is None or first is None or first.report is None:
        return [Text(seen.host.name), Text("no", "red"), Text(f"?/{seen.host.slots}"), *[Text("")] * 5]
    gpus = len(seen.report.gpus)
    apart_sec = clock_difference_sec(seen, first)
    different = differences(seen.report, first.report)
    words = ", ".join(
        f"{what} {last_line(there)} ({last_line(reference)})" for what, (there, reference) in different.items()
    )
    return [
        Text(seen.host.name),
        Text("yes", "green"),
        Text(f"{gpus}/{seen.host.slots}", "green" if gpus >= seen.host.slots else "red"),
        Text("") if seen is first else Text(words or "nothing", "yellow" if words else "green"),
        Text("" if apart_sec is None else f"{apart_sec:+.2f} s" if seen is not first else "0"),
        Text("" if seen.free_gb is None else f"{seen.free_gb:.0f} GB"),
        _mark(seen.shared, good="same"),
        _mark(seen.port, good="open" if seen is first else "reached"),
    ]


def _mark(wrong: str | None, *, good: str) -> Text:
    if wrong is None:
        return Text("not tried")
    return Text("no", "red") if wrong else Text(good, "green")


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
