"""Strategies of DeepSpeed: the shipped ones are read, wrong ones are refused with what to do."""

import json
from pathlib import Path
from typing import Any

import pytest

from whisper_aut.errors import RecipeError
from whisper_aut.train.strategy import read_strategy


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize("name", ["zero1", "zero2", "zero2_offload", "zero3", "zero3_offload"])
def test_shipped_strategies_are_read(name):
    assert read_strategy(name)["zero_optimization"]["stage"] == int(name[4])


@pytest.mark.parametrize(
    "key", ["train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "optimizer",
            "scheduler", "gradient_clipping", "bf16", "fp16"],
)  # fmt: skip
def test_a_strategy_that_sets_what_the_recipe_owns_is_refused(tmp_path, key):
    path = write(tmp_path / "mine.json", {"zero_optimization": {"stage": 2}, key: 8})
    with pytest.raises(RecipeError, match=f"sets '{key}', which the recipe owns") as caught:
        read_strategy(path)
    assert "train." in (caught.value.remedy or "")


@pytest.mark.parametrize(
    "content", [{}, [], {"zero_optimization": {"stage": 0}}, {"zero_optimization": {"stage": "2"}}]
)
def test_a_strategy_without_a_known_stage_is_refused(tmp_path, content):
    with pytest.raises(RecipeError, match=r"zero_optimization\.stage is"):
        read_strategy(write(tmp_path / "mine.json", content))


@pytest.mark.parametrize("content", [{"zero_optimization": 2}, {"zero_optimization": None}])
def test_a_strategy_whose_section_is_no_mapping_is_refused(tmp_path, content):
    with pytest.raises(RecipeError, match=r"zero_optimization\.stage is"):
        read_strategy(write(tmp_path / "mine.json", content))


def test_an_unknown_strategy_names_the_known_ones(tmp_path):
    with pytest.raises(RecipeError, match="no strategy 'zero9'") as caught:
        read_strategy("zero9")
    assert "zero1, zero2, zero2_offload, zero3, zero3_offload" in (caught.value.remedy or "")
    with pytest.raises(RecipeError, match="no strategy"):
        read_strategy(str(tmp_path / "absent.json"))


def test_a_strategy_that_is_not_json_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="not JSON"):
        read_strategy(write(tmp_path / "mine.json", "{'stage': 2}"))
