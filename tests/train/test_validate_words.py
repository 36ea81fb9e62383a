"""Word errors during training: those of ``whisper-aut wer`` before the first step, on any ranks, under any strategy."""

import json

import pytest
import yaml

from whisper_aut.config import load_recipe
from whisper_aut.errors import RecipeError
from whisper_aut.train.loop import prepare
from whisper_aut.train.validate_words import word_error_rate

TRAIN = {
    "steps": 1, "clips_per_step": 2, "micro_batch_clips": 1, "precision": "fp32", "full_window_fraction": 0.0,
    "checkpoint_every_steps": 1, "validate_every_steps": 1, "validate_wer_clips": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def recipe(demo_weights, real_data_dir, tmp_path_factory):
    """Short telephone prompts, two of them held out."""
    folder = tmp_path_factory.mktemp("prompts")
    lines = (real_data_dir / "train" / "speech.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["source"] == "asterisk_prompts"]
    rows = [row for row in rows if 1 < row["duration_sec"] < 2 and len(row["text"].split()) > 1]
    rows = sorted(rows, key=lambda row: (len(row["text"]), row["id"]))[:8]  # decoding is limited by the text's length
    for row in rows:
        row["audio"] = str(real_data_dir / "train" / row["audio"])
    (folder / "speech.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    content = {
        "name": "words", "base": {"model": "pypi:tiny.en"},
        "data": {
            "mixture": {"speech": {"weight": 1.0, "manifests": ["speech.jsonl"]}},
            "holdout_clips": 2, "num_workers": 0,
        },
        "train": TRAIN,
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder / "recipe.yaml"


def test_it_is_off_unless_asked_for_and_needs_speech(recipe):
    prepared = prepare(load_recipe(recipe))
    pool, config = prepared.corpus.validation["speech"], prepared.recipe.train
    off = config.model_copy(update={"validate_wer_clips": 0})
    assert word_error_rate(off, pool, prepared.base, prepared.text_encoder) is None
    assert word_error_rate(config, pool, prepared.base, prepared.text_encoder) is not None
    with pytest.raises(RecipeError, match="no speech is held out"):
        word_error_rate(config, None, prepared.base, prepared.text_encoder)


@pytest.mark.integration
@pytest.mark.parametrize(("strategy", "ranks"), [("zero1", 1), ("zero3", 2)])
def test_before_the_first_step_it_is_the_bases_on_any_ranks(recipe, forks, tmp_path, strategy, ranks, tiny_en):
    import torch

    from whisper_aut.constants import HOP_LENGTH, context_frames
    from whisper_aut.data.audio import read_waveform
    from whisper_aut.data.features import LogMel
    from whisper_aut.model.encode import encode
    from whisper_aut.model.greedy import decoding_rules, greedy
    from whisper_aut.model.word_errors import word_counter

    words = ["-m", "whisper_aut", "train", recipe, f"train.deepspeed={strategy}", "--out", tmp_path / "run"]
    done = forks.run([*words, *(["--ranks", ranks] if ranks > 1 else [])])
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open(encoding="utf-8")]
    rates = [line["wer"] for line in lines if line["event"] == "validation"]
    assert len(rates) == 2

    prepared = prepare(load_recipe(recipe))
    pool, encoder = prepared.corpus.validation["speech"], prepared.text_encoder
    counter, errors, words = word_counter(tiny_en.tokenizer), 0, 0
    for row in range(len(pool)):
        waveform = read_waveform(pool.audio_source(row), duration_sec=pool.clip(row).duration_sec)
        padded = torch.zeros(1, context_frames(len(waveform), "trimmed") * HOP_LENGTH)
        padded[0, : len(waveform)] = torch.from_numpy(waveform)
        prefix = encoder.prefix("speech")
        length = len(encoder.encode(pool.clip(row).text, "speech").labels) - len(prefix) + 1
        with torch.no_grad():
            states = encode(tiny_en.model.model.encoder, LogMel(80)(padded))
        limit = len(prefix) + 2 * length + 8
        (said,) = greedy(tiny_en.model, states, torch.tensor([prefix]), decoding_rules(tiny_en.model), max_tokens=limit)
        found = counter.count(pool.clip(row).text, encoder.decode(said))
        errors, words = errors + found.num_errors, words + found.num_words
    assert rates[0] == pytest.approx(100 * errors / words)
