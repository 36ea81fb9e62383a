"""ONNX: the encoder at any length up to its window, ``encoder.onnx`` with the values in ``encoder.onnx.data``.

The graph is traced with weights that have shapes and no values; the values are written into the file after it, tensor
after tensor, so that a large encoder is never in memory. Names of initializers are those of ``WhisperEncoder`` under
``encoder.``: weights stay exchangeable.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from whisper_aut.constants import ENCODER_STRIDE
from whisper_aut.errors import CheckpointError
from whisper_aut.export.content import Content, check_equal
from whisper_aut.export.forms.form import Form
from whisper_aut.model.encode import encode
from whisper_aut.model.tensors import LazyTensors, TensorPlace

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

FILE = "encoder.onnx"
INPUT, OUTPUT = "input_features", "last_hidden_state"
_PREFIX = "encoder."
_MAX_BATCH = 4096
_EXAMPLE = (2, 1000)  # clips and mel frames that are traced; any other number runs


class _Encode(nn.Module):
    """``encode`` as a module, which is what can be traced."""

    def __init__(self, encoder: WhisperEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_features: Tensor) -> Tensor:
        return encode(self.encoder, input_features)


def _write(folder: Path, content: Content) -> None:
    import onnx_ir

    program = _traced(content)
    encoder = content.encoder
    unknown = sorted({name.removeprefix(_PREFIX) for name in program.model.graph.initializers} ^ set(encoder))
    if unknown:
        raise CheckpointError(
            f"the traced graph's weights are not the encoder's: {len(unknown)} differ, the first is '{unknown[0]}'",
            remedy="this torch release traces another way; report it with its version",
        )
    kind = onnx_ir.DataType.FLOAT if content.dtype == torch.float32 else onnx_ir.DataType.FLOAT16
    for name, value in program.model.graph.initializers.items():
        bare = name.removeprefix(_PREFIX)
        value.const_value = onnx_ir.LazyTensor(
            partial(_as_onnx, encoder, bare), dtype=kind, shape=onnx_ir.Shape(encoder.shape(bare)), name=name
        )
    program.save(folder / FILE, external_data=True)


def _as_onnx(tensors: LazyTensors, name: str) -> Any:
    import onnx_ir

    return onnx_ir.tensor(tensors[name].numpy(), name=name)


def _traced(content: Content) -> Any:
    """The graph as torch's exporter gives it, its weights without values."""
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    with torch.device("meta"):
        module = _Encode(WhisperEncoder(content.config)).eval().to(content.dtype)
        example = torch.empty(_EXAMPLE[0], content.config.num_mel_bins, _EXAMPLE[1], dtype=content.dtype)
    batch = torch.export.Dim("batch", min=1, max=_MAX_BATCH)
    positions = torch.export.Dim("positions", min=1, max=content.config.max_source_positions)
    with _quiet():
        return torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            # Folding constants would transpose weights and give them other names; ONNX Runtime does it on loading.
            optimize=False,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: {0: batch, 2: ENCODER_STRIDE * positions}},
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's remarks on packages that it does without held back."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _check(folder: Path, content: Content) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(folder / FILE, load_external_data=False)
    onnx.checker.check_model(str(folder / FILE))

    def reader(initializer: Any) -> Callable[[], Tensor]:
        return lambda: torch.from_numpy(numpy_helper.to_array(initializer, base_dir=str(folder)).copy())

    found = LazyTensors(
        {
            initializer.name.removeprefix(_PREFIX): TensorPlace(tuple(initializer.dims), reader(initializer))
            for initializer in model.graph.initializer
        }
    )
    check_equal(found, content.encoder, call="onnx.load(DIR/onnx/encoder.onnx)", where=str(folder))


ONNX = Form(
    "onnx",
    "onnx",
    "onnxruntime.InferenceSession('DIR/onnx/encoder.onnx')",
    _write,
    _check,
    dtype_names=("float32", "float16"),
    holds_decoder=False,
    packages=("onnx", "onnxscript"),
)
