"""The verdict on leakage: what checks have heard of the run's manifests and the probe's tasks, and what nobody checked.

A check (`whisper-aut leakage`) counts for a manifest or a task of the very same content alone, by SHA-256: names say
nothing of what is inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from whisper_aut.probe.results import Record, TaskResult
from whisper_aut.records import read_versioned
from whisper_aut.report.runlog import Logged, RunInfo

SCHEMA_VERSION = 2  # of leakage.json
Status = Literal["not checked", "checked in part", "found", "none found"]


class Side(Logged):
    """A training manifest or a task that was listened to."""

    name: str
    sha256: str
    clips: int
    unreadable: int
    silent: int


class Clean(Logged):
    """A training manifest as the check left it: without the clips that leak."""

    manifest: str
    sha256: str


class Leaked(Logged):
    """What one manifest shares with one task."""

    train: str
    eval: str
    train_clips: int
    eval_clips: int


class Check(Logged):
    """``leakage.json``, as far as the verdict needs it."""

    schema_version: int
    command: str
    date: str
    train: list[Side]
    eval: list[Side]
    clean: list[Clean]
    leaked: list[Leaked]


class LeakageVerdict(Record):
    """What stands in the report."""

    status: Status = "not checked"
    sentence: str = Field(
        default="Whether audio of the probing tasks is also in the training data has not been checked. If it is, gains "
        "are overstated. `whisper-aut leakage --train RUN --eval TASK` listens; give its leakage.json as --leakage."
    )
    details: list[str] = Field(default_factory=list, description="What leaks, what was not checked, what was not heard")
    commands: list[str] = Field(default_factory=list, description="Of the checks")


def read_check(path: Path) -> Check:
    """What ``whisper-aut leakage`` wrote.

    Raises:
        ProbeError: missing, damaged, or written by another version.
    """
    return read_versioned(
        path,
        Check.model_validate,
        SCHEMA_VERSION,
        what="the leakage check has",
        again="whisper-aut leakage",
        remedy="give leakage.json in the folder that `whisper-aut leakage --out` named",
    )


def judge_leakage(checks: Sequence[Check], tasks: Sequence[TaskResult], run: RunInfo | None) -> LeakageVerdict:
    """Hold the checks against what was trained on and what was probed.

    Args:
        checks: none where nothing was checked.
        tasks: of the probe.
        run: of the training; where None, the manifests of the checks are taken for those that were trained on, and the
            verdict says so.
    """
    if not checks:
        return LeakageVerdict()
    manifests = _manifests(run) or {side.sha256: side.name for check in checks for side in check.train}
    leaks, unchecked, unheard, num_covered = [], [], dict[str, None](), 0
    for task in tasks:
        missed = []
        for sha256, manifest in manifests.items():
            check = next((check for check in checks if _covers(check, sha256, task.audio_sha256)), None)
            if check is None:
                missed.append(manifest)
                continue
            num_covered += 1
            leaks += [
                f"{task.name}: {found.eval_clips} of {task.num_clips} clips are heard in {found.train_clips} training "
                f"clips of {manifest}"
                for found in check.leaked
                if found.train_clips and (found.train, found.eval) == _named(check, sha256, task.audio_sha256)
            ]
            unheard |= dict.fromkeys(_unheard(check, sha256, task.audio_sha256))
        if missed:
            whom = "any manifest" if len(missed) == len(manifests) else ", ".join(missed)
            unchecked.append(f"{task.name} against {whom}: no check of the same clips and the same manifest was given")
    if run is None:
        unchecked.append("what was trained on: no run was given, and the manifests are those of the checks")
    if tasks and not num_covered:
        status, sentence = _OTHERS
    else:
        status, sentence = _sentence(leaks, unchecked, len(manifests), len(tasks))
    return LeakageVerdict(
        status=status,
        sentence=sentence,
        details=[*leaks, *(f"not checked: {one}" for one in unchecked), *unheard],
        commands=[f"{check.command} ({check.date})" for check in checks],
    )


_OTHERS: tuple[Status, str] = (
    "not checked",
    "The checks that were given are of other manifests or of other clips: none of them says anything of this run and "
    "this probe. If audio of the probing tasks is in the training data, gains are overstated. "
    "`whisper-aut leakage --train RUN --eval TASK` listens.",
)


def _sentence(leaks: Sequence[str], unchecked: Sequence[str], num_manifests: int, num_tasks: int) -> tuple[Status, str]:
    if leaks:
        what = (
            "Audio of the probing tasks was found in the training data: gains on these tasks are overstated. Train on "
        )
        return "found", what + "the manifests that the check wrote into clean/, and probe again."
    if unchecked:
        return "checked in part", "No shared audio was found where it was looked for, but not everything was checked."
    what = f"No training clip of {num_manifests} manifest{'s' * (num_manifests != 1)} shares audio with a clip of "
    return "none found", what + f"{num_tasks} probing task{'s' * (num_tasks != 1)}, as far as the check can hear."


def _manifests(run: RunInfo | None) -> Mapping[str, str]:
    """Name by fingerprint of what the run trained on; a manifest of several sources once."""
    if run is None or run.data is None:
        return {}
    return {
        source.fingerprint: source.manifest or source.name
        for domain in run.data.domains.values()
        for source in domain.sources
        if source.fingerprint
    }


def _covers(check: Check, manifest_sha256: str, task_sha256: str) -> bool:
    listened = {side.sha256 for side in check.train} | {clean.sha256 for clean in check.clean}
    return manifest_sha256 in listened and task_sha256 in {side.sha256 for side in check.eval}


def _named(check: Check, manifest_sha256: str, task_sha256: str) -> tuple[str | None, str | None]:
    """Names of both in the check; no name for a manifest that the check has cleaned: nothing leaks from it."""
    train = next((side.name for side in check.train if side.sha256 == manifest_sha256), None)
    return train, next((side.name for side in check.eval if side.sha256 == task_sha256), None)


def _unheard(check: Check, manifest_sha256: str, task_sha256: str) -> list[str]:
    sides = [(side, "training") for side in check.train if side.sha256 == manifest_sha256]
    sides += [(side, "evaluation") for side in check.eval if side.sha256 == task_sha256]
    return [
        f"not heard: {' and '.join(parts)} of {side.clips} {kind} clips of {side.name}"
        for side, kind in sides
        if (
            parts := [f"{side.unreadable} unreadable"] * bool(side.unreadable)
            + [f"{side.silent} silent"] * bool(side.silent)
        )
    ]
