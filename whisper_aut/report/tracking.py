"""Gain and loss over the steps of one run: a page made of the probes of its checkpoints, written anew after each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from whisper_aut.probe.results import ProbeReport
from whisper_aut.report import figures
from whisper_aut.report.verdict import Row, make_rows, p_text, signed, summarise

CHOOSING = (
    "Each interval speaks of its own checkpoint. The best of many looks better than it is: choose by the last "
    "checkpoint, or by a rule that was fixed before."
)


@dataclass(frozen=True)
class ProbedStep:
    """One checkpoint and what its probe found; the only adapted encoder in it is the checkpoint's."""

    step: int
    probe: ProbeReport


@dataclass(frozen=True)
class _TaskCourse:
    rows: list[tuple[int, Row]]  # (step, the row that the verdict rests on), ascending
    chart: Markup

    @property
    def latest(self) -> Row:
        return self.rows[-1][1]


def render_tracking(
    title: str, probed: Sequence[ProbedStep], *, steps_planned: int, skipped: Sequence[int], refresh_sec: int | None
) -> str:
    """The page. Every text of a recipe or a result is escaped.

    Args:
        title: the run's name.
        probed: at least one, in any order.
        steps_planned: of the run.
        skipped: steps whose checkpoint was gone or damaged before it could be probed.
        refresh_sec: how often a browser reads the page again; None for a page that is finished.
    """
    ordered = sorted(probed, key=lambda one: one.step)
    latest = ordered[-1]
    environment = Environment(
        loader=PackageLoader("whisper_aut.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(signed=signed, p=p_text)
    page = environment.get_template("tracking.html.j2").render(
        title=title,
        ordered=ordered,
        latest=latest,
        summary=summarise(latest.probe, make_rows(latest.probe)),
        steps_planned=steps_planned,
        skipped=sorted(skipped),
        refresh_sec=refresh_sec,
        courses=_courses(ordered, steps_planned),
        choosing=CHOOSING,
    )
    return page if page.endswith("\n") else page + "\n"


def _courses(ordered: Sequence[ProbedStep], steps_planned: int) -> list[_TaskCourse]:
    by_task: dict[str, list[tuple[int, Row]]] = {}
    for one in ordered:
        for row in make_rows(one.probe):
            if row.believed:
                by_task.setdefault(row.task, []).append((one.step, row))
    return [_TaskCourse(rows, _chart(task, rows, steps_planned)) for task, rows in by_task.items()]


def _chart(task: str, rows: Sequence[tuple[int, Row]], steps_planned: int) -> Markup:
    """Change against the base over steps, from step 0, where it is 0 by definition."""
    change = figures.Line(
        "",
        "series-1",
        [(0.0, 0.0), *((float(step), row.delta) for step, row in rows)],
        marked=True,
        spans=[(float(step), *row.interval) for step, row in rows],
    )
    base = figures.Line("", "series-floor", [(0.0, 0.0), (float(steps_planned), 0.0)])
    return figures.line_chart([base, change], title=f"Change on {task} over steps, in points", height=150, size="half")
