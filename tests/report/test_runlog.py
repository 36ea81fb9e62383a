"""A run folder is read as it is: repeated steps once, a killed tail tolerated, damage refused, gaps named."""

import json
from pathlib import Path
from types import ModuleType

import pytest

from whisper_aut.errors import CheckpointError
from whisper_aut.report.content import is_noncommercial, run_section
from whisper_aut.report.runlog import read_run


def test_a_whole_run_is_read_with_nothing_missing(run_dir: Path) -> None:
    log = read_run(run_dir)
    assert log.missing == ()
    assert log.metrics is not None and len(log.metrics.steps) == 300
    assert [line.step for line in log.metrics.validations] == [0, 50, 100, 150, 200, 250, 300]
    section = run_section(log)
    assert section.finished and section.last_step == 300
    assert section.noncommercial == ["urbansound8k (CC BY-NC 3.0)"]
    assert section.unlicensed == ["prompts (unknown)"]
    assert section.quarantine is not None and section.quarantine.num_clips == 1
    assert section.throughput is not None and section.throughput.clips_per_sec == pytest.approx(17.1)
    assert section.throughput.audio_hours == pytest.approx(300 * 61.2 / 3600)


def test_after_a_resume_the_later_line_counts_and_steps_never_run_again_are_gone(run_dir: Path) -> None:
    def step(number: int, loss: float) -> dict[str, object]:
        return {"event": "step", "step": number, "loss": loss}

    lines = [step(1, 5.0), step(2, 4.0), step(3, 3.0), step(4, 2.0), {"event": "done", "step": 4, "wall_sec": 9}]
    lines += [{"event": "resume", "step": 2}, step(3, 3.5)]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    metrics = read_run(run_dir).metrics
    assert metrics is not None
    assert [(line.step, line.loss) for line in metrics.steps] == [(1, 5.0), (2, 4.0), (3, 3.5)]
    assert metrics.resumed_at == (2,)
    assert metrics.done is None


def test_a_last_line_cut_off_by_a_kill_is_left_out(run_dir: Path) -> None:
    path = run_dir / "metrics.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:20]) + b'{"event": "step", "st')
    metrics = read_run(run_dir).metrics
    assert metrics is not None and metrics.torn_lines == 1
    assert metrics.steps[-1].step == 19


def test_a_cut_line_right_before_a_resume_is_left_out(run_dir: Path) -> None:
    text = '{"event": "step", "step": 1, "loss": 1}\n{"event": "st\n{"event": "resume", "step": 1}\n'
    (run_dir / "metrics.jsonl").write_text(text)
    metrics = read_run(run_dir).metrics
    assert metrics is not None and metrics.torn_lines == 1


@pytest.mark.parametrize(
    "line", ['{"event": "st', "[]", '{"step": 3}', '{"event": "step", "step": "x"}', '{"event": "step", "step": -1}']
)
def test_other_damage_is_an_error_with_file_and_line(run_dir: Path, line: str) -> None:
    path = run_dir / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], line, *lines[4:]]) + "\n")
    with pytest.raises(CheckpointError) as caught:
        read_run(run_dir)
    assert caught.value.where == f"{path}:5"


def test_a_loss_that_is_not_finite_is_counted_and_not_drawn(run_dir: Path) -> None:
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"event": "step", "step": 301, "loss": NaN}\n')
    section = run_section(read_run(run_dir))
    assert section.num_skipped == 1
    assert section.curves is not None and section.curves.loss[-1][0] == 300


def test_missing_pieces_are_named(run_dir: Path) -> None:
    (run_dir / "metrics.jsonl").unlink()
    raw = json.loads((run_dir / "run.json").read_text())
    del raw["plan"]
    (run_dir / "run.json").write_text(json.dumps(raw))
    assert read_run(run_dir).missing == ("metrics.jsonl is not in the run folder", "run.json does not say: plan")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no training run"):
        read_run(tmp_path)


def test_damaged_run_json_names_line_or_field(run_dir: Path) -> None:
    (run_dir / "run.json").write_text('{\n"name": }')
    with pytest.raises(CheckpointError) as caught:
        read_run(run_dir)
    assert caught.value.where == f"{run_dir / 'run.json'}:2"
    (run_dir / "run.json").write_text('{"plan": {"padding_fraction": "much"}}')
    with pytest.raises(CheckpointError, match=r"plan\.padding_fraction"):
        read_run(run_dir)


def test_without_a_ledger_the_steps_say_how_many_were_quarantined(run_dir: Path) -> None:
    (run_dir / "quarantine.jsonl").unlink()
    quarantine = run_section(read_run(run_dir)).quarantine
    assert quarantine is not None and quarantine.num_clips == 0
    (run_dir / "metrics.jsonl").unlink()
    assert run_section(read_run(run_dir)).quarantine is None


def test_a_clip_that_a_rerun_step_meets_again_is_quarantined_once(run_dir: Path) -> None:
    path = run_dir / "quarantine.jsonl"
    path.write_text(path.read_text() * 2)
    quarantine = run_section(read_run(run_dir)).quarantine
    assert quarantine is not None and quarantine.num_clips == 1


def test_long_curves_are_thinned_and_keep_their_spikes(run_dir: Path, made: ModuleType) -> None:
    lines = made.make_metrics(5000)
    spike = next(line for line in lines if line["event"] == "step" and line["step"] == 3333)
    spike["loss"] = 50.0
    (run_dir / "metrics.jsonl").write_text(made.to_jsonl(lines))
    curves = run_section(read_run(run_dir)).curves
    assert curves is not None
    assert len(curves.loss) <= 600 and len(curves.lr) <= 601
    assert (3333.0, 50.0) in curves.loss
    assert [step for step, _ in curves.loss] == sorted(step for step, _ in curves.loss)


def test_the_smoothed_loss_of_a_constant_loss_is_that_constant(run_dir: Path) -> None:
    lines = [{"event": "step", "step": step, "loss": 2.0} for step in range(1, 200)]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    curves = run_section(read_run(run_dir)).curves
    assert curves is not None and curves.smoothing_steps > 1
    assert [value for _, value in curves.loss_smoothed] == pytest.approx([2.0] * 199)


@pytest.mark.parametrize("name", ["CC BY-NC 3.0", "cc-by-nc-sa-4.0", "CC-BY-NC-ND", "Non-commercial use only"])
def test_noncommercial_licences_are_recognised(name: str) -> None:
    assert is_noncommercial(name)


@pytest.mark.parametrize("name", ["CC BY 3.0", "MIT", "Apache-2.0", "CC0", "unknown", "Bounce licence", "NCSA"])
def test_other_licences_are_not_called_noncommercial(name: str) -> None:
    assert not is_noncommercial(name)
