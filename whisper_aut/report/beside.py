"""Two probes side by side: an encoder of one file held against an encoder of another, on the clips that both answered.

What comes out is again a probe, whose base is the encoder of the first file and whose adapted encoder is that of the
second; so the whole report, its sentence, its corrections and its gate, speaks of their difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from whisper_aut.errors import ProbeError
from whisper_aut.probe.compare import check_answers, compare_pair, correct_shares
from whisper_aut.probe.results import Comparison, EncoderRecord, ProbeReport, ProtocolResult, Score, TaskResult


class Side(NamedTuple):
    """One file and the encoder in it that counts."""

    path: Path
    probe: ProbeReport
    number: int

    @property
    def encoder(self) -> EncoderRecord:
        """The encoder."""
        return self.probe.encoders[self.number]


def read_side(path: Path, name: str = "") -> Side:
    """Read a probe and find an encoder in it.

    Args:
        path: ``probe.json``.
        name: of the encoder, as it was given to the probe; the one adapted encoder where empty.

    Raises:
        ProbeError: the file cannot be read, or the name fits none or several of its encoders.
    """
    probe = ProbeReport.from_json(path)
    check_answers(probe, path)
    fitting = [
        number
        for number, encoder in enumerate(probe.encoders)
        if (encoder.name == name if name else encoder.role == "adapted")
    ]
    if len(fitting) != 1:
        known = ", ".join(f"'{encoder.name}' ({encoder.role})" for encoder in probe.encoders)
        what = f"{len(fitting)} encoders are named '{name}'" if name else f"there are {len(fitting)} adapted encoders"
        raise ProbeError(f"{what}; in the file: {known}", where=str(path), remedy="name one with --a or --b")
    return Side(path, probe, fitting[0])


def hold_against(a: Side, b: Side, command: str) -> tuple[ProbeReport, list[str]]:
    """The encoder of ``b`` held against that of ``a``, and sentences on what cannot be compared or differs.

    Raises:
        ProbeError: nothing can be compared, or the answers in a file are damaged.
    """
    tasks: list[TaskResult] = []
    notes = [
        f"“base” in this report is “{a.encoder.name}” of {a.path}, “adapted” is “{b.encoder.name}” of {b.path}.",
        *_differences(a, b),
    ]
    of_b = {task.name: task for task in b.probe.tasks}
    for task in a.probe.tasks:
        other = of_b.pop(task.name, None)
        if other is None:
            notes.append(f"{task.name} is in {a.path} only.")
        elif other.clips_sha256 != task.clips_sha256:
            notes.append(f"{task.name} is left out: its clips, labels or folds are not the same in both files.")
        else:
            results, why_not = _results(task, other, a, b)
            notes += why_not
            if results:
                tasks.append(task.model_copy(update={"results": results}))
    notes += [f"{name} is in {b.path} only." for name in of_b]
    if not tasks:
        raise ProbeError(
            "the two files have nothing that can be compared:\n    " + "\n    ".join(notes[1:]),
            where=f"{a.path}, {b.path}",
            remedy="probe both encoders on the same task under the same protocol, or in one call with two --encoder",
        )
    base = a.encoder.model_copy(update={"role": "base"})
    adapted = b.encoder.model_copy(update={"role": "adapted"})
    probe = ProbeReport(
        encoders=[base, adapted],
        tasks=tasks,
        command=command,
        versions=b.probe.versions,
        seed=b.probe.seed,
        precision=b.probe.precision,
        precision_reason=b.probe.precision_reason,
    )
    return probe, notes


def _results(task: TaskResult, other: TaskResult, a: Side, b: Side) -> tuple[list[ProtocolResult], list[str]]:
    """The results that both files have of one task, each compared anew; and why others are left out."""
    results, why_not = [], []
    by_rules = {_rules(result): result for result in other.results}
    for result in task.results:
        partner = by_rules.pop(_rules(result), None)
        place = f"{task.name}, {result.protocol}/{result.context}"
        if partner is None:
            why_not.append(f"{place}, version {result.version}, is not in {b.path}.")
            continue
        before, after = result.scores[a.number], partner.scores[b.number]
        if not (before.answers and after.answers):
            why_not.append(f"{place} is left out: of mAP a file keeps no clips; probe both encoders in one call.")
            continue
        results.append(
            result.model_copy(
                update={"scores": [before, after], "comparisons": [_compared(task, before, after, b.probe.seed)]}
            )
        )
    why_not += [
        f"{task.name}, {result.protocol}/{result.context}, version {result.version}, is not in {a.path}."
        for result in by_rules.values()
    ]
    return results, why_not


def _compared(task: TaskResult, before: Score, after: Score, seed: int) -> Comparison:
    base, other = (correct_shares(score.answer_ids(task.num_tested), task.truth_ids()) for score in (before, after))
    return compare_pair(base, other, task.group_ids(), averaged=before.num_counted > 1, seed=seed)


def _rules(result: ProtocolResult) -> tuple[str, int, str, str, str]:
    return result.protocol, result.version, result.context, result.pooling, result.layer


def _differences(a: Side, b: Side) -> list[str]:
    """What else differs between the two files and may move a number."""
    found: Sequence[tuple[str, object, object]] = [
        ("seed of the probe", a.probe.seed, b.probe.seed),
        ("precision of the encoders", a.probe.precision or "not recorded", b.probe.precision or "not recorded"),
        *(
            (name, a.probe.versions.get(name), b.probe.versions.get(name))
            for name in sorted({*a.probe.versions, *b.probe.versions})
        ),
    ]
    notes = [f"{name}: {one} in {a.path}, {two} in {b.path}." for name, one, two in found if one != two]
    if a.probe.base.weights_sha256 != b.probe.base.weights_sha256:
        notes.append("The two files were probed against different bases; that plays no part here.")
    return notes
