"""Run every consumer that is installed on every form that is there; one row each, a table and ``parity.json``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch

import whisper_aut
from whisper_aut.errors import CheckpointError, GateFailed, RecipeError
from whisper_aut.export.about import read_about
from whisper_aut.export.sums import SUMS, compare_sums, record_sums
from whisper_aut.files import write_whole
from whisper_aut.model.hashes import weights_sha256
from whisper_aut.model.precision import DTYPES, SLOW_FACTOR, PrecisionChoice, compare_on_cpu, warn_if_slow
from whisper_aut.model.tensors import INDEX, WEIGHTS
from whisper_aut.parity.audio import read_audio
from whisper_aut.parity.compare import TOLERANCES, Distance, Mismatch
from whisper_aut.parity.consumers import ALL
from whisper_aut.parity.consumers.base import Consumer, Found, LeftOut
from whisper_aut.parity.reference import Reference, load_reference
from whisper_aut.resources import command_line

SCHEMA_VERSION = 1
REPORT = "parity.json"
_MAX_REASON = 400  # characters; torch lists every key of a model where one prefix is wrong

Status = Literal["same", "different", "not run"]


@dataclass(frozen=True)
class Row:
    """One consumer on one form.

    Attributes:
        distance: of its states from the reference's, in units of their root mean square; None where there are none.
        computed_in: the arithmetic of its states; weights are compared in what was loaded, whatever this is.
        reason: why it differs or was not run.
        note: what else is worth knowing, such as the words that it writes.
    """

    consumer: str
    version: str
    form: str
    call: str
    distance: Distance | None
    status: Status
    reason: str = ""
    note: str = ""
    computed_in: str = ""


@dataclass(frozen=True)
class Parity:
    """All rows, and what they were held against.

    Attributes:
        precision: of the export, which the tolerance belongs to.
        arithmetic: what PyTorch's consumers were told to compute states in, and why.
        changed_files: what in the folder is not what was exported, by SHA256SUMS. Rows speak of the encoder; a decoder
            or tokenizer that was damaged since is found here.
    """

    rows: tuple[Row, ...]
    precision: str
    tolerance: Distance
    audio: str
    encoder_sha256: str
    changed_files: tuple[str, ...] = ()
    arithmetic: str = ""

    @property
    def failed(self) -> tuple[Row, ...]:
        """Rows whose consumer does not have the reference's encoder."""
        return tuple(row for row in self.rows if row.status == "different")

    def raise_if_failed(self, where: Path) -> None:
        """Raises ``GateFailed`` where a row failed or a file was changed; the message names each with its reason."""
        found = []
        if self.failed:
            of = sum(row.status != "not run" for row in self.rows)
            found.append(f"{len(self.failed)} of {of} consumers do not get the encoder:")
            found += [f"  {row.consumer} ({row.form}): {row.reason}" for row in self.failed]
        if self.changed_files:
            found.append(f"{len(self.changed_files)} files are not what SHA256SUMS says:")
            found += [f"  {line}" for line in self.changed_files]
        if found:
            raise GateFailed(
                "\n".join(found),
                where=str(where),
                remedy="do not share this export; export again, and report it if that does not help",
            )


def run_parity(
    export_dir: Path,
    *,
    audio_files: Sequence[Path] = (),
    reference: Path | None = None,
    precision: str = "auto",
    consumers: Sequence[Consumer] = ALL,
) -> Parity:
    """Hold an export against its encoder, consumer by consumer.

    Args:
        export_dir: a folder that ``whisper-aut export`` wrote.
        audio_files: recordings to compare on; synthesised speech where there are none.
        reference: a run, a checkpoint or a model's folder to compare with; the export's form ``encoder`` if None.
        precision: as for ``choose_arithmetic``.
        consumers: the rows.

    Raises:
        CheckpointError: no export, no reference, or nothing could be compared at all.
        RecipeError: states cannot be compared in that precision.
        WhisperAutError: audio or reference cannot be read.
    """
    about = read_about(export_dir)
    of_export = str(about.get("dtype", "float32"))
    if of_export not in TOLERANCES:
        raise CheckpointError(
            f"no tolerance is known for precision '{of_export}'", remedy=f"export in {', '.join(TOLERANCES)}"
        )
    tolerance = TOLERANCES[of_export]
    choice = choose_arithmetic(precision, of_export)
    if choice.warning:
        print(f"warning: {choice.warning}", file=sys.stderr)
    in_own = choice.name == of_export
    held_against = load_reference(
        export_dir, read_audio(audio_files), reference, states_dtype=None if in_own else choice.dtype
    )
    promised = about.get("forms", [])
    rows = tuple(run_consumer(consumer, export_dir, held_against, tolerance, promised) for consumer in consumers)
    if all(row.status == "not run" for row in rows):
        raise CheckpointError(
            "nothing could be compared: " + "; ".join(sorted({row.reason for row in rows})), where=str(export_dir)
        )
    changed = tuple(compare_sums(export_dir).lines()) if (export_dir / SUMS).is_file() else ()
    return Parity(
        rows,
        of_export,
        tolerance,
        held_against.audio.source,
        weights_sha256(held_against.weights),
        changed,
        f"{choice.name}: {choice.reason}",
    )


def choose_arithmetic(asked: str, of_export: str) -> PrecisionChoice:
    """Return what PyTorch's consumers compute states in: the export's own precision, or float32, which is more exact.

    Args:
        asked: ``auto``: the export's own, float32 where that is slow on this CPU; ``float32``; or the export's own.
        of_export: precision of the export.

    Raises:
        RecipeError: something else was asked for, in which states could not stay within the export's tolerance.
    """
    own = getattr(torch, of_export)
    if asked == "auto" and own == torch.float32:
        return PrecisionChoice(own, "the export's own")
    if asked == "auto":
        times_as_long, speeds = compare_on_cpu(own)
        return PrecisionChoice(torch.float32 if times_as_long > SLOW_FACTOR else own, speeds)
    if DTYPES.get(asked) == torch.float32:
        return PrecisionChoice(torch.float32, "asked for")
    if asked != of_export and DTYPES.get(asked) != own:
        raise RecipeError(
            f"states of an export in {of_export} are not compared in '{asked}'",
            remedy="use auto, float32" + ("" if own == torch.float32 else f" or {of_export}"),
        )
    return PrecisionChoice(own, "asked for", warn_if_slow(own))


def check_report_place(path: Path) -> None:
    """Refuse to write the results over anything but earlier results: what is given may be a file of the export.

    Raises:
        CheckpointError: something else is there.
    """
    if not path.exists():
        return
    try:
        earlier = json.loads(path.read_text("utf-8"))
        is_report = isinstance(earlier, dict) and {"rows", "tolerance"} <= set(earlier)
    except (OSError, ValueError):
        is_report = False
    if not is_report:
        raise CheckpointError(
            "there is something else than earlier results of parity, which would be lost",
            where=str(path),
            remedy="give another --out",
        )


def write_parity(found: Parity, path: Path, export_dir: Path) -> None:
    """Write ``parity.json``; inside an export that has sums, its sum is noted there.

    Raises:
        CheckpointError: another file is there, or nothing can be written.
    """
    check_report_place(path)
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "whisper_aut": whisper_aut.__version__,
        "command": command_line(),
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **asdict(found),
    }
    try:
        write_whole(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        if path.absolute().parent == export_dir.absolute():
            record_sums(export_dir, [path.name])
    except OSError as error:
        raise CheckpointError(
            f"the results cannot be written: {error.strerror}", where=str(path), remedy="give another --out"
        ) from None


def has_form(export_dir: Path, form: str) -> bool:
    """Whether the files of a form are there."""
    if form == "hf":
        return (export_dir / "config.json").is_file() and any(
            (export_dir / name).is_file() for name in (WEIGHTS, INDEX)
        )
    name = {"openai": "model.pt", "onnx": "encoder.onnx", "ctranslate2": "model.bin"}.get(form, "config.json")
    return (export_dir / form / name).is_file()


def run_consumer(
    consumer: Consumer, export_dir: Path, reference: Reference, tolerance: Distance, promised: Sequence[str] = ()
) -> Row:
    """One row: the consumer's verdict on an export. Nothing that it raises comes through.

    Args:
        consumer: whom to ask.
        export_dir: the export.
        reference: what its encoder must be.
        tolerance: how far states may be from the reference's.
        promised: forms that the export says it has; one of them that is missing is a failure.
    """
    installed = _version(consumer.packages[0])

    def made(status: Status, reason: str = "", found: Found | None = None) -> Row:
        reason = " ".join(reason.split())
        shown = reason if len(reason) <= _MAX_REASON else reason[:_MAX_REASON] + "…"
        row = Row(consumer.name, installed or "–", consumer.form, consumer.call, None, status, shown)
        return row if found is None else replace(row, distance=found.distance, computed_in=found.computed_in)

    if not has_form(export_dir, consumer.form):
        if consumer.form in promised:
            return made("different", f"whisper_aut.json promises the form `{consumer.form}`, and it is not there")
        return made("not run", f"the export has no form `{consumer.form}`: whisper-aut export --to …,{consumer.form}")
    absent = [package for package in consumer.packages if _version(package) is None]
    if absent:
        return made("not run", f"not installed: {', '.join(absent)}; pip install 'whisper-aut[parity]'")
    try:
        found = consumer.check(export_dir, reference)
    except LeftOut as why:
        return made("not run", str(why))
    except Mismatch as mismatch:
        return made("different", str(mismatch))
    except Exception as error:  # whatever a consumer raises on loading is what its user would meet
        return made("different", f"{type(error).__name__}: {error}")
    distance = found.distance
    for measure, have, most in (("largest", distance.largest, tolerance.largest), ("rms", distance.rms, tolerance.rms)):
        if not have <= most:
            said = f"the states' {measure} difference is {have:.3g}, tolerated is {most:.3g}"
            return made("different", said, found)
    return replace(made("same", found=found), note=found.note)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
