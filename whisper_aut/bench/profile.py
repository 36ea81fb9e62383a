"""Where the time of a training step goes: operators of a few steps, under names that people use."""

from __future__ import annotations

import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from whisper_aut.bench.clips import clips_of_length
from whisper_aut.bench.train import TrainBench, recipe_of
from whisper_aut.bench.train_sides import lone_stepper, steps_of
from whisper_aut.train.engine import start_distributed, stop_distributed
from whisper_aut.train.loop import prepare
from whisper_aut.train.preempt import StopRequest
from whisper_aut.train.schedule import learning_rate

LARGEST = 5  # groups that the table shows

_OPERATORS = 20  # single operators, with the shapes of their inputs, in the JSON

_VOCABULARY = "vocabulary projection"
_PYTHON = "Python and DeepSpeed between operators"
_READING = "reading, decoding and tokenising clips"
# The first pattern that an operator's name has, decides. Regions of ours are named in capitals.
_GROUPS = (
    (r"^READ$|DataLoader", _READING),
    (r"^STEP$", _PYTHON),
    (r"scaled_dot_product|flash_attention|efficient_attention", "attention (scores and weighting)"),
    (r"conv", "convolutions"),
    (r"adam|_foreach_(add|mul|div|sqrt|lerp|addcmul|addcdiv)", "optimizer"),
    (r"(^|::|_)(mm|addmm|bmm|baddbmm|matmul|linear|mkldnn_linear.*)(_backward)?$", "matrix products"),
    (r"fft|stft|hann|log10", "log-mel"),
    (r"gelu", "GELU"),
    (r"layer_norm", "layer norms"),
    (r"log_softmax|nll_loss|cross_entropy", "cross entropy"),
    (r"copy_|_to_copy|::to$|clone|contiguous|cat$|flatten|narrow_copy", "casts and copies"),
    (r"norm|isfinite|isinf|isnan", "gradient norm and checks"),
    (r"::(add|add_|mul|mul_|div|div_|sum|fill_|zero_|sub|neg)$", "sums, scaling, filling"),
    (r"embedding|index", "embeddings and indexing"),
)


def measure_profile(
    asked: TrainBench, *, steps: int, precision: Literal["bf16", "fp32"], warm_up_steps: int = 2
) -> dict[str, Any]:
    """Share of every group of operators in ``steps`` training steps of ours, after some that are not counted.

    On a GPU the time is that of the device's kernels, on a CPU that of the operators themselves, without what they
    call. The profiler slows every operator a little; ``step, s`` is measured without it.

    Raises:
        WhisperAutError: base or manifest cannot be used.
    """
    total = warm_up_steps + 2 * steps
    ranks = start_distributed()
    device = ranks.device
    try:
        with tempfile.TemporaryDirectory() as folder:
            manifest = clips_of_length(
                Path(folder), asked.manifest, asked.clip_sec,
                at_least=asked.clips_per_step, at_most=asked.clips_per_step * total,
            )  # fmt: skip
            recipe = recipe_of(asked, manifest, total, precision=precision, full_window_fraction=0.0)
            prepared = prepare(recipe)
            batches = steps_of(prepared)
            stepper = lone_stepper(prepared, ranks)
            vocab_size = prepared.base.model.config.vocab_size

            def step() -> None:
                with record_function("READ"):
                    number, of_step = next(batches)
                with record_function("STEP"):
                    stepper(of_step, learning_rate(number, total, recipe.train), number=number, stop=StopRequest())
                if device.type == "cuda":
                    torch.cuda.synchronize()

            for _ in range(warm_up_steps):
                step()
            begun_sec = time.perf_counter()
            for _ in range(steps):
                step()
            step_sec = (time.perf_counter() - begun_sec) / steps
            activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
            with profile(activities=activities, record_shapes=True) as profiler:
                for _ in range(steps):
                    step()
            events = profiler.key_averages(group_by_input_shape=True)
    finally:
        stop_distributed()
    seconds = grouped(events, vocab_size, on_device=device.type == "cuda")
    whole = sum(seconds.values())
    operators = sorted(events, key=lambda event: -_own_us(event, device.type == "cuda"))[:_OPERATORS]
    return {
        "base": asked.base,
        "clip, s": asked.clip_sec,
        "clips per step": asked.clips_per_step,
        "clips per micro-batch": asked.micro_batch_clips,
        "precision": precision,
        "device": asked.device,
        "step, s": step_sec,
        "profiled step, s": whole / steps,
        "costs": [
            {"what": what, "s a step": spent / steps, "share": spent / whole}
            for what, spent in sorted(seconds.items(), key=lambda item: -item[1])
        ],
        "operators": [
            {
                "name": event.key,
                "shapes": str(event.input_shapes),
                "calls a step": event.count / steps,
                "s a step": _own_us(event, device.type == "cuda") / 1e6 / steps,
            }
            for event in operators
        ],
    }


def grouped(events: Iterable[Any], vocab_size: int, *, on_device: bool) -> dict[str, float]:
    """Seconds by group of the profiler's averaged events, each operator's own time without what it calls."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for event in events:
        seconds[group_of(event.key, event.input_shapes, vocab_size)] += _own_us(event, on_device) / 1e6
    return {what: spent for what, spent in seconds.items() if spent > 0}


def _own_us(event: Any, on_device: bool) -> float:
    if event.device_type != DeviceType.CPU:
        return 0.0  # a kernel, whose time its operator has as well
    return float(event.self_device_time_total if on_device else event.self_cpu_time_total)


def group_of(name: str, shapes: list[list[int]] | None, vocab_size: int) -> str:
    """Readable name for an operator, by its own name and the shapes of its inputs."""
    for pattern, group in _GROUPS:
        if re.search(pattern, name):
            in_vocabulary = any(vocab_size in shape for shape in shapes or () if isinstance(shape, list))
            return _VOCABULARY if group == "matrix products" and in_vocabulary else group
    return f"other: {name}" if name.isupper() else "other operators"


def table(numbers: dict[str, Any]) -> list[str]:
    """The largest costs as lines for the screen."""
    lines = [
        f"{numbers['base']}, clips of {numbers['clip, s']:g} s, {numbers['clips per step']} a step "
        f"({numbers['clips per micro-batch']} a micro-batch), {numbers['precision']} on {numbers['device']}: "
        f"{numbers['step, s']:.3g} s a step ({numbers['profiled step, s']:.3g} s profiled)",
        f"{'':44}{'s a step':>9}{'share':>8}",
    ]
    for cost in numbers["costs"][:LARGEST]:
        lines.append(f"{cost['what']:44}{cost['s a step']:9.3g}{cost['share']:8.1%}")
    rest = numbers["costs"][LARGEST:]
    spent, share = sum(cost["s a step"] for cost in rest), sum(cost["share"] for cost in rest)
    return [*lines, f"{'all else':44}{spent:9.3g}{share:8.1%}"]
