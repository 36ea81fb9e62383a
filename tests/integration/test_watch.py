"""A watcher beside a training run: what is there long enough is probed, and training knows nothing of it."""

import json
import shutil
from pathlib import Path

import pytest

from whisper_aut.errors import CheckpointError, ProbeError
from whisper_aut.probe.results import ProbeReport
from whisper_aut.train.checkpoint import WEIGHTS
from whisper_aut.watch import Suite, watch

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def task(corpus) -> Path:
    """The corpus' own clips, labelled by domain, in three folds."""
    folder = corpus.parent / "domains"
    folder.mkdir(exist_ok=True)
    rows = []
    for domain in ("speech", "music"):
        for number, line in enumerate((corpus / f"{domain}.jsonl").read_text().splitlines()):
            clip = json.loads(line)
            shutil.copy(corpus / clip["audio"], folder)
            rows.append(
                {
                    "id": clip["id"], "audio": Path(clip["audio"]).name, "duration_sec": clip["duration_sec"],
                    "label": domain, "fold": 1 + number % 3, "license": clip["license"],
                }
            )  # fmt: skip
    (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def finished_run(start_training, corpus, make_recipe, small_base, tmp_path_factory) -> Path:
    """A run of six steps with three checkpoints."""
    run = tmp_path_factory.mktemp("run") / "run"
    recipe = make_recipe(corpus, base=small_base, file_name="watched.yaml", keep_checkpoints=3)
    code, errors = start_training(recipe, run).finish()
    assert code == 0, errors
    return run


@pytest.fixture
def copied_run(finished_run, tmp_path) -> Path:
    """A copy of it with the last two checkpoints."""
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints" / "step-00000002")
    return run


def probed_steps(out: Path) -> list[int]:
    return [int(path.stem.removeprefix("step-")) for path in sorted((out / "steps").glob("*.json"))]


def test_a_watcher_started_first_probes_the_checkpoints_of_a_run_until_its_end(
    start_training, forks, corpus, make_recipe, small_base, task, tmp_path
):
    run, out = tmp_path / "run", tmp_path / "watch"
    words = ["-m", "whisper_aut", "watch", run, "--task", task, "--out", out, "--every", "0.1"]
    watcher = forks.start(words)
    try:
        recipe = make_recipe(corpus, base=small_base, file_name="watched-first.yaml", keep_checkpoints=3)
        training = start_training(recipe, run)
        code, errors = training.finish()
        assert code == 0, errors
        printed, said = watcher.communicate(timeout=240)
    finally:
        watcher.kill()
    assert watcher.returncode == 0, said
    assert printed == f"watched: {out / 'watch.html'}\n"
    assert probed_steps(out) == [2, 4, 6]
    assert not list(out.rglob("model.safetensors"))  # exports are removed
    last = ProbeReport.from_json(out / "steps" / "step-00000006.json")
    assert [encoder.role for encoder in last.encoders] == ["base", "adapted"]
    page = (out / "watch.html").read_text()
    assert "Step 6 of 6" in page
    assert "refresh" not in page
    assert "probes" not in {line["event"] for line in training.metrics()}


def test_a_watcher_that_is_called_again_probes_nothing_twice(copied_run, task, tmp_path):
    out = tmp_path / "watch"
    shutil.rmtree(copied_run / "checkpoints" / "step-00000004")
    watch(copied_run, Suite([task]), out_dir=out, once=True)
    before = {path: path.stat().st_mtime_ns for path in (out / "steps").iterdir()}
    watch(copied_run, Suite([task]), out_dir=out, once=True)
    assert before == {path: path.stat().st_mtime_ns for path in (out / "steps").iterdir()}


def test_checkpoints_that_are_damaged_or_gone_are_left_out_and_the_page_says_so(copied_run, task, tmp_path, capsys):
    checkpoints = copied_run / "checkpoints"
    damaged = checkpoints / "step-00000006" / WEIGHTS
    damaged.write_bytes(damaged.read_bytes()[:-1])
    page = watch(copied_run, Suite([task]), out_dir=tmp_path / "watch", once=True)
    assert probed_steps(tmp_path / "watch") == [4]
    assert "step 6 is left out" in capsys.readouterr().err
    assert "step 6, gone or damaged" in page.read_text().replace("<b>not probed</b>: ", "")


def test_points_of_another_suite_are_not_put_on_the_same_page(copied_run, task, tmp_path):
    out = tmp_path / "watch"
    shutil.rmtree(copied_run / "checkpoints" / "step-00000006")
    watch(copied_run, Suite([task]), out_dir=out, once=True)
    (out / "steps" / "step-00000004.json").unlink()
    with pytest.raises(ProbeError, match="of another run or suite: seed differ"):
        watch(copied_run, Suite([task], seed=1), out_dir=out, once=True)
    with pytest.raises(ProbeError, match="of another run or suite: precision differ"):
        watch(copied_run, Suite([task], precision="bf16"), out_dir=out, once=True)
    watch(copied_run, Suite([task], precision="auto"), out_dir=out, once=True)
    (again,) = (out / "steps").iterdir()
    assert ProbeReport.from_json(again).precision_reason == "that of the points before"


def test_once_without_a_checkpoint_is_an_error(task, tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint to probe"):
        watch(tmp_path / "nothing", Suite([task]), out_dir=tmp_path / "watch", once=True)


def test_a_task_that_cannot_be_used_is_refused_before_anything_is_waited_for(tmp_path):
    with pytest.raises(ProbeError):
        watch(tmp_path / "nothing", Suite([tmp_path / "no-task"]), out_dir=tmp_path / "watch")
