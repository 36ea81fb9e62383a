import json

import pytest
import torch
from transformers import WhisperConfig, WhisperModel

from whisper_aut.errors import AudioError, BaseModelError, ProbeError, RecipeError
from whisper_aut.model.precision import choose_precision
from whisper_aut.probe.names import PROTOCOL_NAMES
from whisper_aut.probe.protocols import PROTOCOLS
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
    assert report.encoders[1].num_layers == 2
    assert report.base.width == 32 and report.base.num_parameters > 0
    assert {"python", "whisper-aut", "torch", "transformers", "scikit-learn"} <= set(report.versions)
    assert report.command == "probe"
    (task,) = report.tasks
    assert (task.num_clips, task.num_tested, task.num_folds, task.num_groups) == (16, 16, 4, 16)
    assert (task.metric, task.split) == ("accuracy", "folds")
    assert (task.classes, task.licenses, task.chance) == (["high", "low"], ["CC0-1.0"], 50.0)
    for result in task.results:
        for score in result.scores:
            assert len(score.per_fold) == 4 and set(score.per_class) == {"high", "low"}
            assert score.value == pytest.approx(sum(score.per_fold) / 4)  # folds of equal size
            assert score.interval[0] <= score.value <= score.interval[1]
        (comparison,) = result.comparisons
        base, adapted = (score.value for score in result.scores)
        assert comparison.delta == pytest.approx(adapted - base)
        assert comparison.delta == pytest.approx(100 * (comparison.num_gained - comparison.num_lost) / 16)
    captured = capsys.readouterr()
    assert captured.out == "" and "embed tones" in captured.err


def test_the_precision_and_why_it_was_taken_are_in_the_results(encoders, rows, write_task, tmp_path, capsys):
    settings = {"out_dir": tmp_path, "cache_dir": tmp_path / "cache", "protocols": ["xares-knn"]}
    folder = write_task(rows)
    chosen = choose_precision("auto", "cpu")
    report = run_probe(encoders[0], encoders[1:], [folder], precision="auto", **settings)
    assert (report.precision, report.precision_reason) == (chosen.name, chosen.reason)
    assert f"probe: precision {chosen.name}: products run at" in capsys.readouterr().err
    asked = run_probe(encoders[0], encoders[1:], [folder], precision="fp32", **settings)
    assert (asked.precision, asked.precision_reason) == ("float32", "asked for")
    with pytest.raises(RecipeError, match="no precision 'int4'"):
        run_probe("mfcc", ["logmel"], [folder], precision="int4", **settings)


def test_results_of_before_precisions_were_recorded_are_read(encoders, rows, write_task, tmp_path):
    run_probe(
        encoders[0], encoders[1:], [write_task(rows)], out_dir=tmp_path, cache_dir=tmp_path / "cache",
        protocols=["xares-knn"],
    )  # fmt: skip
    path = tmp_path / "probe.json"
    old = json.loads(path.read_text())
    assert old.pop("precision") == "float32" and old.pop("precision_reason") == "asked for"
    path.write_text(json.dumps(old))
    found = ProbeReport.from_json(path)
    assert found.precision is None and found.precision_reason is None


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
    assert result.scores[0].value == 100.0


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
        ({"layer": "weighted"}, "'strict' with pooling 'mean' cannot learn weights"),
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


def test_floors_and_draws_stand_beside_the_adapted_encoder(encoders, rows, write_task, tmp_path):
    report = run_probe(
        encoders[0],
        [encoders[1], f"random:{encoders[0]}", "mfcc", "logmel"],
        [write_task(rows)],
        out_dir=tmp_path,
        cache_dir=tmp_path / "cache",
        protocols=["xares-knn", "few-shot"],
        contexts=["full"],
    )
    assert [encoder.role for encoder in report.encoders] == ["base", "adapted", "floor", "floor", "floor"]
    assert [encoder.num_layers for encoder in report.encoders] == [2, 2, 2, 1, 1]
    assert ProbeReport.from_json(tmp_path / "probe.json") == report
    knn, few = report.tasks[0].results
    assert (knn.pooling, few.pooling) == ("mean over all positions", "mean over real positions")
    assert {comparison.test for comparison in knn.comparisons} == {"mcnemar"}
    for score, comparison in zip(few.scores[1:], few.comparisons, strict=True):
        assert comparison.test == "sign-flip" and 0 < comparison.p_value <= 1
        assert len(score.per_run) == 5 and sum(score.per_run) / 5 == pytest.approx(score.value)
        assert comparison.delta == pytest.approx(score.value - few.scores[0].value)


def test_a_seeds_spread_is_beside_the_result_and_does_not_move_it(encoders, rows, write_task, tmp_path):
    report = run_probe(
        encoders[0], encoders[1:], [write_task(rows)], out_dir=tmp_path, cache_dir=tmp_path / "c", protocols=["paper"]
    )
    for score in report.tasks[0].results[0].scores:
        assert len(score.per_run) == 3 and score.per_run[0] == score.value


def test_another_layer_and_pooling_are_named_and_give_other_numbers_than_the_protocol(
    encoders, rows, write_task, tmp_path
):
    settings = {"out_dir": tmp_path, "cache_dir": tmp_path / "cache", "protocols": ["paper"]}
    folder = write_task(rows)
    changed = run_probe(encoders[0], [encoders[1], "mfcc"], [folder], pooling="max", layer=0, **settings)
    (result,) = changed.tasks[0].results
    assert (result.protocol, result.pooling, result.layer) == ("paper [max, layer 0]", "max over all positions", "0")
    assert result.rules.startswith("maximum over all encoder positions, padding included, of layer 0")
    weighted = run_probe(encoders[0], encoders[1:], [folder], layer="weighted", **settings)
    assert weighted.tasks[0].results[0].protocol == "paper [layer weighted]"


def test_a_layer_that_an_encoder_has_not_is_refused(encoders, rows, write_task, tmp_path):
    with pytest.raises(ProbeError, match=r"there is no layer 2: .* has layers 0 to 1"):
        run_probe(
            encoders[0], encoders[1:], [write_task(rows)], layer=2, out_dir=tmp_path, cache_dir=tmp_path / "cache"
        )


def test_every_layer_is_analysed_beside_the_protocols_and_moves_no_result(encoders, rows, write_task, tmp_path):
    settings = {"out_dir": tmp_path, "protocols": ["strict"], "contexts": ["trimmed"]}
    folder = write_task(rows)
    plain = run_probe(encoders[0], encoders[1:], [folder], cache_dir=tmp_path / "one", **settings)
    report = run_probe(encoders[0], encoders[1:], [folder], every_layer=True, cache_dir=tmp_path / "two", **settings)
    assert report.tasks == plain.tasks and plain.layers is None
    settings |= {"every_layer": True, "jobs": 2}
    by_two = run_probe(encoders[0], encoders[1:], [folder], cache_dir=tmp_path / "two", **settings)
    assert (by_two.tasks, by_two.layers) == (report.tasks, report.layers)
    assert ProbeReport.from_json(tmp_path / "probe.json") == by_two
    (task,) = report.layers.tasks
    assert [(curve.name, curve.encoder, len(curve.knn)) for curve in task.curves] == [
        (encoders[0], 0, 2), (encoders[1], 1, 2), ("mfcc", None, 1),
    ]  # fmt: skip
    assert task.num_clips == 16 and report.layers.context == "trimmed"
    assert all(0 <= value <= 100 for curve in task.curves for value in (*curve.knn, *curve.network, *curve.nmi))
    assert report.layers.left_out == []


def as_parts(rows):
    for row in rows:
        row["fold"] = {1: "train", 2: "train", 3: "valid", 4: "test"}[row["fold"]]
    return rows


def test_a_fixed_split_is_tested_once_under_every_protocol(encoders, rows, write_task, tmp_path):
    report = run_probe(
        encoders[0],
        [encoders[1], "mfcc"],
        [write_task(as_parts(rows))],
        protocols=PROTOCOL_NAMES,
        every_layer=True,
        out_dir=tmp_path,
        cache_dir=tmp_path / "cache",
    )
    assert ProbeReport.from_json(tmp_path / "probe.json") == report
    (task,) = report.tasks
    assert (task.split, task.num_clips, task.num_tested, task.num_folds, task.num_groups) == ("fixed", 16, 4, 1, 4)
    assert {result.protocol for result in task.results} == set(PROTOCOL_NAMES)
    for result in task.results:
        for score in result.scores:
            assert score.per_fold == [score.value]
        assert "official" in result.rules and "fold is the test" not in result.rules
        assert result.comparisons[0].num_gained <= 4
    strict = next(result for result in task.results if result.protocol == "strict")
    assert "validation part" in strict.rules and strict.scores[0].value == 100.0
    assert [len(curve.knn) for curve in report.layers.tasks[0].curves] == [2, 2, 1]


def with_labels(rows):
    for row in rows:
        row["label"] = [row["label"], "sharp"] if row["label"] == "high" else [row["label"]]
    return rows


def test_a_multi_label_task_is_ranked(encoders, rows, write_task, tmp_path):
    report = run_probe(
        *(encoders[0], [encoders[1], encoders[0], "mfcc"], [write_task(with_labels(as_parts(rows)))]),
        protocols=[name for name in PROTOCOL_NAMES if name != "few-shot"],
        every_layer=True,
        out_dir=tmp_path,
        cache_dir=tmp_path / "cache",
    )
    assert ProbeReport.from_json(tmp_path / "probe.json") == report
    (task,) = report.tasks
    assert (task.metric, task.classes) == ("mAP", ["high", "low", "sharp"])
    assert task.chance == pytest.approx(50.0)
    for result in task.results:
        assert result.rules.count("official") and PROTOCOLS[result.protocol].several_labels in result.rules
        for score, comparison in zip(result.scores[1:], result.comparisons, strict=True):
            assert comparison.test == "permutation" and 0 < comparison.p_value <= 1
            assert comparison.num_gained is comparison.num_lost is comparison.effect_size is None
            assert set(score.per_class) == {"high", "low", "sharp"}
            assert score.value == pytest.approx(sum(score.per_class.values()) / 3)
            assert comparison.delta == pytest.approx(score.value - result.scores[0].value)
            assert score.per_run == [] or score.per_run[0] == pytest.approx(score.value)
        same = result.comparisons[1]
        assert (same.delta, same.interval, same.p_value, same.detectable) == (0.0, (0.0, 0.0), 1.0, 0.0)
    strict = next(result for result in task.results if result.protocol == "strict")
    assert strict.scores[0].per_class["high"] == strict.scores[0].per_class["low"] == 100.0
    assert report.layers.tasks == [] and report.layers.left_out == ["tones"]


def test_a_multi_label_task_on_folds_by_another_layer_and_by_a_learned_sum(encoders, rows, write_task, tmp_path):
    for row in rows:
        row["label"] = [row["label"], "sound"] if row["id"].endswith("0") else [row["label"]]
    settings = {"out_dir": tmp_path, "cache_dir": tmp_path / "cache"}
    folder = write_task(rows)
    plain = run_probe(
        *encoders[:1], encoders[1:], [folder], layer=0, pooling="max", protocols=["strict"], contexts=["trimmed"],
        **settings,
    )  # fmt: skip
    (result,) = plain.tasks[0].results
    assert result.protocol == "strict [max, layer 0]" and len(result.scores[0].per_fold) == 4
    weighted = run_probe(*encoders[:1], encoders[1:], [folder], layer="weighted", protocols=["paper"], **settings)
    (result,) = weighted.tasks[0].results
    assert result.protocol == "paper [layer weighted]" and len(result.scores[0].per_run) == 3


def test_a_protocol_that_cannot_probe_several_labels_is_refused_before_any_encoder(rows, write_task, tmp_path):
    with pytest.raises(
        ProbeError, match=r"'few-shot' cannot probe the task tones[\s\S]*of paper, strict, xares, xares-"
    ):
        run_probe(
            "no such", ["encoder"], [write_task(with_labels(rows))], protocols=["strict", "few-shot"],
            out_dir=tmp_path, cache_dir=tmp_path / "cache",
        )  # fmt: skip


def test_a_benchmark_by_name_needs_its_data_before_any_encoder(tmp_path):
    with pytest.raises(ProbeError, match="ESC-50 is not there"):
        run_probe("no", ["such"], ["esc50"], data_root=tmp_path, out_dir=tmp_path, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("version", [1, 2, 4, None])
def test_results_of_another_schema_are_refused(tmp_path, version):
    (tmp_path / "probe.json").write_text(json.dumps({"schema_version": version}))
    with pytest.raises(ProbeError, match=rf"schema version {version}, this whisper-aut reads 3"):
        ProbeReport.from_json(tmp_path / "probe.json")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"device": "tpu9"}, "no device 'tpu9'"), ({"device": "cuda:64"}, "'cuda:64' is not there")],
)
def test_a_device_that_is_not_there_is_refused_before_any_encoder(rows, write_task, tmp_path, settings, message):
    with pytest.raises(ProbeError, match=message):
        run_probe("mfcc", ["logmel"], [write_task(rows)], out_dir=tmp_path, cache_dir=tmp_path, **settings)


def test_an_output_that_cannot_be_written_is_refused_before_any_encoder(rows, write_task, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ProbeError, match="output folder cannot be written") as error:
            run_probe("mfcc", ["logmel"], [write_task(rows)], out_dir=out, cache_dir=out / "cache")
        assert "--out" in (error.value.remedy or "")
    assert "embed" not in capsys.readouterr().err


@pytest.mark.parametrize("spec", ["", "random:", "hf: ", "pypi:nothing", "./nowhere"])
def test_a_name_of_no_encoder_is_refused_before_any_encoder(rows, write_task, tmp_path, spec, capsys):
    with pytest.raises(BaseModelError):
        run_probe("mfcc", ["logmel", spec], [write_task(rows)], out_dir=tmp_path, cache_dir=tmp_path)
    assert "embed" not in capsys.readouterr().err


def test_a_training_run_in_place_of_its_export_is_named(rows, write_task, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(BaseModelError, match="a training run, not a model") as error:
        run_probe("mfcc", [str(tmp_path / "run")], [write_task(rows)], out_dir=tmp_path, cache_dir=tmp_path)
    assert "whisper-aut export" in (error.value.remedy or "")


def test_audio_that_cannot_be_read_is_named_with_its_line(rows, write_task, tmp_path):
    folder = write_task(rows)
    (folder / rows[2]["audio"]).write_text("no sound")
    with pytest.raises(AudioError) as error:
        run_probe("mfcc", ["logmel"], [folder], out_dir=tmp_path / "out", cache_dir=tmp_path / "cache")
    assert "clips.jsonl:3" in (error.value.where or "")
