"""Tensors that are read when they are asked for."""

import json

import pytest
import torch
from safetensors.torch import save_file

from whisper_aut.errors import BaseModelError
from whisper_aut.model.hashes import weights_sha256
from whisper_aut.model.tensors import LazyTensors, blended, safetensors_file, safetensors_folder

STATE = {"a.x": torch.arange(6.0).reshape(2, 3), "a.y": torch.ones(2).half(), "b.x": torch.zeros(1, 0)}


def test_a_file_gives_what_was_saved_each_time_anew(tmp_path):
    save_file(STATE, tmp_path / "model.safetensors")
    found = safetensors_folder(tmp_path)
    assert set(found) == set(STATE)
    for name, tensor in STATE.items():
        assert found.shape(name) == tuple(tensor.shape)
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype
    found["a.x"].zero_()
    assert torch.equal(found["a.x"], STATE["a.x"])
    assert weights_sha256(found) == weights_sha256(STATE)


def test_names_are_selected_and_renamed():
    found = LazyTensors.of_state(STATE).under("a.", "c.")
    assert set(found) == {"c.x", "c.y"}
    assert torch.equal(found["c.x"], STATE["a.x"])
    assert torch.equal(found.with_others(LazyTensors.of_state({"c.x": torch.zeros(1)}))["c.x"], torch.zeros(1))


def test_a_file_that_is_gone_or_damaged_later_is_a_users_error(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(STATE, path)
    found = safetensors_file(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(BaseModelError, match="cannot be read"):
        found["a.x"]
    path.unlink()
    with pytest.raises(BaseModelError, match="cannot be read"):
        found["a.x"]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "cannot be read"),
        ('{"weight_map": {"a": "../model.safetensors"}}', "not in the folder"),
        ('{"weight_map": {"a": 3}}', "not in the folder"),
        ('{"weight_map": {"a": "one.safetensors"}}', "the weights cannot be read"),
    ],
)
def test_an_index_that_cannot_be_used(tmp_path, index, message):
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(BaseModelError, match=message):
        safetensors_folder(tmp_path)


def test_an_index_and_shards_that_differ(tmp_path):
    save_file(STATE, tmp_path / "one.safetensors")
    index = {"weight_map": {"a.x": "one.safetensors", "z": "one.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BaseModelError, match=r"differ in 3 tensors, the first is 'a\.y'"):
        safetensors_folder(tmp_path)


def test_a_folder_without_safetensors(tmp_path):
    with pytest.raises(BaseModelError, match=r"neither model\.safetensors nor"):
        safetensors_folder(tmp_path)


def test_a_blend_is_linear_and_needs_the_same_shapes():
    base = LazyTensors.of_state({"a": torch.tensor([0.0, 4.0])})
    trained = LazyTensors.of_state({"a": torch.tensor([1.0, 0.0])})
    assert blended(trained, base, 0.25)["a"].tolist() == [0.25, 3.0]
    assert blended(trained, base, 1) is trained
    for other in ({"b": torch.zeros(2)}, {"a": torch.zeros(3)}):
        with pytest.raises(BaseModelError, match="to blend with"):
            blended(trained, LazyTensors.of_state(other), 0.5)
