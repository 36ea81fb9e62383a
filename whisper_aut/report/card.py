"""The results of a probe in the model card of the export that was probed."""

from __future__ import annotations

from pathlib import Path

from whisper_aut.errors import ProbeError
from whisper_aut.export.card import Result, write_results
from whisper_aut.model.base import load_encoder
from whisper_aut.probe.results import ProbeReport
from whisper_aut.report.markdown import markdown_table
from whisper_aut.report.verdict import make_rows


def put_into_card(probe_json: Path, export_dir: Path) -> int:
    """Write the rows of one encoder into the card of its export: a table, and scores that hubs read.

    Args:
        probe_json: results that the probe wrote.
        export_dir: the export; one of the probed encoders must have its weights.

    Returns:
        Number of scores.

    Raises:
        ProbeError: the results cannot be used, speak of other weights, or the folder has no card of ours.
        BaseModelError: the export cannot be loaded.
    """
    probe = ProbeReport.from_json(probe_json)
    weights_sha256 = load_encoder(export_dir).weights_sha256
    numbers = [i for i, encoder in enumerate(probe.encoders) if i and encoder.weights_sha256 == weights_sha256]
    if not numbers:
        raise ProbeError(
            f"none of the probed encoders has the weights of the export (SHA-256 {weights_sha256[:16]}…)",
            where=str(probe_json),
            remedy="probe this export: whisper-aut probe --encoder " + str(export_dir),
        )
    rows = [row for row in make_rows(probe) if row.encoder_number == numbers[0]]
    results = [
        Result(row.task, row.metric, row.adapted, f"protocol {row.protocol} {row.version}, {row.context} context")
        for row in rows
    ]
    if not write_results(export_dir, markdown_table(rows), results):
        raise ProbeError(
            "the export has no model card with a place for results", where=str(export_dir), remedy="export again"
        )
    return len(results)
