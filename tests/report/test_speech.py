"""Speech kept in the report: what was measured, what it means, and that nothing is claimed where nothing was."""

import pytest

from whisper_aut.report.build import build_report
from whisper_aut.report.speech import speech_section
from whisper_aut.speech.results import ClipResult, Model, Output, SpeechReport
from whisper_aut.speech.score import make_rows

ROLES = ("base", "adapted decoder", "original decoder")
EVIL = "<script>x</script>"


def made_speech(*, errors=(3, 1, 8), ended=True, held_out="held out by the run: no step of it has read them", num=40):
    """Clips of ten words; ``errors`` by model, the same for each clip; at both contexts."""
    clips = [
        ClipResult(
            id=f"{domain}-{number}", source=f"src{number % 2}{EVIL}", domain=domain, language="en", group=str(number),
            duration_sec=2.0, reference="a", num_words=10 if domain == "speech" else None, num_tokens=4,
            outputs=[
                Output(
                    role=role, context=context, text=EVIL, ended=ended or role == "base", loss=float(count),
                    substitutions=count if domain == "speech" else None,
                    deletions=0 if domain == "speech" else None, insertions=0 if domain == "speech" else None,
                    chrf=None if domain == "speech" else 50.0 - count,
                )
                for context in ("full", "trimmed")
                for role, count in zip(ROLES, errors, strict=True)
            ],
        )
        for domain in ("speech", "environment")
        for number in range(num)
    ]  # fmt: skip
    digests = {"base": "1a" * 32, "adapted": "2b" * 32}
    models = [
        Model(
            role=role, encoder=f"{EVIL} e", encoder_sha256=digests["base" if role == "base" else "adapted"],
            decoder="d", decoder_sha256="3c" * 32, step=7, suppressed_tokens=88,
        )
        for role in ROLES
    ]  # fmt: skip
    return SpeechReport(
        command="whisper-aut wer runs/demo", date="2026-11-22", versions={}, clips_from="runs/demo", held_out=held_out,
        normaliser="Whisper's normaliser", caption_metric="chrF2", seed=0, models=models,
        precision="bfloat16", precision_reason=f"{EVIL} faster",
        rows=make_rows(clips, seed=0), left_out=[], clips=clips,
    )  # fmt: skip


@pytest.fixture
def encoders(made):
    return made.demo_probe().encoders


def test_without_a_measurement_nothing_is_claimed(encoders, probe_json, tmp_path):
    section = speech_section(None, encoders)
    assert section.status == "not measured" and "whisper-aut wer" in section.sentence
    paths = build_report(run_dir=None, probe_json=probe_json, out_dir=tmp_path / "out")
    assert "speech kept: <b>not measured</b>" in paths.html.read_text()
    assert "was not measured" in paths.markdown.read_text()


def test_gains_and_losses_are_told_by_their_intervals(encoders):
    section = speech_section(made_speech(), encoders)
    verdicts = {
        (row.metric, row.role): row.verdict for row in section.rows if row.source == "all" and row.context == "trimmed"
    }
    assert verdicts["WER", "base"] == "within noise"  # against itself at full context
    assert {row.verdict for row in section.rows if (row.role, row.context) == ("base", "full")} == {""}
    assert verdicts["WER", "adapted decoder"] == verdicts["chrF", "adapted decoder"] == "gained"
    assert verdicts["WER", "original decoder"] == verdicts["loss", "original decoder"] == "lost"
    assert "base's word error rate is 30.0% at full context, over 40 clips and 400 words" in section.sentence
    assert "10.0% with the adapted decoder at trimmed context (−20.0, 95% interval −20.0 to −20.0)" in section.sentence
    assert not section.cautions


def test_nothing_is_said_of_a_precision_that_was_not_recorded(encoders):
    old = made_speech().model_copy(update={"precision": None, "precision_reason": None})
    assert not [line for line in speech_section(old, encoders).how if line.startswith("Computed in")]


def test_no_change_is_within_noise(encoders):
    section = speech_section(made_speech(errors=(3, 3, 3)), encoders)
    assert {row.verdict for row in section.rows if row.role != "base"} == {"within noise"}


def test_what_weakens_the_numbers_is_said(encoders):
    measured = made_speech(ended=False, held_out="12 of 80 clips were trained on, by their ids", num=8)
    cautions = " ".join(speech_section(measured, encoders[:1]).cautions)
    for part in ("none of those that were probed", "12 of 80", "Only 8 recordings of speech", "repeated itself"):
        assert part in cautions


def test_characters_are_said_where_they_were_counted(encoders):
    measured = made_speech().model_copy(update={"normalisers": {"th": "characters"}})
    assert "400 characters" in speech_section(measured, encoders).sentence
    mixed = measured.model_copy(update={"normalisers": {"th": "characters", "en": "english"}})
    section = speech_section(mixed, encoders)
    assert "400 words" in section.sentence and section.cautions[0].startswith("In th characters are counted")


def test_the_report_shows_it_and_obeys_nothing_of_it(probe_json, tmp_path):
    (tmp_path / "speech.json").write_text(made_speech().to_json())
    paths = build_report(run_dir=None, probe_json=probe_json, out_dir=tmp_path / "out", speech=tmp_path / "speech.json")
    html, markdown = paths.html.read_text(), paths.markdown.read_text()
    assert "<script" not in html and "<script" not in markdown
    for part in (
        "Speech kept", "10.0", "−20.0", "original decoder", "whisper-aut wer runs/demo", "Computed in bfloat16: ",
    ):  # fmt: skip
        assert part in html and part in markdown
    assert "speech kept: <b>measured</b>" in html


def test_word_errors_of_training_become_a_curve(made, probe_json, run_dir, tmp_path):
    with (run_dir / "metrics.jsonl").open("a") as file:
        for step, rate in ((0, 31.5), (300, 12.5)):
            file.write(f'{{"event": "validation", "step": {step}, "loss": {{"speech": 1.0}}, "wer": {rate}}}\n')
    paths = build_report(run_dir=run_dir, probe_json=probe_json, out_dir=tmp_path / "out")
    assert "Word error rate of held-out speech" in paths.html.read_text()
