"""The exported folder, loaded as a consumer loads it and compared by value."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import WhisperFeatureExtractor, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from whisper_aut.constants import WINDOW_FRAMES
from whisper_aut.errors import CheckpointError
from whisper_aut.export.encoder import ExportOptions, export_encoder, export_model
from whisper_aut.export.sums import compare_sums
from whisper_aut.model.base import BaseModel, load_encoder
from whisper_aut.model.hashes import weights_sha256


def trained_encoder(small_whisper, num_mel_bins: int = 80) -> torch.nn.Module:
    return small_whisper(1, vocab_size=51_864, num_mel_bins=num_mel_bins).model.encoder


@pytest.mark.parametrize("num_mel_bins", [80, 128])
def test_both_forms_load_with_transformers_and_give_the_trained_encoder(
    make_run, small_whisper, tmp_path, num_mel_bins
):
    run_dir, base = make_run(num_mel_bins=num_mel_bins)
    folder = export_encoder(run_dir, tmp_path / "out", base=base)
    expected = trained_encoder(small_whisper, num_mel_bins)
    mel = torch.randn(1, num_mel_bins, WINDOW_FRAMES, generator=torch.Generator().manual_seed(0))
    forms = [WhisperModel.from_pretrained(folder).encoder, WhisperEncoder.from_pretrained(folder / "encoder")]
    for encoder in forms:
        assert weights_sha256(encoder.state_dict()) == weights_sha256(expected.state_dict())
        with torch.no_grad():
            assert torch.equal(encoder.eval()(mel).last_hidden_state, expected(mel).last_hidden_state)
    for place in (folder, folder / "encoder"):
        assert WhisperFeatureExtractor.from_pretrained(place).feature_size == num_mel_bins


def test_the_probe_loads_it_as_the_same_weights(make_run, small_whisper, tmp_path):
    run_dir, base = make_run()
    folder = export_encoder(run_dir, tmp_path / "out", base=base)
    assert load_encoder(folder).weights_sha256 == weights_sha256(trained_encoder(small_whisper).state_dict())


def test_no_decoder_weight_is_in_it(make_run, tmp_path):
    run_dir, base = make_run()
    folder = export_encoder(run_dir, tmp_path / "out", base=base)
    assert WhisperModel.from_pretrained(folder).config.decoder_layers == 0
    size = (folder / "model.safetensors").stat().st_size
    assert size < 4 * 1.05 * sum(p.numel() for p in load_encoder(folder).module.parameters()) + 10_000


def test_the_newest_sound_checkpoint_is_taken(make_run, tmp_path, capsys):
    run_dir, base = make_run()
    damaged = run_dir / "checkpoints" / "step-00000011"
    damaged.mkdir()
    (damaged / "sha256.json").write_text("{}")
    folder = export_encoder(run_dir, tmp_path / "out", base=base)
    assert json.loads((folder / "whisper_aut.json").read_text())["step"] == 10
    assert "damaged" in capsys.readouterr().err


def test_the_folder_describes_itself(make_run, tmp_path):
    run_dir, base = make_run()
    folder = export_encoder(run_dir, tmp_path / "out", base=base)
    card = (folder / "README.md").read_text("utf-8")
    assert "CC-BY-NC-3.0" in card
    assert "Non-commercial" in card
    assert json.loads((folder / "whisper_aut.json").read_text())["run"]["seed"] == 0


def test_an_unfinished_run_is_refused(make_run, tmp_path):
    run_dir, base = make_run(steps_planned=11)
    with pytest.raises(CheckpointError, match="not finished: step 10 of 11") as caught:
        export_encoder(run_dir, tmp_path / "out", base=base)
    assert "same `whisper-aut train`" in (caught.value.remedy or "")
    assert not (tmp_path / "out").exists()


def test_a_run_whose_last_checkpoint_is_damaged_is_named_so(make_run, tmp_path):
    run_dir, base = make_run(steps_planned=11)
    (run_dir / "checkpoints" / "step-00000011").mkdir()
    with pytest.raises(
        CheckpointError, match="newest checkpoint is damaged; the one before is of step 10 of 11"
    ) as caught:
        export_encoder(run_dir, tmp_path / "out", base=base)
    assert "step-00000011" in str(caught.value.where)


def test_a_checkpoint_that_is_not_there(make_run, tmp_path):
    run_dir, base = make_run()
    for name, remedy in (
        ("checkpoints/step-00000012", "give one: step-00000010"),
        ("step-00000010", "RUN/checkpoints"),
    ):
        with pytest.raises(CheckpointError, match="no such checkpoint") as caught:
            export_encoder(run_dir, tmp_path / "out", base=base, checkpoint=run_dir / name)
        assert remedy in (caught.value.remedy or "")


def test_a_run_without_a_sound_checkpoint_is_refused(make_run, tmp_path):
    run_dir, base = make_run()
    (run_dir / "checkpoints" / "step-00000010" / "weights.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="not one checkpoint is sound"):
        export_encoder(run_dir, tmp_path / "out", base=base)
    shutil.rmtree(run_dir / "checkpoints")
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        export_encoder(run_dir, tmp_path / "out", base=base)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"run\.json is missing"):
        export_encoder(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("content", ["{", "", "[]"])
def test_a_damaged_run_json_is_refused(make_run, tmp_path, content):
    run_dir, base = make_run()
    (run_dir / "run.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"run\.json cannot be read"):
        export_encoder(run_dir, tmp_path / "out", base=base)


def test_a_folder_with_other_things_is_refused_and_left_alone(make_run, tmp_path):
    run_dir, base = make_run()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(CheckpointError, match="not an export"):
        export_encoder(run_dir, tmp_path / "out", base=base)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="not an export"):
        export_encoder(run_dir, tmp_path / "file", base=base)


def test_what_was_added_to_an_export_or_edited_in_it_is_not_replaced(make_run, tmp_path):
    run_dir, base = make_run()
    out = export_encoder(run_dir, tmp_path / "out", base=base)
    (out / "probes").mkdir()
    (out / "probes" / "notes.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match=r"1 files that it did not write, the first is 'probes/notes\.txt'"):
        export_encoder(run_dir, out, base=base)
    (out / "probes" / "notes.txt").unlink()
    card = (out / "README.md").read_text() + "Edited by hand.\n"
    (out / "README.md").write_text(card)
    with pytest.raises(CheckpointError, match=r"'README\.md' in the output folder was changed"):
        export_encoder(run_dir, out, base=base)
    assert (out / "README.md").read_text() == card


def test_what_is_read_is_not_replaced(make_run, tmp_path):
    run_dir, base = make_run()
    whole = export_model(run_dir, tmp_path / "whole", ExportOptions(("hf", "encoder"), "adapted"), base=base)
    (tmp_path / "link").symlink_to(whole)
    before = compare_sums(whole)
    assert before.sound
    for source in (whole, whole / "encoder", tmp_path / "link"):
        for out in (whole, tmp_path / "link"):
            with pytest.raises(CheckpointError, match="would replace what it is made from"):
                export_model(source, out)
    for source, out in ((whole, whole / "again"), (run_dir, run_dir / "checkpoints" / "again")):
        with pytest.raises(CheckpointError, match="would lie inside what it is made from"):
            export_model(source, out, base=base)
    with pytest.raises(CheckpointError, match="would replace what it is made from"):
        export_encoder(run_dir, run_dir, base=base)
    assert compare_sums(whole) == before


def test_a_link_is_followed_and_a_file_is_no_folder(make_run, tmp_path):
    run_dir, base = make_run()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    export_encoder(run_dir, tmp_path / "link", base=base)
    assert (tmp_path / "link").is_symlink() and compare_sums(tmp_path / "elsewhere").sound
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="no folder can be made there"):
        export_encoder(run_dir, tmp_path / "file" / "out", base=base)


def test_an_empty_folder_and_an_earlier_export_are_replaced(make_run, tmp_path):
    run_dir, base = make_run()
    (tmp_path / "out").mkdir()
    export_encoder(run_dir, tmp_path / "out", base=base)
    first = (tmp_path / "out" / "whisper_aut.json").stat().st_ino
    export_encoder(run_dir, tmp_path / "out", base=base)
    assert (tmp_path / "out" / "whisper_aut.json").stat().st_ino != first
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


def test_a_base_that_does_not_fit_the_weights_is_found_out_and_nothing_is_left(make_run, small_whisper, tmp_path):
    run_dir, _ = make_run()
    other = BaseModel(small_whisper(vocab_size=51_864, encoder_layers=3), None, "x", "MIT", "ab")  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="another shape than the checkpoint"):
        export_encoder(run_dir, tmp_path / "out", base=other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_blend_lies_between_base_and_trained_and_is_said_in_the_card(make_run, tmp_path):
    run_dir, base = make_run()
    base_weights = {name: t.clone() for name, t in base.model.model.encoder.state_dict().items()}
    trained = WhisperModel.from_pretrained(export_encoder(run_dir, tmp_path / "all", base=base)).encoder.state_dict()
    folder = export_encoder(run_dir, tmp_path / "blend", base=base, blend=0.25)
    for name, found in WhisperEncoder.from_pretrained(folder / "encoder").state_dict().items():
        torch.testing.assert_close(found, 0.75 * base_weights[name] + 0.25 * trained[name])
    assert "0.25 × trained + 0.75 × base" in (folder / "README.md").read_text()


@pytest.mark.parametrize("blend", [0.0, -0.5, 1.5, float("nan")])
def test_a_blend_outside_its_range_is_refused(make_run, tmp_path, blend):
    run_dir, base = make_run()
    with pytest.raises(CheckpointError, match="--blend"):
        export_encoder(run_dir, tmp_path / "out", base=base, blend=blend)
    assert not (tmp_path / "out").exists()


def test_another_base_than_the_runs_is_refused(make_run, tmp_path):
    run_dir, base = make_run()
    with pytest.raises(CheckpointError, match="not the one that the run began with"):
        export_encoder(run_dir, tmp_path / "out", base=replace(base, weights_sha256="other"))
