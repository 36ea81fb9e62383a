"""The verdict on leakage counts what was checked by content, and says what nobody checked."""

import json
from dataclasses import dataclass

import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.report.build import build_report
from whisper_aut.report.leakage import Check, judge_leakage, read_check
from whisper_aut.report.runlog import RunInfo


@dataclass
class Task:
    name: str
    audio_sha256: str
    num_clips: int = 400


TASKS = [Task("esc10", "task-a"), Task("urban10", "task-b")]


def run_of(*fingerprints):
    sources = [{"name": f"source-{one}", "manifest": f"{one}.jsonl", "fingerprint": one} for one in fingerprints]
    return RunInfo.model_validate({"data": {"domains": {"environment": {"sources": sources}}}})


def check_of(train, evaluation, *, clean=(), leaked=(), unreadable=0, silent=0):
    def side(sha256):
        return {"name": f"name of {sha256}", "sha256": sha256, "clips": 9, "unreadable": unreadable, "silent": silent}

    return Check.model_validate(
        {
            "schema_version": 2, "command": "whisper-aut leakage", "date": "2026-11-22",
            "train": [side(one) for one in train], "eval": [side(one) for one in evaluation],
            "clean": [{"manifest": f"name of {train[0]}", "sha256": one} for one in clean],
            "leaked": [
                {"train": f"name of {one}", "eval": f"name of {other}", "train_clips": 3, "eval_clips": 2}
                for one, other in leaked
            ],
        }
    )  # fmt: skip


def test_without_a_check_nothing_is_claimed():
    verdict = judge_leakage([], TASKS, run_of("m"))
    assert verdict.status == "not checked"
    assert "whisper-aut leakage" in verdict.sentence


def test_every_manifest_against_every_task_is_none_found():
    verdict = judge_leakage([check_of(["m", "n"], ["task-a", "task-b"])], TASKS, run_of("m", "n"))
    assert (verdict.status, verdict.details) == ("none found", [])
    assert "2 manifests" in verdict.sentence and "2 probing tasks" in verdict.sentence


def test_two_checks_may_cover_it_together():
    checks = [check_of(["m"], ["task-a"]), check_of(["m"], ["task-b"])]
    assert judge_leakage(checks, TASKS, run_of("m")).status == "none found"


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (check_of(["m"], ["task-a", "task-b"]), "esc10 against n.jsonl"),
        (check_of(["m", "n"], ["task-a"]), "urban10 against any manifest"),
        (check_of(["m", "n"], ["task-a", "task-b of yesterday"]), "urban10 against any manifest"),
    ],
)
def test_what_was_not_checked_is_named(check, told):
    verdict = judge_leakage([check], TASKS, run_of("m", "n"))
    assert verdict.status == "checked in part"
    assert any(told in line for line in verdict.details)


@pytest.mark.parametrize("check", [check_of(["other"], ["task-a", "task-b"]), check_of(["m", "n"], ["another task"])])
def test_checks_of_something_else_check_nothing(check):
    verdict = judge_leakage([check], TASKS, run_of("m", "n"))
    assert verdict.status == "not checked" and "of other manifests or of other clips" in verdict.sentence
    assert sum("against any manifest" in line for line in verdict.details) == 2


def test_leaks_outrank_what_was_not_checked_and_are_counted():
    check = check_of(["m"], ["task-a"], leaked=[("m", "task-a")])
    verdict = judge_leakage([check], TASKS, run_of("m"))
    assert verdict.status == "found"
    assert "esc10: 2 of 400 clips are heard in 3 training clips of m.jsonl" in verdict.details
    assert any("urban10" in line for line in verdict.details)


def test_leaks_of_manifests_that_were_not_trained_on_do_not_count():
    check = check_of(["m", "other"], ["task-a", "task-b"], leaked=[("other", "task-a")])
    assert judge_leakage([check], TASKS, run_of("m")).status == "none found"


def test_a_run_on_the_cleaned_manifest_has_no_leaks():
    check = check_of(["m"], ["task-a", "task-b"], clean=["m without"], leaked=[("m", "task-a")])
    assert judge_leakage([check], TASKS, run_of("m without")).status == "none found"
    assert judge_leakage([check], TASKS, run_of("m")).status == "found"


def test_without_a_run_it_is_not_known_what_was_trained_on():
    verdict = judge_leakage([check_of(["m"], ["task-a", "task-b"])], TASKS, None)
    assert verdict.status == "checked in part"
    assert any("no run was given" in line for line in verdict.details)


def test_what_could_not_be_heard_is_told():
    check = check_of(["m"], ["task-a", "task-b"], unreadable=2, silent=1)
    verdict = judge_leakage([check], TASKS, run_of("m"))
    assert verdict.status == "none found"
    assert "not heard: 2 unreadable and 1 silent of 9 training clips of name of m" in verdict.details
    assert sum("evaluation" in line for line in verdict.details) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "cannot be read"), ("{", "cannot be read"), ('{"schema_version": 1}', "schema version 1"), ("[]", "None"),
     ('{"schema_version": 2}', "cannot be read")],
)  # fmt: skip
def test_files_that_are_no_check_are_refused(tmp_path, text, message):
    path = tmp_path / "leakage.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ProbeError, match=message) as error:
        read_check(path)
    assert "leakage.json" in str(error.value)


def test_the_report_shows_the_verdict_in_all_its_forms(probe_json, run_dir, tmp_path):
    probe = json.loads(probe_json.read_text())
    run = json.loads((run_dir / "run.json").read_text())
    sources = [source for domain in run["data"]["domains"].values() for source in domain["sources"]]
    check = check_of(
        [source["fingerprint"] for source in sources],
        [task["audio_sha256"] for task in probe["tasks"]],
        leaked=[(sources[0]["fingerprint"], probe["tasks"][0]["audio_sha256"])],
    )
    file = tmp_path / "leakage.json"
    file.write_text(check.model_dump_json())
    paths = build_report(run_dir=run_dir, probe_json=probe_json, out_dir=tmp_path / "out", leakage=[file])
    for path in (paths.html, paths.markdown):
        text = path.read_text()
        assert "heard in 3 training" in text and "whisper-aut leakage" in text
    assert json.loads(paths.json.read_text())["leakage"]["status"] == "found"
