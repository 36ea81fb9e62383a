"""``metrics.jsonl``: one JSON object a line, whatever happened to the run before."""

import json

import pytest

from whisper_aut.train.metrics import MetricsLog

STEP = {
    "loss": 2.5, "lr": 1e-5, "grad_norm": 1.0, "num_clips": 4, "num_tokens": 20, "audio_sec": 2.0, "step_sec": 0.5,
    "clips_per_sec": 8.0, "audio_sec_per_sec": 4.0, "loader_wait_sec": 0.0, "quarantined": 0,
    "mfu": 0.25, "memory_gb": 1.5,
}  # fmt: skip


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_steps_and_events_are_lines_in_order(tmp_path):
    with MetricsLog(tmp_path, enabled=True, total_steps=2) as log:
        log.event("validation", step=0, loss={"speech": 1.5})
        log.step(step=1, **STEP)
        log.step(step=2, **STEP)
        log.event("done", step=2, wall_sec=1.0)
    found = lines(tmp_path)
    assert [(line["event"], line["step"]) for line in found] == [
        ("validation", 0), ("step", 1), ("step", 2), ("done", 2)
    ]  # fmt: skip
    assert found[0]["loss"] == {"speech": 1.5}
    assert found[1] == {"event": "step", "step": 1} | STEP


def test_what_is_not_finite_is_null_since_json_has_no_number_for_it(tmp_path):
    with MetricsLog(tmp_path, enabled=True, total_steps=1) as log:
        log.step(step=1, **STEP | {"grad_norm": float("inf")})
        log.event("validation", step=1, loss={"speech": float("nan"), "music": 1.0})
    text = (tmp_path / "metrics.jsonl").read_text()
    found = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    assert found[0]["grad_norm"] is None
    assert found[1]["loss"] == {"speech": None, "music": 1.0}


def test_tensorboard_has_the_same_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with MetricsLog(tmp_path, enabled=True, total_steps=1) as log:
        log.step(step=1, **STEP)
        log.event("validation", step=1, loss={"music": 0.5})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("step/loss")] == [(1, 2.5)]
    assert [(e.step, e.value) for e in events.Scalars("validation/loss/music")] == [(1, 0.5)]


@pytest.mark.parametrize("torn", ['{"event": "step", "st', "{", '{"event": "step", "step": 2}'])
def test_a_line_torn_by_a_kill_is_removed_and_whole_lines_stay(tmp_path, torn):
    whole = '{"event": "step", "step": 1}\n'
    (tmp_path / "metrics.jsonl").write_text(whole + torn)
    with MetricsLog(tmp_path, enabled=True, total_steps=3) as log:
        log.event("resume", step=1)
    assert [(line["event"], line["step"]) for line in lines(tmp_path)] == [("step", 1), ("resume", 1)]


def test_a_file_that_is_nothing_but_a_torn_line_becomes_a_good_one(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"eve')
    with MetricsLog(tmp_path, enabled=True, total_steps=3) as log:
        log.event("resume", step=1)
    assert lines(tmp_path) == [{"event": "resume", "step": 1}]


def test_whole_lines_of_an_earlier_part_are_kept_byte_for_byte(tmp_path):
    before = '{"event": "step", "step": 1, "note": "Ö\u2028"}\n{"event": "step", "step": 2}\n'
    (tmp_path / "metrics.jsonl").write_text(before, encoding="utf-8")
    with MetricsLog(tmp_path, enabled=True, total_steps=3):
        pass
    assert (tmp_path / "metrics.jsonl").read_text("utf-8") == before
    (tmp_path / "metrics.jsonl").write_text(before + "{", encoding="utf-8")
    with MetricsLog(tmp_path, enabled=True, total_steps=3):
        pass
    assert (tmp_path / "metrics.jsonl").read_text("utf-8") == before


def test_other_ranks_write_and_say_nothing(tmp_path, capsys):
    with MetricsLog(tmp_path, enabled=False, total_steps=1) as log:
        log.step(step=1, **STEP)
        log.event("done", step=1)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""


def test_the_terminal_shows_the_first_and_the_last_step(tmp_path, capsys):
    with MetricsLog(tmp_path, enabled=True, total_steps=5) as log:
        for step in range(1, 6):
            log.step(step=step, **STEP)
    shown = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in shown] == ["train: step 1/5", "train: step 5/5"]
    assert "left" not in shown[0]
    assert shown[1].endswith("about 0 s left")


def test_the_time_left_comes_from_recent_steps_and_not_from_the_first_ones(tmp_path, capsys):
    with MetricsLog(tmp_path, enabled=True, total_steps=200, log_every_sec=0.0) as log:
        for step in range(1, 101):
            log.step(step=step, **STEP | {"step_sec": 60.0 if step <= 10 else 0.5})
    shown = capsys.readouterr().err.splitlines()
    assert ["left" in line for line in shown[:4]] == [False, False, True, True]
    assert shown[-1].endswith("about 50 s left")
