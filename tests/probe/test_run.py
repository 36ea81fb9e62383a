import pytest
import torch
from transformers import WhisperConfig, WhisperModel

from whisper_aut.errors import ProbeError
from whisper_aut.probe.results import ProbeReport
from whisper_aut.probe.run import run_probe


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Folders of two small untrained Whisper models with different weights."""
    folders = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        config = WhisperConfig(
            num_mel_bins=80,
            d_model=32,
            encoder_layers=1,
            encoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_layers=1,
            decoder_attention_heads=2,
            decoder_ffn_dim=64,
            vocab_size=100,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=3,
        )
        folder = tmp_path_factory.mktemp(f"encoder{seed}")
        WhisperModel(config).save_pretrained(folder)
        folders.append(str(folder))
    return folders


def test_identical_encoders_differ_by_exactly_zero(encoders, rows, write_task, tmp_path):
    report = run_probe(encoders[0], encoders[0], [write_task(rows)], out_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert {(r.protocol, r.context) for r in report.tasks[0].results} == {
        ("paper", "full"),
        ("strict", "trimmed"),
        ("strict", "full"),
    }
    for result in report.tasks[0].results:
        assert result.base == result.adapted
        assert result.comparison.delta == 0.0
        assert result.comparison.interval == (0.0, 0.0)
        assert result.comparison.p_value == 1.0
        assert result.comparison.num_gained == result.comparison.num_lost == 0


def test_a_report_holds_what_was_probed_and_reads_back_equal(encoders, rows, write_task, tmp_path, capsys):
    report = run_probe(
        *encoders, [write_task(rows)], out_dir=tmp_path / "new" / "out", cache_dir=tmp_path / "cache", command="probe"
    )
    assert ProbeReport.from_json(tmp_path / "new" / "out" / "probe.json") == report
    assert [path.name for path in (tmp_path / "new" / "out").iterdir()] == ["probe.json"]
    assert report.base.role == "base" and report.adapted.role == "adapted"
    assert report.base.weights_sha256 != report.adapted.weights_sha256
    assert report.base.width == 32 and report.base.num_parameters > 0
    assert {"python", "whisper-aut", "torch", "transformers", "scikit-learn"} <= set(report.versions)
    assert report.command == "probe"
    (task,) = report.tasks
    assert (task.num_clips, task.num_tested, task.num_folds, task.num_groups) == (16, None, 4, 16)
    assert (task.metric, task.split) == ("accuracy", "folds")
    assert (task.classes, task.licenses, task.chance) == (["high", "low"], ["CC0-1.0"], 50.0)
    for result in task.results:
        for score in (result.base, result.adapted):
            assert len(score.per_fold) == 4 and set(score.per_class) == {"high", "low"}
            assert score.accuracy == pytest.approx(sum(score.per_fold) / 4)  # folds of equal size
            assert score.interval[0] <= score.accuracy <= score.interval[1]
        gained, lost = result.comparison.num_gained, result.comparison.num_lost
        assert result.comparison.delta == pytest.approx(result.adapted.accuracy - result.base.accuracy)
        assert result.comparison.delta == pytest.approx(100 * (gained - lost) / 16)
    captured = capsys.readouterr()
    assert captured.out == "" and "embed tones" in captured.err


def test_even_untrained_encoders_tell_two_tones_apart(encoders, rows, write_task, tmp_path):
    report = run_probe(
        *encoders,
        [write_task(rows)],
        out_dir=tmp_path,
        cache_dir=tmp_path / "cache",
        protocols=["strict"],
        contexts=["trimmed"],
    )
    (result,) = report.tasks[0].results
    assert result.base.accuracy == 100.0


def test_a_run_is_repeatable_from_and_without_the_cache(encoders, rows, write_task, tmp_path):
    folder = write_task(rows)
    first, second, third = (
        run_probe(*encoders, [folder], out_dir=tmp_path, cache_dir=tmp_path / cache, seed=7)
        for cache in ("one", "one", "two")
    )
    assert first.tasks == second.tasks == third.tasks


def test_clips_over_the_window_and_ungrouped_folds_are_said_in_the_rules(encoders, rows, write_task, tmp_path):
    rows = [row for row in rows if row["fold"] <= 2]
    rows[0]["duration_sec"] = 31.0
    for row in rows:
        row["group"] = f"speaker {row['fold']}"
    report = run_probe(
        *encoders,
        [write_task(rows)],
        out_dir=tmp_path,
        cache_dir=tmp_path / "cache",
        protocols=["strict"],
        contexts=["trimmed"],
    )
    (result,) = report.tasks[0].results
    assert "1 clip(s) last longer than 30 s" in result.rules
    assert "test fold(s) 1, 2" in result.rules and "by clip" in result.rules


def test_a_leaky_task_is_refused_before_an_encoder_is_loaded(rows, write_task, tmp_path):
    rows[4]["group"] = rows[0]["group"]
    with pytest.raises(ProbeError, match="leaks"):
        run_probe("no such", "encoder", [write_task(rows)], out_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "probe.json").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"protocols": ["paper"], "contexts": ["trimmed"]}, "'paper' is not defined"),
        ({"protocols": ["papr"]}, "no protocol 'papr'"),
        ({"contexts": ["half"]}, "no context 'half'"),
        ({"contexts": []}, "not defined for the context"),
        ({"protocols": []}, "no protocol is given"),
        ({"tasks": []}, "no task is given"),
    ],
)
def test_what_cannot_be_run_is_refused(rows, write_task, tmp_path, settings, message):
    arguments = {"tasks": [write_task(rows)], **settings}
    with pytest.raises(ProbeError, match=message):
        run_probe("a", "b", out_dir=tmp_path, cache_dir=tmp_path / "cache", **arguments)


def test_two_tasks_of_one_name_are_refused(rows, write_task, tmp_path):
    folders = [write_task(rows)] * 2
    with pytest.raises(ProbeError, match="2 tasks are named 'tones'"):
        run_probe("a", "b", folders, out_dir=tmp_path, cache_dir=tmp_path / "cache")


def as_parts(rows):
    for row in rows:
        row["fold"] = {1: "train", 2: "train", 3: "valid", 4: "test"}[row["fold"]]
    return rows


def test_a_fixed_split_is_tested_once_under_every_protocol(encoders, rows, write_task, tmp_path):
    report = run_probe(*encoders, [write_task(as_parts(rows))], out_dir=tmp_path, cache_dir=tmp_path / "cache")
    (task,) = report.tasks
    assert (task.split, task.num_clips, task.num_tested, task.num_folds, task.num_groups) == ("fixed", 16, 4, 1, 4)
    for result in task.results:
        assert len(result.base.per_fold) == 1 and result.base.per_fold[0] == result.base.accuracy
        assert result.base.accuracy in {0.0, 25.0, 50.0, 75.0, 100.0}
        assert "official" in result.rules and "every fold" not in result.rules
    strict = next(result for result in task.results if result.protocol == "strict")
    assert "validation part" in strict.rules and strict.base.accuracy == 100.0


def test_a_multi_label_task_is_ranked(encoders, rows, write_task, tmp_path):
    for row in as_parts(rows):
        row["label"] = [row["label"], "sharp"] if row["label"] == "high" else [row["label"]]
    report = run_probe(*encoders, [write_task(rows)], out_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert ProbeReport.from_json(tmp_path / "probe.json") == report
    (task,) = report.tasks
    assert (task.metric, task.classes) == ("mAP", ["high", "low", "sharp"])
    assert task.chance == pytest.approx(50.0)
    for result in task.results:
        assert result.comparison.test == "paired permutation" and result.comparison.num_gained is None
        assert 0 < result.comparison.p_value <= 1
        assert set(result.base.per_class) == {"high", "low", "sharp"}
        assert result.base.accuracy == pytest.approx(sum(result.base.per_class.values()) / 3)
        assert result.comparison.delta == pytest.approx(result.adapted.accuracy - result.base.accuracy)
    strict = next(result for result in task.results if result.protocol == "strict")
    assert strict.base.per_class["high"] == strict.base.per_class["low"] == 100.0


def test_a_multi_label_task_on_folds(encoders, rows, write_task, tmp_path):
    for row in rows:
        row["label"] = [row["label"], "sound"] if row["id"].endswith("0") else [row["label"]]
    report = run_probe(
        encoders[0], encoders[0], [write_task(rows)], out_dir=tmp_path, cache_dir=tmp_path / "cache",
        protocols=["strict"], contexts=["trimmed"],
    )  # fmt: skip
    (result,) = report.tasks[0].results
    assert len(result.base.per_fold) == 4
    assert (result.comparison.delta, result.comparison.interval, result.comparison.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_a_benchmark_by_name_needs_its_data_before_any_encoder(tmp_path):
    with pytest.raises(ProbeError, match="ESC-50 is not there"):
        run_probe("no", "such", ["esc50"], data_root=tmp_path, out_dir=tmp_path, cache_dir=tmp_path / "cache")
