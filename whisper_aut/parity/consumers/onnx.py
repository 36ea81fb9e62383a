"""ONNX Runtime: several clips at once, the fixed window of 30 s, and lengths trimmed to each clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whisper_aut.parity.compare import Distance, Mismatch, check_names, distance
from whisper_aut.parity.consumers.base import Consumer, Found, over_clips
from whisper_aut.parity.reference import Reference

_INPUT, _OUTPUT = "input_features", "last_hidden_state"
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def _session(folder: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; warnings about its own graph passes say nothing of the file
    path = str(folder / "onnx" / "encoder.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    check_names({one.name for one in session.get_inputs()}, {_INPUT}, "the inputs of encoder.onnx")
    check_names({one.name for one in session.get_outputs()}, {_OUTPUT}, "the outputs of encoder.onnx")
    return session


def _run(session: Any, features: Tensor) -> Tensor:
    kind = session.get_inputs()[0].type
    if kind not in _TYPES:
        raise Mismatch(f"the input is {kind}; ONNX Runtime on a processor takes {' or '.join(_TYPES)}")
    (states,) = session.run([_OUTPUT], {_INPUT: features.numpy().astype(_TYPES[kind])})
    return torch.from_numpy(np.asarray(states, np.float32))


def _fixed(session: Any, reference: Reference) -> Distance:
    return over_clips(
        reference, lambda i: distance(_run(session, reference.features[i : i + 1]), reference.states[i : i + 1])
    )


def _batch(session: Any, reference: Reference) -> Distance:
    features, states = (torch.cat([part, part[:1]]) for part in (reference.features, reference.states))
    return distance(_run(session, features), states)


def _trimmed(session: Any, reference: Reference) -> Distance:
    def states_of(clip: int) -> Distance:
        features, states = reference.trimmed(clip)
        return distance(_run(session, features), states)

    return over_clips(reference, states_of)


def _graph(folder: Path, reference: Reference) -> Found:
    """Weights that the graph holds and no node uses are unexpected; those it uses and does not hold are missing."""
    import onnx

    # Checked with the weights' own file, by path: a large model's weights lie beside the graph.
    onnx.checker.check_model(str(folder / "onnx" / "encoder.onnx"))
    graph = onnx.load(str(folder / "onnx" / "encoder.onnx"), load_external_data=False).graph
    held = {weight.name for weight in graph.initializer}
    used, made = _names(graph)
    check_names(held, (held & used) | (used - made), "the weights of encoder.onnx")
    return _found(_fixed, folder, reference)


def _names(graph: Any) -> tuple[set[str], set[str]]:
    """Names that nodes read and names that they (or the caller) make, those of graphs within nodes included."""
    used = {one.name for one in graph.output}
    made = {one.name for one in graph.input}
    for node in graph.node:
        used |= {name for name in node.input if name}
        made |= set(node.output)
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                inner_used, inner_made = _names(inner)
                used, made = used | inner_used, made | inner_made | {weight.name for weight in inner.initializer}
    return used, made


def _row(compare: Callable[[Any, Reference], Distance]) -> Callable[[Path, Reference], Found]:
    return lambda folder, reference: _found(compare, folder, reference)


def _found(compare: Callable[[Any, Reference], Distance], folder: Path, reference: Reference) -> Found:
    session = _session(folder)
    distance = compare(session, reference)
    return Found(distance, computed_in=np.dtype(_TYPES[session.get_inputs()[0].type]).name)


_RUNTIME = ("onnxruntime",)
CONSUMERS = (
    Consumer("ONNX, checked graph", "onnx", ("onnx", "onnxruntime"), "onnx.checker.check_model(FILE)", _graph),
    Consumer("ONNX Runtime, 30 s", "onnx", _RUNTIME, "InferenceSession(FILE).run([1, M, 3000])", _row(_fixed)),
    Consumer("ONNX Runtime, batch", "onnx", _RUNTIME, "InferenceSession(FILE).run([B, M, 3000])", _row(_batch)),
    Consumer("ONNX Runtime, trimmed", "onnx", _RUNTIME, "InferenceSession(FILE).run([1, M, F])", _row(_trimmed)),
)
