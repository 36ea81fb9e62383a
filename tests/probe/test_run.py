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
    report = run_probe(encoders[0], encoders[:1], [write_task(rows)], out_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert {(r.protocol, r.context) for r in report.tasks[0].results} == {
        ("paper", "full"),
        ("strict", "trimmed"),
        ("strict", "full"),
    }
    for result in report.tasks[0].results:
        base, same = result.scores
        (comparison,) = result.comparisons
        assert base == same
        assert comparison.delta == 0.0
        assert comparison.interval == (0.0, 0.0)
        assert comparison.p_value == 1.0
        assert comparison.num_gained == comparison.num_lost == 0


def test_a_report_holds_what_was_probed_and_reads_back_equal(encoders, rows, write_task, tmp_path, capsys):
    report = run_probe(
        encoders[0],
        encoders[1:],
        [write_task(rows)],
        out_dir=tmp_path / "new" / "out",
        cache_dir=tmp_path / "cache",
        command="probe",
    )
    assert ProbeReport.from_json(tmp_path / "new" / "out" / "probe.json") == report
    assert [path.name for path in (tmp_path / "new" / "out").iterdir()] == ["probe.json"]
    assert [encoder.role for encoder in report.encoders] == ["base", "adapted"]
    assert report.encoders[0].weights_sha256 != report.encoders[1].weights_sha256
    assert report.base.width == 32 and report.base.num_parameters > 0
    assert {"python", "whisper-aut", "torch", "transformers", "scikit-learn"} <= set(report.versions)
    assert report.command == "probe"
    (task,) = report.tasks
    assert (task.num_clips, task.num_folds, task.num_groups) == (16, 4, 16)
    assert (task.classes, task.licenses, task.chance) == (["high", "low"], ["CC0-1.0"], 50.0)
    for result in task.results:
        for score in result.scores:
            assert len(score.per_fold) == 4 and set(score.per_class) == {"high", "low"}
            assert score.accuracy == pytest.approx(sum(score.per_fold) / 4)  # folds of equal size
            assert score.interval[0] <= score.accuracy <= score.interval[1]
        (comparison,) = result.comparisons
        base, adapted = (score.accuracy for score in result.scores)
        assert comparison.delta == pytest.approx(adapted - base)
        assert comparison.delta == pytest.approx(100 * (comparison.num_gained - comparison.num_lost) / 16)
    captured = capsys.readouterr()
    assert captured.out == "" and "embed tones" in captured.err


def test_even_untrained_encoders_tell_two_tones_apart(encoders, rows, write_task, tmp_path):
    report = run_probe(
        encoders[0],
        encoders[1:],
        [write_task(rows)],
        out_dir=tmp_path,
        cache_dir=tmp_path / "cache",
        protocols=["strict"],
        contexts=["trimmed"],
    )
    (result,) = report.tasks[0].results
    assert result.scores[0].accuracy == 100.0


def test_a_run_is_repeatable_from_and_without_the_cache(encoders, rows, write_task, tmp_path):
    folder = write_task(rows)
    first, second, third = (
        run_probe(encoders[0], encoders[1:], [folder], out_dir=tmp_path, cache_dir=tmp_path / cache, seed=7)
        for cache in ("one", "one", "two")
    )
    assert first.tasks == second.tasks == third.tasks


def test_clips_over_the_window_and_ungrouped_folds_are_said_in_the_rules(encoders, rows, write_task, tmp_path):
    rows = [row for row in rows if row["fold"] <= 2]
    rows[0]["duration_sec"] = 31.0
    for row in rows:
        row["group"] = f"speaker {row['fold']}"
    report = run_probe(
        encoders[0],
        encoders[1:],
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
        run_probe("no such", ["encoder"], [write_task(rows)], out_dir=tmp_path, cache_dir=tmp_path / "cache")
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
        run_probe("a", ["b"], out_dir=tmp_path, cache_dir=tmp_path / "cache", **arguments)


def test_two_tasks_of_one_name_are_refused(rows, write_task, tmp_path):
    folders = [write_task(rows)] * 2
    with pytest.raises(ProbeError, match="2 tasks are named 'tones'"):
        run_probe("a", ["b"], folders, out_dir=tmp_path, cache_dir=tmp_path / "cache")


def test_any_number_of_encoders_is_compared_with_one_base(encoders, rows, write_task, tmp_path):
    first, second = encoders
    settings = {"protocols": ["strict"], "contexts": ["trimmed"], "cache_dir": tmp_path / "cache"}
    folder = write_task(rows)
    both = run_probe(first, [second, first], [folder], out_dir=tmp_path, **settings)
    alone = run_probe(first, [second], [folder], out_dir=tmp_path, **settings)
    (together,), (single,) = both.tasks[0].results, alone.tasks[0].results
    assert together.scores[:2] == single.scores and together.comparisons[:1] == single.comparisons
    assert together.comparisons[1].p_value == 1.0 and together.comparisons[1].delta == 0.0


@pytest.mark.parametrize(("given", "message"), [([], "no encoder is given"), (["a", "b", "a"], "'a' is given 2 times")])
def test_encoders_that_make_no_comparison_are_refused(rows, write_task, tmp_path, given, message):
    with pytest.raises(ProbeError, match=message):
        run_probe("base", given, [write_task(rows)], out_dir=tmp_path, cache_dir=tmp_path / "cache")
