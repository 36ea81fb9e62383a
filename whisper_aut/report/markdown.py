"""The report in Markdown, and its main table as Markdown (for a README) and as plain text (for a terminal)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from statistics import mean, stdev

from whisper_aut.probe.results import LayerAnalysis
from whisper_aut.progress import format_duration
from whisper_aut.report.confusions import changed_confusions, told
from whisper_aut.report.content import Report, RunSection, is_noncommercial
from whisper_aut.report.speech import SpeechRow, SpeechSection
from whisper_aut.report.verdict import Row, p_text, several_encoders, signed
from whisper_aut.speech.results import ALL_SOURCES

COLUMNS = (
    "task", "metric", "clips", "classes", "protocol", "context",
    "base [95%]", "adapted [95%]", "Δ points [95%]", "detectable", "p", "p Holm", "verdict",
)  # fmt: skip
RIGHT_ALIGNED = frozenset(
    {"clips", "classes", "base [95%]", "adapted [95%]", "Δ points [95%]", "detectable", "p", "p Holm"}
)
ENCODER = "encoder"  # a column that stands after the context where there are several


def table_columns(rows: Sequence[Row]) -> tuple[str, ...]:
    """``COLUMNS``, with the encoder's name where rows of several encoders stand in the table."""
    place = COLUMNS.index("context") + 1
    return (*COLUMNS[:place], ENCODER, *COLUMNS[place:]) if several_encoders(rows) else COLUMNS


def table_cells(row: Row, columns: Sequence[str] = COLUMNS) -> tuple[str, ...]:
    """One row of the main table, as text, in the order of ``columns``."""
    encoder = (row.encoder if row.role == "adapted" else f"{row.encoder} ({row.role})",)
    return (
        row.task,
        row.metric,
        str(row.num_clips),
        str(row.num_classes),
        row.protocol,
        row.context,
        *(encoder if ENCODER in columns else ()),
        f"{row.base:.1f} [{row.base_interval[0]:.1f}, {row.base_interval[1]:.1f}]",
        f"{row.adapted:.1f} [{row.adapted_interval[0]:.1f}, {row.adapted_interval[1]:.1f}]",
        f"{signed(row.delta)} [{signed(row.interval[0])}, {signed(row.interval[1])}]",
        f"{row.detectable:.1f}",
        p_text(row.p_value),
        p_text(row.p_holm),
        row.verdict,
    )


def markdown_table(rows: Sequence[Row]) -> str:
    """The main table in Markdown; the rows that the verdict rests on are bold in task and change."""
    columns = table_columns(rows)
    lines = [_line(columns), _line(["---:" if column in RIGHT_ALIGNED else "---" for column in columns])]
    for row in rows:
        cells = [
            escape(cell) if column in {"task", ENCODER} else cell.replace("|", "\\|").replace("<", "&lt;")
            for column, cell in zip(columns, table_cells(row, columns), strict=True)
        ]
        if row.believed:
            for column in ("task", "Δ points [95%]", "verdict"):
                cells[columns.index(column)] = f"**{cells[columns.index(column)]}**"
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def terminal_table(rows: Sequence[Row]) -> str:
    """The main table as aligned plain text. ``*`` marks the rows that the verdict rests on."""
    columns = table_columns(rows)
    body = [[printable(cell) for cell in table_cells(row, columns)] for row in rows]
    for row, cells in zip(rows, body, strict=True):
        cells[0] = f"{'*' if row.believed else ' '} {cells[0]}"
    grid = [["  task", *columns[1:]], *body]
    widths = [max(_width(line[i]) for line in grid) for i in range(len(columns))]
    lines = [
        "  ".join(_pad(cell, widths[i], columns[i] in RIGHT_ALIGNED) for i, cell in enumerate(line)) for line in grid
    ]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def render_markdown(report: Report) -> str:
    """The whole report as one Markdown document."""
    probe = report.probe
    subject = "the encoder" if several_encoders(report.rows) else "adapted"
    encoders = ", ".join(f"{encoder.role}: {code(encoder.name)}" for encoder in probe.encoders)
    parts = [
        f"# {escape(report.title)}",
        f"**{escape(report.summary.sentence)}**",
        report.summary.basis,
        _gate(report),
        f"**Leakage: {report.leakage.status}.** {escape(report.leakage.sentence)}",
        _list("What the leakage check says", report.leakage.details),
        _list("Read with care", report.summary.cautions),
        _list("Notes", report.notes),
        _list("Not in this report", report.missing),
        "## Probe",
        markdown_table(report.rows),
        f"The task's metric in percent, 95% bootstrap intervals over recordings; Δ is {subject} minus base on the same "
        "clips; detectable: the least change that these clips show in four of five cases at p < 0.05, given how often "
        "the two encoders disagree and how clips of one recording hang together; p is the exact two-sided McNemar test "
        "(few-shot: a sign-flip test over recordings; mAP: a permutation test over recordings), p Holm the same "
        "corrected over the tasks of one protocol and context. "
        "Bold: the rows that the verdict rests on.",
        _list("Spread over seeds and draws", spread_lines(report.rows)),
        _list("Confusions that changed most", _confusions(report)),
        _list("Protocols", sorted({_rule(report, row) for row in report.rows})),
        f"B{encoders[1:]}.",  # the base comes first
        *_speech(report.speech),
        *(_layers(report.probe.layers) if report.probe.layers else []),
        *(_run(report.run) if report.run else []),
        "## How it was run",
        _commands(report),
        _hashes(report),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def spread_lines(rows: Sequence[Row]) -> list[str]:
    """How much scores move with the seed of a head or the draw of training clips, a line a row that has several."""
    several = several_encoders(rows)
    return [
        f"{row.task}, {row.protocol}/{row.context}{f', {row.encoder}' if several else ''}: base "
        f"{_spread(row.base_runs)}, {'encoder' if several else 'adapted'} {_spread(row.adapted_runs)}"
        for row in rows
        if row.base_runs
    ]


def _spread(runs: Sequence[float]) -> str:
    return f"{mean(runs):.1f} ± {stdev(runs):.1f} over {len(runs)}"


def _rule(report: Report, row: Row) -> str:
    """The protocol's own sentence."""
    results = next(task.results for task in report.probe.tasks if task.name == row.task)
    rules = next(r.rules for r in results if (r.protocol, r.context) == (row.protocol, row.context))
    return f"{row.protocol} (version {row.version}): {rules}"


def _gate(report: Report) -> str:
    checks = report.gate.checks
    if not checks:
        return "Gate: none was asked for."
    head = f"**Gate: {'passed' if report.gate.passed else 'FAILED'}.**"
    return "\n".join([head, "", *(f"- {'pass' if c.passed else '**fail**'}: {escape(c.text())}" for c in checks)])


def _layers(layers: LayerAnalysis) -> list[str]:
    """A table a task: each encoder's best layer and its last, by measure."""
    parts = ["## Layer by layer", f"At {layers.context} context, in percent: the best layer, and the last."]
    for task in layers.tasks:
        lines = [
            _line([escape(task.name), "layers", "neighbours", "network", "clusters"]),
            _line(["---"] + ["---:"] * 4),
        ]
        for curve in task.curves:
            measures = (_best_and_last(values) for values in (curve.knn, curve.network, curve.nmi))
            lines.append(_line([escape(curve.name), str(len(curve.knn)), *measures]))
        parts.append("\n".join(lines))
    return [*parts, f"Rules, version {layers.version}: {layers.rules}."]


def _best_and_last(values: Sequence[float]) -> str:
    best = max(range(len(values)), key=lambda layer: values[layer])
    return f"{values[best]:.1f} (layer {best}), {values[-1]:.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def _run(run: RunSection) -> list[str]:
    parts = ["## Training"]
    info = run.info
    planned = info.steps_planned if info else None
    state = "finished" if run.finished else "did not finish"
    parts.append(f"The run {state}: last step {run.last_step if run.last_step is not None else 'not recorded'}"
                 f" of {planned if planned is not None else 'an unrecorded number'}.")  # fmt: skip
    if run.noncommercial:
        parts.append(
            f"**Non-commercial licences.** {len(run.noncommercial)} source(s) of the training data forbid commercial "
            f"use: {escape(', '.join(run.noncommercial))}."
        )
    if run.unlicensed:
        parts.append(f"**Licence unknown:** {escape(', '.join(run.unlicensed))}.")
    if info and info.data:
        lines = [_line(["domain", "weight", "realised", "clips", "hours", "passes", "sources and licences"])]
        lines.append(_line(["---", "---:", "---:", "---:", "---:", "---:", "---"]))
        for name, domain in info.data.domains.items():
            sources = "; ".join(
                f"{source.name} ({', '.join(mark_license(text) for text in source.licenses) or 'licence not stated'})"
                for source in domain.sources
            )
            plan = info.plan
            lines.append(
                _line(
                    escape(cell)
                    for cell in (
                        name,
                        number(domain.weight, ".3g"),
                        number(plan.realised.get(name) if plan else None, ".4g"),
                        number(domain.clips, "d"),
                        number(domain.hours, ".2f"),
                        number(plan.passes.get(name) if plan else None, ".2f"),
                        sources or "not recorded",
                    )
                )
            )
        parts.append("\n".join(lines))
    quarantine = run.quarantine
    parts.append(f"Quarantined clips: {quarantine.num_clips if quarantine else 'not recorded'}.")
    if run.throughput:
        t = run.throughput
        parts.append(
            f"Throughput (median over steps): {number(t.clips_per_sec, '.3g')} clips/s, "
            f"{number(t.audio_sec_per_sec, '.3g')} s of audio per second, "
            f"{number(t.loader_wait_sec, '.3g')} s a step waiting for data; "
            f"{number(t.audio_hours, '.2f')} h of audio in "
            f"{format_duration(t.training_sec) if t.training_sec is not None else 'an unrecorded time'} of steps."
        )
    if run.curves and run.curves.validation:
        for name, points in run.curves.validation.items():
            (first, start), (last, end) = points[0], points[-1]
            parts.append(
                f"- validation loss, {escape(name)}: {start:.3f} at step {first:.0f} → {end:.3f} at step {last:.0f}"
            )
    return parts


def speech_table(rows: Sequence[SpeechRow]) -> str:
    """What is kept of speech, a row a line."""
    columns = ("metric", "source", "context", "model", "value [95%]", "Δ [95%]", "clips", "verdict")
    right = {"value [95%]", "Δ [95%]", "clips"}
    lines = [_line(columns), _line(["---:" if column in right else "---" for column in columns])]
    for row in rows:
        change = row.delta_interval_text()
        source = f"{row.domain}, all" if row.source == ALL_SOURCES else row.source
        value = f"{row.value_text()} [{', '.join(row.interval_text())}]"
        delta = f"{row.delta_text()} [{', '.join(change)}]" if change else ""
        lines.append(
            _line((row.metric, escape(source), row.context, row.role, value, delta, str(row.num_clips), row.verdict))
        )
    return "\n".join(lines)


def _speech(speech: SpeechSection) -> list[str]:
    parts = ["## Speech kept", escape(speech.sentence), _list("Read with care", speech.cautions)]
    if speech.rows:
        parts += [
            speech_table([row for _, rows in speech.by_metric() for row in rows]),
            "WER: % of words; chrF: of 100, higher is better; loss: nats per token.",
            "\n".join(f"- {escape(line)}" for line in speech.how),
        ]
    return parts


def _confusions(report: Report) -> list[str]:
    """A line a task and encoder that the verdict speaks of."""
    of_task = {task.name: task for task in report.probe.tasks}
    named = several_encoders(report.rows)
    lines = []
    for row in report.rows:
        task = of_task[row.task]
        result = next(one for one in task.results if (one.protocol, one.context) == (row.protocol, row.context))
        if row.believed and (phrases := told(changed_confusions(task, result, row.encoder_number))):
            lines.append(f"{row.task}{f', {row.encoder}' if named else ''}: {'; '.join(phrases)}")
    return lines


def _commands(report: Report) -> str:
    run = report.run.info.command if report.run and report.run.info else None
    lines = [f"# train\n{run}" if run else "# train: not recorded"]
    lines += [f"# export of {encoder.name}\n{encoder.made_by}" for encoder in report.probe.encoders if encoder.made_by]
    lines.append(f"# probe\n{report.probe.command}")
    lines += [f"# leakage check\n{command}" for command in report.leakage.commands]
    lines += [f"# speech\n{report.speech.command}"] if report.speech.command else []
    return fenced("\n".join(lines))


def _hashes(report: Report) -> str:
    probe = report.probe
    facts = [
        f"{encoder.role} weights {encoder.weights_sha256}{f' ({encoder.name})' if len(probe.encoders) > 2 else ''}"
        for encoder in probe.encoders
    ]
    facts += [f"{task.name} clips {task.clips_sha256}" for task in probe.tasks]
    facts += [f"{name} {version} (probe)" for name, version in probe.versions.items()]
    facts.append(f"probe seed {probe.seed}")
    facts += [f"probe precision {probe.precision}: {probe.precision_reason}"] if probe.precision else []
    if report.run and (info := report.run.info):
        facts += [f"{name} {version} (training)" for name, version in info.versions.items()]
        facts += [f"machine {name}: {value}" for name, value in info.machine.items()]
        facts += [f"training seed {info.seed}", f"recipe {info.recipe_sha256}"]
    return fenced("\n".join(facts))


def mark_license(text: str) -> str:
    """A licence's name, loud where it forbids commercial use."""
    return f"{text}, NON-COMMERCIAL" if is_noncommercial(text) else text


def number(value: float | int | None, form: str) -> str:
    """A number, or the words that it is not there."""
    return "not recorded" if value is None else format(value, form)


def escape(text: str) -> str:
    """Text from manifests and recipes, so that Markdown shows it and obeys nothing of it."""
    flat = printable(" ".join(text.split()))
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", flat).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(text: str) -> str:
    """Text as inline code, with a fence longer than any in it."""
    flat = printable(" ".join(text.split()))
    longest = max((len(run) for run in re.findall(r"`+", flat)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {flat} {fence}" if longest else f"`{flat}`"


def fenced(text: str) -> str:
    """A code block, with a fence longer than any in it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}\n{printable(text, keep=chr(10))}\n{fence}"


def printable(text: str, keep: str = "") -> str:
    """``text`` without control characters: a label must not steer a terminal."""
    return "".join(c if c in keep or c.isprintable() else "�" for c in text)


def _list(title: str, items: Sequence[str]) -> str:
    return "\n".join([f"**{title}**", "", *(f"- {escape(item)}" for item in items)]) if items else ""


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _width(text: str) -> int:
    """Columns on a terminal: wide characters take two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _pad(text: str, width: int, right: bool) -> str:
    spaces = " " * (width - _width(text))
    return spaces + text if right else text + spaces
