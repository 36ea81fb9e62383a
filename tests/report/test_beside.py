"""Two probe files held against each other, compared with one probe of both encoders."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.arrays import task_arrays
from whisper_aut.probe.compare import compare
from whisper_aut.probe.packed import pack
from whisper_aut.probe.protocols import PROTOCOLS
from whisper_aut.probe.results import EncoderRecord, ProbeReport, ProtocolResult, TaskResult
from whisper_aut.probe.tasks.labelled import LabelledClip, Task
from whisper_aut.report.beside import hold_against, read_side
from whisper_aut.report.build import build_comparison, build_report
from whisper_aut.report.gate import Gate

ProbeOf = Callable[..., ProbeReport]
NAMES = ("original", "first", "second")


@pytest.fixture(scope="module")
def task() -> Task:
    """120 clips of three classes, in pairs of one recording, in four folds."""
    clips = tuple(
        LabelledClip(
            f"c{n}", Path("a.wav"), 0.0, 1.0, (f"class {n % 3}",), 1 + n // 2 % 4, f"r{n // 2}", "CC0", f"f:{n}"
        )
        for n in range(120)
    )
    return Task("sounds", Path("data/sounds"), clips, "ab" * 32)


@pytest.fixture(scope="module")
def features(task) -> dict[str, np.ndarray]:
    """Each encoder knows more of the class than the one before."""
    rng, classes = np.random.default_rng(0), task_arrays(task).class_ids
    return {
        name: (rng.normal(size=(120, 6)) + strength * np.eye(6)[classes]).astype(np.float32)
        for name, strength in zip(NAMES, (0.3, 0.6, 1.2), strict=True)
    }


@pytest.fixture(scope="module")
def probe_of(task, features) -> ProbeOf:
    """A probe of encoders by name, the first as base; each comparison is computed once."""

    @cache
    def compared(names: tuple[str, ...], protocol: str) -> ProtocolResult:
        answers = [PROTOCOLS[protocol].predict(features[name], task_arrays(task), 0) for name in names]
        return compare(task, PROTOCOLS[protocol], "trimmed", answers, [], 0)

    def make(*names: str, protocols: tuple[str, ...] = ("strict", "few-shot"), probed: Task = task) -> ProbeReport:
        return report_of(probed, names, [compared(names, protocol) for protocol in protocols])

    return make


def report_of(task: Task, names: tuple[str, ...], results: list[ProtocolResult]) -> ProbeReport:
    arrays = task_arrays(task)
    return ProbeReport(
        encoders=[
            EncoderRecord(role="adapted" if n else "base", name=name, weights_sha256=f"{NAMES.index(name)}" * 64,
                          num_parameters=1, width=6)
            for n, name in enumerate(names)
        ],
        tasks=[
            TaskResult(name=task.name, folder="d", clips_sha256=task.clips_sha256, metric="accuracy", split="folds",
                       num_clips=120, num_tested=120, num_folds=4, num_groups=60, classes=task.classes, licenses=[],
                       truth=pack(arrays.class_ids), groups=pack(arrays.groups), chance=33.3, results=results)
        ],
        command="whisper-aut probe", versions={"torch": "2"}, seed=0,
    )  # fmt: skip


@pytest.fixture
def files(probe_of, tmp_path) -> tuple[Path, Path]:
    """``original`` against ``first``, and ``original`` against ``second``."""
    paths = tmp_path / "a.json", tmp_path / "b.json"
    for path, name in zip(paths, NAMES[1:], strict=True):
        path.write_text(probe_of("original", name).to_json())
    return paths


def test_two_files_say_what_one_probe_of_both_encoders_says(probe_of, files):
    compared, _ = hold_against(read_side(files[0]), read_side(files[1]), "command")
    together = probe_of("first", "second")
    assert [encoder.name for encoder in compared.encoders] == ["first", "second"]
    for found, expected in zip(compared.tasks[0].results, together.tasks[0].results, strict=True):
        assert found.comparisons == expected.comparisons
        assert [score.value for score in found.scores] == [score.value for score in expected.scores]
    assert compared.tasks[0].results[0].comparisons[0].delta > 0


def test_a_file_against_itself_changes_nothing(files):
    compared, _ = hold_against(read_side(files[0]), read_side(files[0]), "command")
    for result in compared.tasks[0].results:
        assert (result.comparisons[0].delta, result.comparisons[0].p_value) == (0.0, 1.0)


def test_an_encoder_can_be_named_the_base_too(files):
    compared, _ = hold_against(read_side(files[0], "original"), read_side(files[0], "first"), "command")
    own = ProbeReport.from_json(files[0])
    assert compared.tasks[0].results[0].comparisons == own.tasks[0].results[0].comparisons
    with pytest.raises(ProbeError, match="0 encoders are named 'third'; in the file: 'original' \\(base\\)"):
        read_side(files[0], "third")


def test_several_adapted_encoders_must_be_named(probe_of, tmp_path):
    path = tmp_path / "both.json"
    path.write_text(probe_of(*NAMES, protocols=("strict",)).to_json())
    with pytest.raises(ProbeError, match="2 adapted encoders") as error:
        read_side(path)
    assert "--a" in (error.value.remedy or "")
    assert read_side(path, "second").number == 2


def test_what_cannot_be_compared_is_named_and_left_out(task, probe_of, files):
    a, b = read_side(files[0]), read_side(files[1])
    only = b._replace(probe=probe_of("original", "second", protocols=("strict",)))
    compared, notes = hold_against(a, only, "command")
    assert [result.protocol for result in compared.tasks[0].results] == ["strict"]
    assert any("few-shot/trimmed" in note and "b.json" in note for note in notes)
    other = replace(task, clips_sha256="cd" * 32)
    with pytest.raises(ProbeError, match="its clips, labels or folds are not the same"):
        hold_against(a, b._replace(probe=probe_of("original", "second", probed=other)), "command")


def test_an_edited_score_is_not_believed(files):
    text = files[0].read_text()
    value = ProbeReport.from_json(files[0]).tasks[0].results[0].scores[1].value
    files[0].write_text(text.replace(f'"value": {value}', '"value": 99.0', 1))
    with pytest.raises(ProbeError, match=r"first: the score is 99\.00, its clips' answers make"):
        read_side(files[0])
    with pytest.raises(ProbeError, match="edited or damaged"):
        build_report(run_dir=None, probe_json=files[0], out_dir=files[0].parent / "out")


def test_answers_of_other_clips_are_not_believed(files):
    raw = json.loads(files[0].read_text())
    raw["tasks"][0]["truth"] = pack(np.zeros(60))
    files[0].write_text(json.dumps(raw))
    with pytest.raises(ProbeError, match="answers are damaged"):
        read_side(files[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"schema_version": 3, "summary": {}, "probe": {}}', "this is a report"), ("{", "damaged"),
     ('{"schema_version": 3}', "encoders: Field required")],
)  # fmt: skip
def test_what_is_no_probe_is_told_in_a_line(tmp_path, content, message):
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(ProbeError, match=message) as error:
        read_side(tmp_path / "p.json")
    assert len(error.value.lines()) <= 3
    with pytest.raises(ProbeError, match="this is a folder"):
        read_side(tmp_path)


def test_other_versions_seeds_and_precisions_are_said(files):
    a, b = read_side(files[0]), read_side(files[1])
    changed = b.probe.model_copy(update={"seed": 1, "versions": {"torch": "3"}, "precision": "bfloat16"})
    _, notes = hold_against(a, b._replace(probe=changed), "command")
    assert any("seed of the probe: 0" in note for note in notes) and any("torch: 2" in note for note in notes)
    assert any("precision of the encoders: not recorded in" in note and "bfloat16 in" in note for note in notes)


def test_the_report_names_both_sides_and_closes_the_gate(files, tmp_path):
    gate = Gate(min_gain={"sounds": 99.0})
    paths = build_comparison(*map(read_side, files), command="whisper-aut report compare", out_dir=tmp_path, gate=gate)
    page = paths.html.read_text()
    assert "second against first" in page and "report compare" in page
    assert "“base” in this report is “first”" in paths.markdown.read_text()
    assert not paths.gate.passed
