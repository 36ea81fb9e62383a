"""Streamed safetensors: byte for byte what safetensors itself writes, and shards that transformers reads."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from whisper_aut.export.stream import write_safetensors
from whisper_aut.model.tensors import safetensors_folder


def tensors(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"b.weight": (3, 5), "a.bias": (7,), "ä": (2, 1, 3), "empty": (0, 4)}
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def written(folder, state, **options):
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    write_safetensors(folder, shapes, state.__getitem__, next(iter(state.values())).dtype, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_one_file_is_what_safetensors_writes(tmp_path, dtype):
    written(tmp_path, tensors(dtype))
    save_file(tensors(dtype), tmp_path / "reference.safetensors", {"format": "pt"})
    assert (tmp_path / "model.safetensors").read_bytes() == (tmp_path / "reference.safetensors").read_bytes()


def test_shards_are_no_larger_than_allowed_and_named_by_an_index(tmp_path):
    state = tensors(torch.float32)
    written(tmp_path, state, max_shard_bytes=64)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(state)
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in state.values())
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert files == [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    assert all(sum(t.nbytes for t in load_file(tmp_path / file).values()) <= 64 for file in files)
    found = safetensors_folder(tmp_path)
    assert set(found) == set(state)
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


def test_transformers_loads_the_shards(tmp_path, small_whisper):
    from transformers import WhisperForConditionalGeneration

    model = small_whisper()
    state = {name: t for name, t in model.state_dict().items() if name != "proj_out.weight"}
    written(tmp_path, state, max_shard_bytes=20_000)
    model.config.save_pretrained(tmp_path)
    loaded, info = WhisperForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in loaded.state_dict().items())
