"""Both sides of the training benchmark do the same work, and the ratios are those of the raw numbers."""

import json
import sys
from pathlib import Path
from statistics import median

import pytest
import soundfile

from whisper_aut.bench.clips import clips_of_length
from whisper_aut.bench.record import circumstances
from whisper_aut.bench.train import TrainBench, check_curves, measure_training, table
from whisper_aut.bench.turns import side
from whisper_aut.data.manifest import load_manifest
from whisper_aut.errors import GateFailed, ManifestError, RecipeError


@pytest.fixture(scope="module")
def numbers(small_base, write_corpus, tmp_path_factory):
    """One turn of one step of both, and two steps of both loss curves."""
    corpus = write_corpus(tmp_path_factory.mktemp("bench") / "corpus", clips_per_domain=12)
    asked = TrainBench(
        base=str(small_base), manifest=corpus / "speech.jsonl", clip_sec=0.9, clips_per_step=2, micro_batch_clips=1,
        turns=1, steps_per_turn=1, loss_steps=2, sides=("ours fp32", "hf fp32"),
    )  # fmt: skip
    return measure_training(asked)


@pytest.mark.integration
def test_both_sides_see_the_same_clips_and_no_speed_is_bought_with_another_optimisation(numbers):
    ours, theirs = numbers["sides"]["ours fp32"], numbers["sides"]["hf fp32"]
    assert [sorted(step) for step in ours["clips"]] == [sorted(step) for step in theirs["clips"]]
    assert len(ours["clips"]) == 1 and len(set(ours["clips"][0])) == 2
    assert ours["micro-batches on the full window"] == 0 < theirs["micro-batches on the full window"]
    curves = numbers["loss curves"]
    assert curves["ours"] == pytest.approx(curves["hf"], rel=1e-5)
    assert curves["ours"][0] != curves["ours"][1]
    check_curves(numbers, 1e-4)


@pytest.mark.integration
def test_ratios_are_those_of_the_raw_numbers(numbers):
    ratio = numbers["ratios"]["ours fp32 over hf fp32"]
    ours, theirs = (numbers["sides"][name]["clips/s by turn"] for name in ("ours fp32", "hf fp32"))
    assert ratio["by turn"] == pytest.approx([mine / other for mine, other in zip(ours, theirs, strict=True)])
    assert ratio["median"] == median(ratio["by turn"])
    assert ratio["over all turns"] == pytest.approx(ratio["median"])  # of one turn
    assert f"{ratio['median']:.2f}" in "\n".join(table(numbers))
    json.dumps(numbers, allow_nan=False)


def test_curves_that_differ_fail_the_gate():
    numbers = {"loss curves": {"largest relative difference": 2e-3}}
    check_curves(numbers, 1e-2)
    with pytest.raises(GateFailed, match=r"differ by 0\.002"):
        check_curves(numbers, 1e-3)
    numbers["loss curves"]["largest relative difference"] = float("nan")
    with pytest.raises(GateFailed):
        check_curves(numbers, 1e-3)


def test_clips_of_one_length_are_chosen_from_a_manifest(make_corpus, tmp_path):
    manifest = make_corpus(clips_per_domain=12) / "music.jsonl"
    chosen = load_manifest(clips_of_length(tmp_path / "out", manifest, 0.5, at_least=1, at_most=3))
    durations = chosen.table.texts["duration_sec"].to_pylist()
    assert len(chosen) == 3 and all(0 < duration <= 0.5 for duration in durations)
    assert chosen.audio_source(0).is_file()
    with pytest.raises(ManifestError, match="0 clips of one domain"):
        clips_of_length(tmp_path / "out", manifest, 5.0, at_least=2, at_most=9)


def test_synthesised_clips_have_the_length_that_was_asked_for(tmp_path):
    manifest = load_manifest(clips_of_length(tmp_path, None, 2.0, at_least=2, at_most=2))
    assert len(manifest) == 2
    assert soundfile.info(manifest.audio_source(1)).frames == 32_000
    assert manifest.clip(1).text


def test_wrong_input_is_said_before_anything_starts():
    with pytest.raises(RecipeError, match="no side 'hf int4'"):
        measure_training(TrainBench(sides=("hf int4",)))
    with pytest.raises(RecipeError, match="no multiple"):
        measure_training(TrainBench(clips_per_step=3, micro_batch_clips=2))


def test_the_command_is_named_as_it_can_be_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/whisper-aut", "bench", "head", "--clips", "100"])
    assert circumstances()["command"] == "whisper-aut bench head --clips 100"
    monkeypatch.setattr(sys, "argv", ["/src/whisper_aut/bench/__main__.py", "head"])
    assert circumstances()["command"] == "whisper-aut bench head"


def test_a_side_runs_in_its_turn_and_says_what_went_wrong(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))  # children inherit it, and find the functions by name
    from sides import broken, mistaken, two_steps

    with side("a", two_steps, [1.0, 2.0, 3.0], device="cpu") as a:
        a.wait_ready()
        assert [step.loss for step in a.turn(2).steps] == [1.0, 2.0]
        turn = a.turn(1)
        assert turn.num_clips == 2 and turn.peak_gb > 0 and turn.taken_sec > 0
    with side("b", mistaken, "the mistake", device="cpu") as b, pytest.raises(ManifestError, match="the mistake"):
        b.wait_ready()
    with side("c", broken, None, device="cpu") as c, pytest.raises(RuntimeError, match="a bug"):
        c.wait_ready()
