"""Probe the checkpoints of a run while it trains, from another process: training itself knows nothing of probes.

``OUT/steps/step-00000100.json`` is one checkpoint's probe, ``OUT/watch.html`` the page over all, ``OUT/cache`` the
embeddings. A watcher that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from whisper_aut.constants import Context
from whisper_aut.errors import CheckpointError, ProbeError
from whisper_aut.export.encoder import export_encoder
from whisper_aut.files import write_whole
from whisper_aut.model.precision import PrecisionChoice, choose_and_say
from whisper_aut.probe.names import ProtocolName
from whisper_aut.probe.request import check_device
from whisper_aut.probe.results import ProbeReport
from whisper_aut.probe.run import run_probe
from whisper_aut.probe.splits import check_task, refold
from whisper_aut.probe.tasks.labelled import Task, load_task
from whisper_aut.report.tracking import ProbedStep, render_tracking
from whisper_aut.report.verdict import make_rows, signed
from whisper_aut.train.checkpoint import list_checkpoints, open_checkpoint


@dataclass(frozen=True)
class Suite:
    """What every checkpoint is probed with; the same for all of a page's points."""

    tasks: Sequence[Path]
    protocols: Sequence[ProtocolName] = ("strict",)
    contexts: Sequence[Context] = ("trimmed",)
    seed: int = 0
    device: str = "cpu"
    precision: str = "float32"  # auto: that of the points that are there, else what the device computes faster
    refold_leaky: bool = False
    jobs: int | None = 1  # as for ``run_probe``

    def load_tasks(self) -> list[Task]:
        """The tasks, checked.

        Raises:
            ProbeError: one cannot be used.
        """
        tasks = [refold(load_task(folder)) if self.refold_leaky else load_task(folder) for folder in self.tasks]
        for task in tasks:
            check_task(task)
        return tasks

    def choose_precision(self, out_dir: Path) -> PrecisionChoice:
        """Choose and say the precision of all points; ``auto`` keeps that of a suite that has begun in ``out_dir``.

        Raises:
            RecipeError: there is no such precision.
        """
        begun = (_read_settings(out_dir) or {}).get("precision")
        if self.precision != "auto" or begun is None:
            return choose_and_say(self.precision, self.device, command="watch")
        return replace(choose_and_say(begun, self.device, command="watch"), reason="that of the points before")

    def settings(self, precision: str) -> dict[str, Any]:
        """What a point depends on besides the checkpoint; device and processes are not among it."""
        return {
            "tasks": {task.name: task.clips_sha256 for task in self.load_tasks()},
            "protocols": list(self.protocols),
            "contexts": list(self.contexts),
            "seed": self.seed,
            "precision": precision,
            "refold": self.refold_leaky,
        }


def watch(run_dir: Path, suite: Suite, *, out_dir: Path, every_sec: float = 30.0, once: bool = False) -> Path:
    """Export and probe each checkpoint of a run, the newest first, and keep the page up to date.

    Ends when the run's last step is probed; with ``once``, when every checkpoint that is there is.

    Args:
        run_dir: the run; may not have begun yet.
        suite: what to probe with.
        out_dir: of results and page; holds those of one run under one suite.
        every_sec: pause between two looks.
        once: do not wait for further checkpoints.

    Returns:
        The page.

    Raises:
        ProbeError: a device that is not there, a task that cannot be used, or ``out_dir`` holds results of another run
            or suite.
        CheckpointError: ``once``, and there is no run or no checkpoint.
        BaseModelError: the run's base cannot be loaded.
    """
    check_device(suite.device)
    precision = suite.choose_precision(out_dir)
    settings = suite.settings(precision.name)
    skipped: set[int] = set()
    said_waiting = False
    while True:
        checkpoints = {_step_of(path): path for path in list_checkpoints(run_dir / "checkpoints")}
        done = _probed_steps(out_dir)
        pending = sorted(set(checkpoints) - set(done) - skipped, reverse=True)
        run = _run_json(run_dir)
        if run is not None and pending:
            if not _probe_checkpoint(
                run_dir, run, checkpoints[pending[0]], pending[0], suite, settings, precision, out_dir
            ):
                skipped.add(pending[0])
            finished = _finished(run, _probed_steps(out_dir), skipped)
            _write_page(run, out_dir, skipped, refresh_sec=None if finished else max(1, round(every_sec)))
            continue
        if once or (run is not None and _finished(run, done, skipped)):
            break
        if not said_waiting:
            print(f"watch: waiting for checkpoints in {run_dir}; Ctrl-C ends it", file=sys.stderr)
            said_waiting = True
        time.sleep(every_sec)
    if run is None or not done:
        raise CheckpointError(
            "no checkpoint of this run could be probed" if skipped else "there is no checkpoint to probe",
            where=str(run_dir),
            remedy="train first: whisper-aut train …, or watch without --once",
        )
    return _write_page(run, out_dir, skipped, refresh_sec=None)


def _probe_checkpoint(
    run_dir: Path,
    run: dict[str, Any],
    checkpoint: Path,
    step: int,
    suite: Suite,
    settings: dict[str, Any],
    precision: PrecisionChoice,
    out_dir: Path,
) -> bool:
    """Probe one checkpoint; False where it is gone (training keeps the newest only) or damaged."""
    export = out_dir / "export" / checkpoint.name
    try:
        identity = _identity_of(checkpoint)
    except CheckpointError as error:
        return _left_out(step, error)
    _claim(out_dir, settings | {"run": identity})
    try:
        export_encoder(run_dir, export, checkpoint=checkpoint)
        probe = run_probe(
            run["base"]["spec"],
            [str(export)],
            list(suite.tasks),
            out_dir=out_dir / "newest",
            protocols=suite.protocols,
            contexts=suite.contexts,
            seed=suite.seed,
            cache_dir=out_dir / "cache",
            device=suite.device,
            precision=precision,
            refold_leaky=suite.refold_leaky,
            jobs=suite.jobs,
        )
    except (CheckpointError, ProbeError, FileNotFoundError) as error:  # gone meanwhile, damaged, or values not finite
        return _left_out(step, error)
    finally:
        shutil.rmtree(out_dir / "export", ignore_errors=True)
    write_whole(out_dir / "steps" / f"step-{step:08d}.json", probe.to_json())
    for row in make_rows(probe):
        interval = f"[{signed(row.interval[0])}, {signed(row.interval[1])}]"
        print(
            f"watch: step {step}, {row.task}, {row.protocol}/{row.context}: {row.base:.1f} → {row.adapted:.1f}, "
            f"{signed(row.delta)} {interval}",
            file=sys.stderr,
        )
    return True


def _left_out(step: int, error: Exception) -> bool:
    print(f"watch: step {step} is left out: {error}", file=sys.stderr)
    return False


def _claim(out_dir: Path, settings: dict[str, Any]) -> None:
    """The folder belongs to one run and one suite: points of others would stand on the same page as if comparable."""
    found = _read_settings(out_dir)
    if found is None:
        write_whole(out_dir / "watch.json", json.dumps(settings, indent=1) + "\n")
        return
    differing = sorted(key for key in {*found, *settings} if found.get(key) != settings.get(key))
    if differing:
        raise ProbeError(
            f"the folder holds points of another run or suite: {', '.join(differing)} differ(s)",
            where=str(out_dir),
            remedy="give another --out",
        )


def _read_settings(out_dir: Path) -> dict[str, Any] | None:
    """Of the suite that has begun here; None where none has."""
    path = out_dir / "watch.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _identity_of(checkpoint: Path) -> str:
    """SHA-256 of what makes the run this run: recipe, base, data, plan."""
    found = open_checkpoint(checkpoint).state["identity"]
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _write_page(run: dict[str, Any], out_dir: Path, skipped: set[int], *, refresh_sec: int | None) -> Path:
    page = out_dir / "watch.html"
    probed = [ProbedStep(step, ProbeReport.from_json(path)) for step, path in _probed_steps(out_dir).items()]
    if probed:
        title = run.get("name") or out_dir.name
        steps_planned = int(run["steps_planned"])
        write_whole(
            page,
            render_tracking(
                title, probed, steps_planned=steps_planned, skipped=sorted(skipped), refresh_sec=refresh_sec
            ),
        )
    return page


def _finished(run: dict[str, Any], done: dict[int, Path], skipped: set[int]) -> bool:
    return run["steps_planned"] in done or run["steps_planned"] in skipped


def _run_json(run_dir: Path) -> dict[str, Any] | None:
    """None before training has written it."""
    try:
        found: dict[str, Any] = json.loads((run_dir / "run.json").read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"run.json cannot be read: {error}", where=str(run_dir)) from None
    return found


def _probed_steps(out_dir: Path) -> dict[int, Path]:
    return {_step_of(path): path for path in sorted((out_dir / "steps").glob("step-*.json"))}


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))
