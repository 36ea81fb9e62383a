"""CTranslate2's form, which faster-whisper reads: ``model.bin`` in binary format 6, the inverse of
``whisper_aut.model.ctranslate2``, written tensor after tensor. The package ctranslate2 is not needed.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from whisper_aut.export.content import Content, check_equal
from whisper_aut.export.forms.form import Form
from whisper_aut.export.stream import tensor_bytes
from whisper_aut.model.ctranslate2 import (
    BINARY_VERSION,
    INSIDE_LAYERS,
    OUTSIDE_LAYERS,
    SPECIFICATION,
    open_whisper,
)
from whisper_aut.model.tensors import LazyTensors
from whisper_aut.model.tokenizer import TOKENIZER_JSON

_REVISION = 3  # of WhisperSpec
_FLOAT32, _INT8, _INT16, _FLOAT16 = 0, 1, 2, 4  # CTranslate2's DataType enumeration
_FLOAT_KINDS = {torch.float32: _FLOAT32, torch.float16: _FLOAT16}
_GELU = 3  # its ActivationType: the exact one, which Whisper has
# What CTranslate2 has to know of a decoder in general, with Whisper's values.
_DECODER_SETTINGS = {
    "activation": (_INT8, _GELU),
    "alibi": (_INT8, 0),
    "alignment_heads": (_INT16, 1),  # of a Transformer's own alignment; Whisper's are in config.json
    "alignment_layer": (_INT16, -1),
    "pre_norm": (_INT8, 1),
    "scale_embeddings": (_INT8, 0),
    "start_from_zero_embedding": (_INT8, 0),
}
_ALIASES = {"decoder/projection/weight": "decoder/embeddings/weight"}
_OURS_OUTSIDE = {ours: theirs for theirs, ours in OUTSIDE_LAYERS.items()}
# Our module inside a layer: theirs, and all of ours that theirs fuses.
_OURS_INSIDE = {ours: (theirs, fused) for theirs, fused in INSIDE_LAYERS.items() for ours in fused}
_LAYER = re.compile(r"^model\.(encoder|decoder)\.layers\.(\d+)\.(.+)\.(weight|bias)$")


def _write(folder: Path, content: Content) -> None:
    from transformers import WhisperFeatureExtractor

    assert content.tokenizer is not None
    with (folder / "model.bin").open("wb") as file:
        write_model_bin(file, content)
    tokenizer = content.tokenizer
    (folder / "config.json").write_text(json.dumps(_settings(content), indent=2) + "\n", encoding="utf-8")
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    # CTranslate2 takes as many tokens as the embedding has rows; what some tokenizers leave out are the time stamps.
    tokens += [f"<|{number * 0.02:.2f}|>" for number in range(content.config.vocab_size - len(tokens))]
    (folder / "vocabulary.json").write_text(json.dumps(tokens, ensure_ascii=False) + "\n", encoding="utf-8")
    tokenizer.backend_tokenizer.save(str(folder / TOKENIZER_JSON))
    WhisperFeatureExtractor(feature_size=content.config.num_mel_bins).save_pretrained(folder)


def write_model_bin(file: BinaryIO, content: Content) -> None:
    """Write the tensors of a whole Whisper; see ``whisper_aut.model.ctranslate2`` for the format.

    Raises:
        OSError: the disk is full or not writable.
    """
    scalars = {f"decoder/{name}": value for name, value in _DECODER_SETTINGS.items()}
    scalars["encoder/num_heads"] = (_INT16, content.config.encoder_attention_heads)
    scalars["decoder/num_heads"] = (_INT16, content.config.decoder_attention_heads)
    tensors = _fused(content.tensors)
    file.write(struct.pack("<I", BINARY_VERSION) + _text(SPECIFICATION))
    file.write(struct.pack("<II", _REVISION, len(scalars) + len(tensors)))
    for name in sorted({*scalars, *tensors}):
        if name in scalars:
            kind, value = scalars[name]
            data = struct.pack("<b" if kind == _INT8 else "<h", value)
            file.write(_text(name) + struct.pack("<BBI", 0, kind, len(data)) + data)
            continue
        parts = tensors[name]
        shape = _fused_shape(content.tensors, parts)
        num_bytes = math.prod(shape) * content.dtype.itemsize
        head = struct.pack("<B", len(shape)) + struct.pack(f"<{len(shape)}I", *shape)
        file.write(_text(name) + head + struct.pack("<BI", _FLOAT_KINDS[content.dtype], num_bytes))
        for tensor in _read(content, parts):
            file.write(tensor_bytes(tensor))
    file.write(struct.pack("<I", len(_ALIASES)))
    for alias, name in _ALIASES.items():
        file.write(_text(alias) + _text(name))


def _fused(tensors: LazyTensors) -> dict[str, tuple[str, ...]]:
    """CTranslate2's names, with ours in order of their rows. Whisper's keys have no bias; theirs is zero."""
    names: dict[str, tuple[str, ...]] = {}
    for name in tensors:
        if name in _OURS_OUTSIDE:
            names[_OURS_OUTSIDE[name]] = (name,)
            continue
        match = _LAYER.match(name)
        assert match is not None, name
        stack, layer, module, leaf = match.groups()
        theirs, fused = _OURS_INSIDE[module]
        if theirs.endswith("layer_norm"):
            their_leaf = {"weight": "gamma", "bias": "beta"}[leaf]
        else:
            their_leaf = leaf
        names[f"{stack}/layer_{layer}/{theirs}/{their_leaf}"] = tuple(
            f"model.{stack}.layers.{layer}.{ours}.{leaf}" for ours in fused
        )
    return names


def _fused_shape(tensors: LazyTensors, parts: tuple[str, ...]) -> tuple[int, ...]:
    known = [tensors.shape(part) for part in parts if part in tensors]
    return (len(parts) * known[0][0], *known[0][1:])


def _read(content: Content, parts: tuple[str, ...]) -> Iterator[Tensor]:
    known = next(content.tensors.shape(part) for part in parts if part in content.tensors)
    for part in parts:
        yield content.tensors[part] if part in content.tensors else torch.zeros(known, dtype=content.dtype)


def _settings(content: Content) -> dict[str, object]:
    """``config.json``: what CTranslate2 asks of Whisper beside its weights."""
    generation, config = content.generation, content.config
    languages = getattr(generation, "lang_to_id", None) or {}
    # Without known ones, all heads of the upper half, as openai-whisper takes them.
    heads = getattr(generation, "alignment_heads", None) or [
        [layer, head]
        for layer in range(config.decoder_layers // 2, config.decoder_layers)
        for head in range(config.decoder_attention_heads)
    ]
    return {
        "alignment_heads": heads,
        "lang_ids": sorted(languages.values()),
        "suppress_ids": list(getattr(generation, "suppress_tokens", None) or []),
        "suppress_ids_begin": list(getattr(generation, "begin_suppress_tokens", None) or []),
    }


def _text(value: str) -> bytes:
    encoded = value.encode() + b"\0"
    return struct.pack("<H", len(encoded)) + encoded


def _check(folder: Path, content: Content) -> None:
    found, num_heads = open_whisper(folder / "model.bin")
    config = content.config
    assert num_heads == {"encoder": config.encoder_attention_heads, "decoder": config.decoder_attention_heads}
    as_float32 = LazyTensors(
        {name: place.mapped(torch.Tensor.float) for name, place in content.tensors.places().items()}
    )
    check_equal(found, as_float32, call="DIR/ctranslate2/model.bin", where=str(folder))


CTRANSLATE2 = Form(
    "ctranslate2",
    "ctranslate2",
    "faster_whisper.WhisperModel('DIR/ctranslate2')",
    _write,
    _check,
    dtype_names=("float32", "float16"),
    needs_decoder=True,
)
