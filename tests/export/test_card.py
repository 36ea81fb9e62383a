"""The model card: licences are told, results find their place."""

import pytest
import yaml

from whisper_aut.export.card import is_non_commercial, model_card, write_results


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


def test_a_card_that_is_not_ours_is_left_alone(tmp_path):
    write_results(tmp_path, "| a |")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "README.md").write_text("# Mine\n<!-- results -->\nno end")
    write_results(tmp_path, "| a |")
    assert (tmp_path / "README.md").read_text() == "# Mine\n<!-- results -->\nno end"
