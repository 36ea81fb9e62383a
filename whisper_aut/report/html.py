"""The report as one HTML page that needs no network: style and figures lie inside, scripts there are none."""

from __future__ import annotations

from collections import Counter

from jinja2 import Environment, PackageLoader, StrictUndefined

from whisper_aut.progress import format_duration
from whisper_aut.report import figures
from whisper_aut.report.confusions import changed_confusions
from whisper_aut.report.content import Report, RunSection, is_noncommercial, is_unknown
from whisper_aut.report.layer_figures import class_key, embedding_map, layer_charts
from whisper_aut.report.markdown import number, spread_lines
from whisper_aut.report.verdict import p_text, several_encoders, signed


def render_html(report: Report) -> str:
    """The page. Every text of a manifest, recipe or result is escaped."""
    environment = Environment(
        loader=PackageLoader("whisper_aut.report"),
        autoescape=True,
        undefined=StrictUndefined,  # a misspelt name in the template is an error, not an empty place
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(signed=signed, short=figures.short, p=p_text, number=number, duration=format_duration)
    environment.tests.update(noncommercial=is_noncommercial, unknown_license=is_unknown)
    page = environment.get_template("report.html.j2").render(
        report=report,
        probe=report.probe,
        run=report.run,
        several=several_encoders(report.rows),
        spread=spread_lines(report.rows),
        forest=figures.forest(report.rows),
        class_figures=_class_figures(report),
        layers=_layer_figures(report),
        training=_training_figures(report.run) if report.run else {},
        mixture=_mixture_figure(report.run) if report.run else "",
        domain_style=figures.domain_style,
        rules=_rules(report),
        versions=_versions(report),
    )
    return page if page.endswith("\n") else page + "\n"


def _class_figures(report: Report) -> list[dict[str, object]]:
    """By task and adapted encoder, under the protocol and context that the verdict rests on."""
    believed = (report.summary.protocol, report.summary.context)
    adapted = [number for number, encoder in enumerate(report.probe.encoders) if encoder.role == "adapted"]
    return [
        {
            "task": task.name,
            "encoder": report.probe.encoders[number].name if len(adapted) > 1 else None,
            "chance": task.chance,
            "bars": figures.class_bars(r.scores[0].per_class, r.scores[number].per_class),
            "confusions": changed_confusions(task, r, number),
        }
        for task in report.probe.tasks
        for r in task.results
        if (r.protocol, r.context) == believed
        for number in adapted
    ]


def _layer_figures(report: Report) -> list[dict[str, object]]:
    """By task: charts over depth, maps of chosen layers and the key to their colours."""
    return [
        {
            "task": task,
            "charts": layer_charts(task),
            "maps": [(one, embedding_map(task, one)) for one in task.maps],
            "key": class_key(task),
        }
        for task in (report.probe.layers.tasks if report.probe.layers else [])
    ]


def _training_figures(run: RunSection) -> dict[str, object]:
    curves = run.curves
    if curves is None:
        return {}
    domains = [
        figures.Line(name, figures.domain_style(name), points, marked=True)
        for name, points in curves.validation.items()
    ]
    return {
        "loss": figures.line_chart(
            [figures.Line("", "raw", curves.loss), figures.Line("", "smoothed", curves.loss_smoothed)],
            title="Training loss over steps",
        ),
        "validation": figures.line_chart(domains, title="Validation loss by domain over steps"),
        "wer": figures.line_chart(
            [figures.Line("", "smoothed", curves.wer, marked=True)],
            title="Word error rate of held-out speech over steps, in percent",
            height=110,
            from_zero=True,
        )
        if curves.wer
        else "",
        "lr": figures.line_chart(
            [figures.Line("", "smoothed", curves.lr)],
            title="Learning rate over steps",
            height=110,
            from_zero=True,
            form=lambda value: f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-") if value else "0",
        ),
    }


def _mixture_figure(run: RunSection) -> object:
    info = run.info
    if info is None or info.data is None:
        return ""
    asked = {name: domain.weight for name, domain in info.data.domains.items() if domain.weight is not None}
    realised = {name: info.plan.realised[name] for name in asked if info.plan and name in info.plan.realised}
    return figures.shares(asked, realised)


def _rules(report: Report) -> list[tuple[str, int, list[str], list[str], str]]:
    """(protocol, version, contexts, tasks, rules) without repetition, in the order of the table.

    Tasks are named where a protocol's rules are not the same for all of them.
    """
    places: dict[tuple[str, int, str], dict[tuple[str, str], None]] = {}  # a set that keeps the order
    for task in report.probe.tasks:
        for result in task.results:
            places.setdefault((result.protocol, result.version, result.rules), {})[result.context, task.name] = None
    kinds = Counter(protocol for protocol, _, _ in places)
    return [
        (
            protocol,
            version,
            list(dict.fromkeys(context for context, _ in seen)),
            list(dict.fromkeys(task for _, task in seen)) if kinds[protocol] > 1 else [],
            rules,
        )
        for (protocol, version, rules), seen in places.items()
    ]


def _versions(report: Report) -> list[tuple[str, str | None, str | None]]:
    """(package, in training, in probing)."""
    training = report.run.info.versions if report.run and report.run.info else {}
    probing = report.probe.versions
    return [(name, training.get(name), probing.get(name)) for name in sorted(training.keys() | probing.keys())]
