"""Builds the report: reads the probe's results and the run, judges, writes HTML, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whisper_aut.errors import ProbeError
from whisper_aut.files import write_whole
from whisper_aut.probe.compare import check_answers
from whisper_aut.probe.results import ProbeReport
from whisper_aut.report.beside import Side, hold_against
from whisper_aut.report.content import Report, run_section
from whisper_aut.report.gate import Gate, GateVerdict, judge
from whisper_aut.report.html import render_html
from whisper_aut.report.leakage import Check, judge_leakage, read_check
from whisper_aut.report.markdown import render_markdown, terminal_table
from whisper_aut.report.runlog import read_run
from whisper_aut.report.speech import speech_section
from whisper_aut.report.verdict import make_rows, summarise
from whisper_aut.speech.results import SpeechReport


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """What ``build_report`` wrote, the table to print, and the gate to close: ``gate.raise_if_failed(html)``."""

    html: Path
    markdown: Path
    json: Path
    table: str
    gate: GateVerdict


def build_report(
    *,
    run_dir: Path | None,
    probe_json: Path,
    out_dir: Path,
    gate: Gate | None = None,
    notes: Sequence[str] = (),
    leakage: Sequence[Path] = (),
    speech: Path | None = None,
    junit: Path | None = None,
) -> ReportPaths:
    """Write ``report.html``, ``report.md`` and ``report.json`` into ``out_dir``.

    The gate's verdict is in the report and in the result; it is not raised here, so that a failed gate leaves a
    report that says why.

    Args:
        run_dir: folder that training wrote; None reports the probe alone.
        probe_json: results that the probe wrote.
        out_dir: made where it is not there.
        gate: bounds on changes under strict/trimmed; none where None.
        notes: sentences for the reader, e.g. where the data of a demonstration come from.
        leakage: files that the leakage check wrote.
        speech: the file that `whisper-aut wer` wrote.
        junit: a file for the gate's checks as JUnit XML.

    Raises:
        ProbeError: the results cannot be used, the gate names a task that they lack, or nothing can be written.
        CheckpointError: ``run_dir`` holds no run, or a damaged one.
    """
    probe = ProbeReport.from_json(probe_json)
    check_answers(probe, probe_json)
    checks = [read_check(path) for path in leakage]
    heard = SpeechReport.from_json(speech) if speech is not None else None
    report = gather(probe, probe_json, run_dir=run_dir, gate=gate or Gate(), notes=notes, checks=checks, speech=heard)
    return _write(report, out_dir, junit)


def build_comparison(
    a: Side, b: Side, *, command: str, out_dir: Path, gate: Gate | None = None, junit: Path | None = None
) -> ReportPaths:
    """Write the report on the encoder of ``b`` against that of ``a``, from their two files.

    Args and errors as in ``build_report``; also ``ProbeError`` where the files have nothing in common.
    """
    probe, notes = hold_against(a, b, command)
    report = gather(probe, b.path, run_dir=None, gate=gate or Gate(), notes=notes)
    title = f"{Path(b.encoder.name).name} against {Path(a.encoder.name).name}"
    return _write(report.model_copy(update={"title": title, "missing": []}), out_dir, junit)


def _write(report: Report, out_dir: Path, junit: Path | None) -> ReportPaths:
    paths = ReportPaths(
        html=out_dir / "report.html",
        markdown=out_dir / "report.md",
        json=out_dir / "report.json",
        table=terminal_table(report.rows),
        gate=report.gate,
    )
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        write_whole(paths.html, render_html(report))
        write_whole(paths.markdown, render_markdown(report))
        write_whole(paths.json, report.to_json())
    except OSError as error:
        raise ProbeError(
            f"the report cannot be written: {error}", where=str(out_dir), remedy="give a folder that can be written"
        ) from None
    try:
        if junit is not None:
            write_whole(junit, report.gate.junit())
    except OSError as error:
        raise ProbeError(
            f"the gate's checks cannot be written: {error.strerror}", where=str(junit), remedy="give another --junit"
        ) from None
    return paths


def gather(
    probe: ProbeReport,
    probe_json: Path,
    *,
    run_dir: Path | None,
    gate: Gate,
    notes: Sequence[str] = (),
    checks: Sequence[Check] = (),
    speech: SpeechReport | None = None,
) -> Report:
    """Everything that the report says, before it takes a form. Arguments and errors as in ``build_report``."""
    _check_finite(probe, probe_json)
    log = read_run(run_dir) if run_dir is not None else None
    rows = make_rows(probe)
    missing = list(log.missing) if log else ["no training run was given: the report shows the probe alone"]
    missing += [f"{task.name} has no results" for task in probe.tasks if not task.results]
    for name in probe.layers.left_out if probe.layers else []:
        missing.append(f"{name} layer by layer: its clips have several labels")
    named_after = (probe.adapted or probe.encoders)[0].name
    name = log.info.name if log and log.info and log.info.name else Path(named_after).name
    return Report(
        title=name or named_after,
        summary=summarise(probe, rows),
        rows=rows,
        gate=judge(rows, gate),
        leakage=judge_leakage(checks, probe.tasks, log.info if log else None),
        speech=speech_section(speech, probe.encoders),
        notes=list(notes),
        missing=missing,
        probe=probe,
        run=run_section(log) if log else None,
    )


def _check_finite(probe: ProbeReport, path: Path) -> None:
    for task in probe.tasks:
        try:
            json.dumps(task.model_dump(mode="json"), allow_nan=False)
        except ValueError:
            raise ProbeError(
                f"the results of '{task.name}' hold a number that is not finite",
                where=str(path),
                remedy="probe again; a NaN among the embeddings is a damaged encoder",
            ) from None
