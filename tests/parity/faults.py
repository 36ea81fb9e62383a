"""Faults for exports: each file with a key renamed, dropped or added, and with two layers exchanged."""

import re
import struct
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

FAULTS = ("renamed", "dropped", "added", "exchanged")
Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def change(fault: str, layers: str) -> Change:
    """What a fault does to the tensors of a file. ``layers``: the prefix of layers, as 'model.encoder.layers.'."""

    def changed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        victim = next(name for name in sorted(tensors) if name.startswith(f"{layers}1."))
        if fault == "renamed":
            return {("wrong." + name if name == victim else name): value for name, value in tensors.items()}
        if fault == "dropped":
            return {name: value for name, value in tensors.items() if name != victim}
        if fault == "added":
            return tensors | {f"{layers}9.surprise": torch.zeros(2)}
        return {_exchanged(name, layers): value for name, value in tensors.items()}

    return changed


def _exchanged(name: str, layers: str) -> str:
    other = {"1": "2", "2": "1"}
    return re.sub(rf"^{re.escape(layers)}([12])\.", lambda found: f"{layers}{other[found[1]]}.", name)


def break_safetensors(path: Path, fault: str, layers: str) -> None:
    """In place; links of the file elsewhere keep what they had."""
    tensors = load_file(path)
    path.unlink()
    save_file(change(fault, layers)(tensors), path, {"format": "pt"})


def break_openai(path: Path, fault: str) -> None:
    """As above."""
    content = torch.load(path, weights_only=True)
    path.unlink()
    state = dict(content["model_state_dict"])
    torch.save(content | {"model_state_dict": change(fault, "encoder.blocks.")(state)}, path)


def break_onnx(path: Path, fault: str) -> None:
    """As above; the values' own file stays as it is, except where one is added."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path), load_external_data=False)
    path.unlink()
    held = model.graph.initializer
    victim = next(weight for weight in held if weight.name.startswith("encoder.layers.1."))
    if fault == "renamed":
        victim.name = "wrong." + victim.name
    elif fault == "dropped":
        held.remove(victim)
    elif fault == "added":
        held.append(numpy_helper.from_array(torch.zeros(2).numpy(), "encoder.layers.9.surprise"))
    else:
        for weight in held:
            weight.name = _exchanged(weight.name, "encoder.layers.")
    path.write_bytes(model.SerializeToString())


def break_ctranslate2(path: Path, fault: str) -> None:
    """As above, in the bytes: names of the same length, or one tensor more or less and a count."""
    content = path.read_bytes()
    path.unlink()
    victim = b"encoder/layer_1/ffn/layer_norm/beta"
    if fault == "renamed":
        content = content.replace(victim, b"encoder/layer_1/ffn/layer_morn/beta")
    elif fault == "exchanged":
        content = content.replace(b"encoder/layer_1/", b"encoder/layer_@/")
        content = content.replace(b"encoder/layer_2/", b"encoder/layer_1/").replace(b"layer_@/", b"layer_2/")
    else:
        begin = content.index(victim) - 2
        num_name = struct.unpack_from("<H", content, begin)[0]
        size_at = begin + 2 + num_name + 1 + 4 + 1  # a vector: rank, one dimension, type
        end = size_at + 4 + struct.unpack_from("<I", content, size_at)[0]
        count_at = 4 + 2 + struct.unpack_from("<H", content, 4)[0] + 4
        count = struct.unpack_from("<I", content, count_at)[0]
        if fault == "dropped":
            content = content[:begin] + content[end:]
            count -= 1
        else:
            extra = content[begin:end].replace(victim, b"encoder/layer_9/ffn/layer_norm/beta")
            content = content[:end] + extra + content[end:]
            count += 1
        content = content[:count_at] + struct.pack("<I", count) + content[count_at + 4 :]
    path.write_bytes(content)


def break_form(export: Path, form: str, fault: str) -> None:
    """Put a fault into the file of a form."""
    if form == "hf":
        break_safetensors(export / "model.safetensors", fault, "model.encoder.layers.")
    elif form in {"encoder", "qwen2-audio"}:
        break_safetensors(export / form / "model.safetensors", fault, "layers.")
    elif form == "openai":
        break_openai(export / "openai" / "model.pt", fault)
    elif form == "onnx":
        break_onnx(export / "onnx" / "encoder.onnx", fault)
    else:
        break_ctranslate2(export / "ctranslate2" / "model.bin", fault)
