"""The whole check, and its command: what is written, what is kept, exit codes; and real recordings."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from whisper_aut.cli import main
from whisper_aut.data.manifest import load_manifest
from whisper_aut.leakage.check import check_leakage
from whisper_aut.probe.tasks.labelled import hash_audio, load_task
from whisper_aut.report.leakage import read_check


@pytest.fixture
def leaky(write_sides, sounds):
    """Five training clips: two are copies of evaluation clips, a third is of the same recording by its name."""
    evaluation = {f"1-{30344 + seed}-A": sounds.make_sound(seed) for seed in range(6)}
    train = {f"train{seed}": sounds.make_sound(100 + seed) for seed in range(2)}
    train["copy"] = sounds.make_sound(2)[8_000:]
    train["us8k-30347-3-0-4"] = sounds.make_sound(3)[:40_000]
    train["us8k-30344-3-0-4"] = sounds.make_sound(200)
    return write_sides(train, evaluation)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command in this process: exit code, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["whisper-aut", "leakage", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


def rows_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_leaks_and_suspicions_are_told_apart(leaky, run, tmp_path):
    manifest, task = leaky
    code, out, _ = run("--train", manifest, "--eval", task, "--out", tmp_path / "out", "--workers", 0)
    assert code == 0
    assert "leaks: 2 pairs, 2 training clips" in out
    pairs = rows_of(tmp_path / "out" / "pairs.jsonl")
    by_audio = {pair["train_id"]: pair for pair in pairs if pair["by"] == "audio"}
    assert {name: pair["eval_id"] for name, pair in by_audio.items()} == {
        "copy": "1-30346-A", "us8k-30347-3-0-4": "1-30347-A",
    }  # fmt: skip
    assert by_audio["copy"]["offset_sec"] == pytest.approx(0.5, abs=1e-3)
    assert by_audio["copy"]["correlation"] > 0.95
    assert by_audio["us8k-30347-3-0-4"]["same_recording_id"] == ["freesound:30347"]
    (suspicion,) = (pair for pair in pairs if pair["by"] == "id")
    assert (suspicion["train_id"], suspicion["eval_id"]) == ("us8k-30344-3-0-4", "1-30344-A")


def test_the_summary_says_how_it_came_about(leaky, run, tmp_path):
    manifest, task = leaky
    run("--train", manifest, "--eval", task, "--out", tmp_path / "out", "--workers", 0)
    summary = json.loads((tmp_path / "out" / "leakage.json").read_text("utf-8"))
    assert summary["command"].startswith("whisper-aut leakage --train")
    assert {"whisper-aut", "numpy", "soundfile"} <= set(summary["versions"])
    assert summary["parameters"]["min_confidence"] == 17.0
    (train,), (evaluation,) = summary["train"], summary["eval"]
    assert (train["clips"], evaluation["clips"]) == (5, 6)
    assert train["hours"] == pytest.approx((5 + 5 + 4.5 + 2.5 + 5) / 3600)
    assert (summary["leaks"], summary["suspicions"]) == (2, 1)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "pairs.jsonl", "leakage.json", "leakage.html", "clean",
    }  # fmt: skip


def test_the_clean_manifest_has_every_clip_but_the_leaks(leaky, run, tmp_path):
    manifest, task = leaky
    run("--train", manifest, "--eval", task, "--out", tmp_path / "out", "--workers", 0)
    clean = tmp_path / "out" / "clean" / "sounds.jsonl"
    assert [row["id"] for row in rows_of(clean)] == ["train0", "train1", "us8k-30344-3-0-4"]
    assert load_manifest(clean).audio_source(0).is_file()
    code, out, _ = run("--train", clean, "--eval", task, "--out", tmp_path / "again", "--workers", 0, "--fail")
    assert (code, "leaks: 0 pairs" in out) == (0, True)


def test_the_summary_is_what_the_report_reads(leaky, run, tmp_path):
    manifest, task = leaky
    run("--train", manifest, "--eval", task, "--out", tmp_path / "out", "--workers", 0)
    check = read_check(tmp_path / "out" / "leakage.json")
    assert [side.sha256 for side in check.train] == [load_manifest(manifest).fingerprint]
    assert [side.sha256 for side in check.eval] == [hash_audio(load_task(task).clips)]
    clean = load_manifest(tmp_path / "out" / "clean" / "sounds.jsonl")
    assert [one.sha256 for one in check.clean] == [clean.fingerprint]
    (leaked,) = check.leaked
    assert (leaked.train, leaked.eval, leaked.train_clips, leaked.eval_clips) == (str(manifest), "task", 2, 2)


def test_a_recipe_or_a_run_stands_for_its_manifests(leaky, run, tmp_path):
    manifest, task = leaky
    (tmp_path / "run").mkdir()
    mixture = {"environment": {"weight": 1.0, "manifests": [manifest.name]}}
    recipe = {
        "name": "r", "base": {"model": "pypi:tiny.en"}, "train": {"steps": 1},
        "data": {"root": str(manifest.parent), "mixture": mixture},
    }  # fmt: skip
    (tmp_path / "run" / "recipe.yaml").write_text(json.dumps(recipe))
    for given in (tmp_path / "run", tmp_path / "run" / "recipe.yaml"):
        code, out, _ = run("--train", given, "--eval", task, "--out", tmp_path / "out", "--workers", 0)
        assert code == 0 and "leaks: 2 pairs" in out
    code, _, err = run("--train", manifest.parent, "--eval", task, "--out", tmp_path / "out")
    assert code == 2 and "no recipe.yaml" in err


def test_the_gate_leaves_with_3_after_everything_is_written(leaky, run, tmp_path):
    manifest, task = leaky
    code, _, err = run("--train", manifest, "--eval", task, "--out", tmp_path / "out", "--workers", 0, "--fail")
    assert code == 3
    assert "error: 2 training clips share audio" in err
    assert (tmp_path / "out" / "clean" / "sounds.jsonl").is_file()


def test_manifests_of_one_name_do_not_overwrite_each_other(write_sides, sounds, tmp_path):
    manifest, task = write_sides({"a": sounds.make_sound(1)}, {"b": sounds.make_sound(1)})
    other = manifest.parent / "more" / "sounds.jsonl"
    other.parent.mkdir()
    other.write_text(json.dumps({"id": "c", "audio": str(manifest.parent / "a.wav")}) + "\n", "utf-8")
    found = check_leakage([manifest, other], [load_task(task)], tmp_path / "out", workers=0, num_players=0)
    assert len(set(found.clean)) == 2
    assert [len(rows_of(path)) for path in found.clean] == [0, 0]
    assert found.num_leaks == 2


def test_a_leak_in_two_tasks_is_told_for_both(write_sides, sounds, tmp_path):
    manifest, task = write_sides({"a": sounds.make_sound(1)}, {"b": sounds.make_sound(1)})
    tasks = [load_task(task), replace(load_task(task), name="the same again")]
    assert check_leakage([manifest], tasks, tmp_path / "out", workers=0, num_players=0).num_leaks == 2


def test_unreadable_and_silent_clips_are_counted_and_named(write_sides, sounds, tmp_path, run):
    train = {"good": sounds.make_sound(1), "broken": sounds.make_sound(2), "silent": np.zeros(16_000)}
    manifest, task = write_sides(train, {"b": sounds.make_sound(3)})
    (manifest.parent / "broken.wav").write_bytes(b"no audio")
    code, out, _ = run("--train", manifest, "--eval", task, "--out", tmp_path / "out", "--workers", 0)
    assert code == 0
    assert "unreadable, not checked: 1 clips" in out
    summary = json.loads((tmp_path / "out" / "leakage.json").read_text("utf-8"))
    assert [clip["id"] for clip in summary["unreadable"]] == ["broken"]
    assert (summary["train"][0]["unreadable"], summary["train"][0]["silent"]) == (1, 1)


def test_wrong_input_is_told_without_a_traceback(leaky, run, tmp_path):
    manifest, task = leaky
    for arguments in (
        ("--train", tmp_path / "none.jsonl", "--eval", task),
        ("--train", manifest, "--eval", tmp_path / "none"),
        ("--train", manifest, "--eval", "no_such_benchmark"),
    ):
        code, _, err = run(*arguments, "--out", tmp_path / "out")
        assert code == 2
        assert err.startswith("error: ") and "Traceback" not in err


def test_a_folder_that_cannot_be_written_is_told(leaky, run, tmp_path):
    manifest, task = leaky
    (tmp_path / "file").touch()
    for out, remedy in ((tmp_path / "file", "a file is where a folder is wanted"), ("/proc/nope", "check the folder")):
        code, _, err = run("--train", manifest, "--eval", task, "--out", out, "--workers", 0)
        assert code == 2 and "the check cannot be written" in err and remedy in err and "Traceback" not in err


def test_a_clean_manifest_that_is_checked_again_is_not_replaced(leaky, run, tmp_path):
    manifest, task = leaky
    (tmp_path / "out" / "clean").mkdir(parents=True)
    again = tmp_path / "out" / "clean" / manifest.name
    again.write_bytes(manifest.read_bytes())
    code, _, err = run("--train", again, "--eval", task, "--out", tmp_path / "out", "--workers", 0)
    assert code == 2 and "would replace" in err and again.read_bytes() == manifest.read_bytes()


def test_real_pieces_of_the_same_recordings_are_found(real_data_dir, tmp_path):
    suspects = real_data_dir / "leaky" / "suspects.jsonl"
    if not suspects.is_file():
        pytest.skip(f"there is no {suspects}")
    task = load_task(real_data_dir / "probe" / "esc10")
    check_leakage([suspects], [task], tmp_path, workers=0, num_players=0)
    found = {}
    for pair in rows_of(tmp_path / "pairs.jsonl"):
        if pair["by"] == "audio":
            found.setdefault(pair["train_id"], set()).add(pair["eval_id"])
    known = {row["id"]: row for row in rows_of(suspects)}
    assert all(clips <= set(known[name]["same_recording_as"]) for name, clips in found.items())
    sharing = {name for name, row in known.items() if row["peak_correlation"] > 0.3}
    assert sharing and sharing <= set(found)


def test_real_strangers_are_not_taken_for_copies(real_data_dir, tmp_path):
    """Every tenth clip; docs/leakage.md has the count over all."""
    task = load_task(real_data_dir / "probe" / "esc10")
    for name in ("environment", "speech", "music"):
        rows = rows_of(real_data_dir / "train" / f"{name}.jsonl")[::10]
        manifest = tmp_path / f"{name}.jsonl"
        folder = real_data_dir / "train"
        text = "".join(json.dumps(row | {"audio": str(folder / row["audio"])}) + "\n" for row in rows)
        manifest.write_text(text, "utf-8")
        found = check_leakage([manifest], [task], tmp_path / name, workers=0, num_players=0, show_progress=False)
        assert found.num_leaks == 0
        assert found.num_unreadable == 0
