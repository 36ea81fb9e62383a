"""openai-whisper's form: one file that ``whisper.load_model(FILE)`` takes. The package is not needed to write it.

``torch.save`` wants all tensors in memory. Its file is a zip archive of a small pickle, which names tensors and where
their values are, and the values; both are written here, tensor after tensor, with check sums that unzip agrees with.
An encoder alone is a Whisper without tokens and decoder layers (``n_vocab`` and ``n_text_layer`` are 0).
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._utils import _rebuild_tensor_v2

from whisper_aut.export.content import Content, check_equal, shapes_of
from whisper_aut.export.forms.form import Form
from whisper_aut.export.stream import tensor_bytes
from whisper_aut.model.openai import open_openai, openai_name
from whisper_aut.model.tokenizer import TOKENIZER_JSON

FILE = "model.pt"
_STORAGES = {torch.float32: torch.FloatStorage, torch.float16: torch.HalfStorage}
_ARCHIVE = "model"
_ALIGNMENT = 64  # of values in torch's own files, so that they can be mapped
_LOCAL_HEADER_BYTES = 30
_EXTRA_ID = 0x4246  # "FB": padding, as torch marks it
_EMPTY_DECODER = {
    "decoder.positional_embedding": (0, 0),
    "decoder.token_embedding.weight": (0, 0),
    "decoder.ln.weight": (0,),
    "decoder.ln.bias": (0,),
}


def _write(folder: Path, content: Content) -> None:
    shapes = {openai_name(name): shape for name, shape in shapes_of(content.tensors).items()}
    ours = {openai_name(name): name for name in content.tensors}
    empty = {} if content.has_decoder else _EMPTY_DECODER

    def read(name: str) -> Tensor:
        return torch.empty(empty[name], dtype=content.dtype) if name in empty else content.tensors[ours[name]]

    write_torch_file(folder / FILE, {"dims": dimensions(content)}, shapes | empty, read, content.dtype)
    if content.tokenizer is not None:
        # Not openai-whisper's need, but ours: the file can be a base again where that package is not installed.
        content.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER_JSON))


def dimensions(content: Content) -> dict[str, int]:
    """``ModelDimensions`` of openai-whisper."""
    config = content.config
    audio = {
        "n_mels": config.num_mel_bins,
        "n_audio_ctx": config.max_source_positions,
        "n_audio_state": config.d_model,
        "n_audio_head": config.encoder_attention_heads,
        "n_audio_layer": config.encoder_layers,
    }
    if not content.has_decoder:
        return audio | {"n_vocab": 0, "n_text_ctx": 0, "n_text_state": 0, "n_text_head": 1, "n_text_layer": 0}
    return audio | {
        "n_vocab": config.vocab_size,
        "n_text_ctx": config.max_target_positions,
        "n_text_state": config.d_model,
        "n_text_head": config.decoder_attention_heads,
        "n_text_layer": config.decoder_layers,
    }


def write_torch_file(
    path: Path,
    others: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    read: Callable[[str], Tensor],
    dtype: torch.dtype,
) -> None:
    """Write what ``torch.save({**others, "model_state_dict": {…}}, path)`` would.

    Args:
        path: the file.
        others: plain values beside the tensors.
        shapes: of every tensor, by name.
        read: gives a contiguous tensor of that shape in ``dtype``.
        dtype: float32 or float16.

    Raises:
        OSError: the disk is full or not writable.
    """
    state = OrderedDict(
        (name, _Placeholder(_Values(str(number), math.prod(shape), dtype), shape))
        for number, (name, shape) in enumerate(shapes.items())
    )
    description = io.BytesIO()
    _Pickler(description, protocol=2).dump({**others, "model_state_dict": state})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "data.pkl", memoryview(description.getvalue()))
        _add(archive, "byteorder", memoryview(b"little"))
        for number, name in enumerate(shapes):
            _add(archive, f"data/{number}", tensor_bytes(read(name)))
        _add(archive, "version", memoryview(b"3\n"))


@dataclass(frozen=True)
class _Values:
    """The values of a tensor, which are in a record of their own."""

    key: str
    count: int
    dtype: torch.dtype


@dataclass(frozen=True)
class _Placeholder:
    """A tensor that is not there while the description is written."""

    values: _Values
    shape: tuple[int, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        stride = tuple(math.prod(self.shape[i + 1 :]) for i in range(len(self.shape)))
        return _rebuild_tensor_v2, (self.values, 0, self.shape, stride, False, OrderedDict())


class _Pickler(pickle.Pickler):
    """Writes values as torch does: by a name that its reader looks up in the archive."""

    def persistent_id(self, obj: Any) -> Any:
        """The name, for values; None for all else, which is written as it is."""
        if isinstance(obj, _Values):
            return ("storage", _STORAGES[obj.dtype], obj.key, "cpu", obj.count)
        return None


def _add(archive: zipfile.ZipFile, name: str, data: memoryview) -> None:
    info = zipfile.ZipInfo(f"{_ARCHIVE}/{name}")
    info.file_size = data.nbytes
    assert archive.fp is not None
    head = archive.fp.tell() + _LOCAL_HEADER_BYTES + len(info.filename.encode()) + 4
    padding = -head % _ALIGNMENT
    info.extra = struct.pack("<HH", _EXTRA_ID, padding) + b"Z" * padding
    with archive.open(info, "w") as record:
        record.write(data)


def _check(folder: Path, content: Content) -> None:
    found, dims = open_openai(folder / FILE)
    assert dims == dimensions(content)
    check_equal(found, content.tensors, call="torch.load(DIR/openai/model.pt)", where=str(folder))


OPENAI = Form(
    "openai", "openai", "whisper.load_model('DIR/openai/model.pt')", _write, _check, dtype_names=("float32", "float16")
)
