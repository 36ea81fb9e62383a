"""The reader of CTranslate2's ``model.bin``, on files written here byte by byte."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from whisper_aut.errors import BaseModelError
from whisper_aut.model.ctranslate2 import read_whisper

_TYPE_NUMBERS = {np.dtype("<f4"): 0, np.dtype("i1"): 1, np.dtype("<i2"): 2, np.dtype("<i4"): 3, np.dtype("<f2"): 4}
D, HEADS = 4, 2


def text(value: str) -> bytes:
    encoded = value.encode() + b"\0"
    return struct.pack("<H", len(encoded)) + encoded


def tensor(name: str, array: np.ndarray) -> bytes:
    head = text(name) + struct.pack("<B", array.ndim) + struct.pack(f"<{array.ndim}I", *array.shape)
    return head + struct.pack("<BI", _TYPE_NUMBERS[array.dtype], array.nbytes) + array.tobytes()


def file_of(tensors: dict[str, np.ndarray], *, version: int = 6, specification: str = "WhisperSpec") -> bytes:
    content = struct.pack("<I", version) + text(specification) + struct.pack("<II", 3, len(tensors))
    content += b"".join(tensor(name, array) for name, array in tensors.items())
    return content + struct.pack("<I", 1) + text("decoder/projection/weight") + text("decoder/embeddings/weight")


def random(*shape: int, dtype: str = "<f4") -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    """One decoder layer's attention, an embedding, head counts: enough to see every rule of the names."""
    fused_bias = random(3 * D)
    fused_bias[D : 2 * D] = 0  # Whisper's keys have no bias
    cross_bias = random(2 * D)
    cross_bias[:D] = 0
    return {
        "encoder/num_heads": np.array(HEADS, dtype="<i2"),
        "decoder/num_heads": np.array(HEADS, dtype="<i2"),
        "decoder/alignment_heads": np.zeros((2, 2), dtype="<i2"),
        "decoder/embeddings/weight": random(9, D, dtype="<f2"),
        "encoder/layer_norm/gamma": random(D),
        "decoder/layer_0/self_attention/linear_0/weight": random(3 * D, D),
        "decoder/layer_0/self_attention/linear_0/bias": fused_bias,
        "decoder/layer_0/attention/linear_1/weight": random(2 * D, D),
        "decoder/layer_0/attention/linear_1/bias": cross_bias,
        "decoder/layer_0/ffn/layer_norm/beta": random(D),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.bin"


def test_tensors_come_back_under_transformers_names(path, tensors):
    path.write_bytes(file_of(tensors))
    state, num_heads = read_whisper(path)
    assert num_heads == {"encoder": HEADS, "decoder": HEADS}
    layer = "model.decoder.layers.0"
    fused, bias = (tensors[f"decoder/layer_0/self_attention/linear_0/{leaf}"] for leaf in ("weight", "bias"))
    cross, cross_bias = (tensors[f"decoder/layer_0/attention/linear_1/{leaf}"] for leaf in ("weight", "bias"))
    expected = {
        "model.decoder.embed_tokens.weight": tensors["decoder/embeddings/weight"].astype(np.float32),
        "model.encoder.layer_norm.weight": tensors["encoder/layer_norm/gamma"],
        f"{layer}.self_attn.q_proj.weight": fused[:D],
        f"{layer}.self_attn.k_proj.weight": fused[D : 2 * D],
        f"{layer}.self_attn.v_proj.weight": fused[2 * D :],
        f"{layer}.self_attn.q_proj.bias": bias[:D],
        f"{layer}.self_attn.v_proj.bias": bias[2 * D :],
        f"{layer}.encoder_attn.k_proj.weight": cross[:D],
        f"{layer}.encoder_attn.v_proj.weight": cross[D:],
        f"{layer}.encoder_attn.v_proj.bias": cross_bias[D:],
        f"{layer}.final_layer_norm.bias": tensors["decoder/layer_0/ffn/layer_norm/beta"],
    }
    assert set(state) == set(expected)
    for name, array in expected.items():
        assert state[name].dtype == torch.float32
        assert torch.equal(state[name], torch.from_numpy(array)), name


def test_a_file_cut_at_any_byte_is_refused(path, tensors):
    """Aliases at the end are not read: a file without them still holds every tensor."""
    whole = file_of(tensors)
    end_of_tensors = whole.index(text("decoder/projection/weight")) - 4
    for length in range(end_of_tensors):
        path.write_bytes(whole[:length])
        with pytest.raises(BaseModelError):
            read_whisper(path)
    path.write_bytes(whole[:end_of_tensors])
    assert len(read_whisper(path)[0]) == 11


def test_random_damage_is_read_or_refused_and_never_anything_else(path, tensors):
    whole = file_of(tensors)
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), size=4):
            damaged[place] = generator.integers(0, 256)
        path.write_bytes(damaged)
        try:
            read_whisper(path)
        except BaseModelError:
            refused += 1
    assert refused > 0


def test_a_huge_declared_tensor_is_refused_before_memory_is_asked_for(path):
    head = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, 1)
    claim = text("decoder/embeddings/weight") + struct.pack("<BIIBI", 2, 1 << 20, 900, 1, 900 << 20)
    path.write_bytes(head + claim)
    with pytest.raises(BaseModelError, match="ends early"):
        read_whisper(path)


@pytest.mark.parametrize("version", [0, 5, 7, 2**32 - 1])
def test_another_format_version_is_named(path, tensors, version):
    path.write_bytes(file_of(tensors, version=version))
    with pytest.raises(BaseModelError, match=f"binary format {version}; this reader knows 6"):
        read_whisper(path)


def test_another_kind_of_model_is_named(path, tensors):
    path.write_bytes(file_of(tensors, specification="TransformerSpec"))
    with pytest.raises(BaseModelError, match="'TransformerSpec', not a WhisperSpec"):
        read_whisper(path)


def test_quantised_weights_are_refused_with_the_way_out(path, tensors):
    tensors["decoder/layer_0/ffn/linear_0/weight"] = np.ones((D, D), dtype="i1")
    path.write_bytes(file_of(tensors))
    with pytest.raises(BaseModelError, match="quantised") as caught:
        read_whisper(path)
    assert "float16" in (caught.value.remedy or "")


def test_names_that_whisper_does_not_have_are_refused(path, tensors):
    tensors["encoder/layer_0/self_attention/rotary/weight"] = random(D)
    path.write_bytes(file_of(tensors))
    with pytest.raises(BaseModelError, match="rotary"):
        read_whisper(path)


def test_a_key_with_a_bias_is_not_whisper(path, tensors):
    tensors["decoder/layer_0/self_attention/linear_0/bias"][D] = 1
    path.write_bytes(file_of(tensors))
    with pytest.raises(BaseModelError, match="key's part"):
        read_whisper(path)
