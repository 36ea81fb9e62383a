"""The measurements of ``bench gpu``: each is a generator of results in a process of its own.

Nothing here reads a file or needs a package beyond torch, transformers and scikit-learn, but for DeepSpeed's own jobs:
waveforms are noise and weights random, since speed is all that is asked. Legend: B clips in a micro-batch, S samples,
M mel bins, F mel frames, L text tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from whisper_aut.constants import CONTEXTS, HOP_LENGTH, SAMPLE_RATE, WINDOW_FRAMES, WINDOW_SEC, context_frames
from whisper_aut.data.features import LogMel
from whisper_aut.errors import first_line
from whisper_aut.model.compiled import compile_layers
from whisper_aut.model.encode import encode
from whisper_aut.model.loss import WhisperSummedLoss
from whisper_aut.train.environment import peak_memory_gb
from whisper_aut.train.flops import peak_flops, useful_flops

if TYPE_CHECKING:
    from transformers import WhisperForConditionalGeneration

Result = dict[str, Any]
ShapeName = Literal["large-v3", "tiny"]

# large-v3 as it was released; tiny is for trying the command itself, not OpenAI's model of that name.
_SHAPES: dict[ShapeName, dict[str, int]] = {
    "large-v3": {
        "d_model": 1280, "encoder_layers": 32, "decoder_layers": 32, "encoder_attention_heads": 20,
        "decoder_attention_heads": 20, "encoder_ffn_dim": 5120, "decoder_ffn_dim": 5120, "vocab_size": 51866,
        "num_mel_bins": 128,
    },
    "tiny": {
        "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "vocab_size": 300,
        "num_mel_bins": 80,
    },
}  # fmt: skip

_MICRO_BATCHES = 2  # of a step, as in the paper: 128 clips = 8 a micro-batch x 8 GPUs x 2
_LR = 1e-5
_MAX_GRAD_NORM = 1.0
_WARM_UP = 2  # calls of what is timed
_TIMED_SEC = 2.0  # of each case, at least
_TIMED_CALLS = (3, 20)  # at least, at most


@dataclass(frozen=True)
class Setting:
    """Where a measurement runs, and on what model."""

    device: str
    shape: ShapeName


@dataclass(frozen=True)
class Case:
    """Clips of one length in micro-batches of one size."""

    clip_sec: float
    micro_batch_clips: int
    num_tokens: int


def train_plain(
    setting: Setting, cases: Sequence[Case], *, gradient_checkpointing: bool = False, compiled: bool = False
) -> Iterator[Result]:
    """A step of ours without DeepSpeed: bf16 weights, float32 masters, moments and sums of gradients, fused AdamW."""
    module = WhisperSummedLoss(
        _whisper(setting, torch.bfloat16).train(), gradient_checkpointing=gradient_checkpointing
    )  # fmt: skip
    if compiled and not compile_layers(module, torch.bfloat16, zero_stage=0):
        raise RuntimeError("the layers cannot be compiled; a warning before this says why")
    optimizer = _MasterAdamW(module)

    def backward(loss: Tensor, step_tokens: int, last: bool) -> None:
        (loss / step_tokens).backward()

    yield from _train_cases(
        setting, cases, module.whisper.config, forward=module, dtype=torch.bfloat16, backward=backward,
        update=optimizer.step,
        about={
            "engine": "plain PyTorch",
            "activation checkpointing": gradient_checkpointing,
            "torch.compile": compiled,
        },
    )  # fmt: skip


def train_deepspeed(
    setting: Setting, cases: Sequence[Case], *, zero_stage: int, gradient_checkpointing: bool = False
) -> Iterator[Result]:
    """A step of ours as ``whisper-aut train`` runs it on one GPU."""
    from whisper_aut.config import TrainConfig
    from whisper_aut.train.engine import Engine, start_distributed, stop_distributed

    start_distributed()
    try:
        for case in cases:  # an engine is made for one size of micro-batches
            config = TrainConfig(
                steps=1_000, clips_per_step=_MICRO_BATCHES * case.micro_batch_clips, precision="bf16",
                micro_batch_clips=case.micro_batch_clips, deepspeed=f"zero{zero_stage}", max_grad_norm=_MAX_GRAD_NORM,
            )  # fmt: skip
            module = WhisperSummedLoss(
                _whisper(setting, torch.float32).train(), gradient_checkpointing=gradient_checkpointing
            )
            engine = Engine(module, config, num_micro_batches=_MICRO_BATCHES)

            def backward(loss: Tensor, step_tokens: int, last: bool, engine: Engine = engine) -> None:
                engine.backward(loss, step_tokens=step_tokens)
                engine.end_micro_batch(_LR, last=last)

            yield from _train_cases(
                setting, [case], module.whisper.config, forward=engine, dtype=torch.bfloat16, backward=backward,
                update=lambda: None,
                about={
                    "engine": f"DeepSpeed ZeRO-{zero_stage}",
                    "activation checkpointing": gradient_checkpointing,
                    "torch.compile": False,
                },
            )  # fmt: skip
    finally:
        stop_distributed()


def train_padded(setting: Setting, cases: Sequence[Case]) -> Iterator[Result]:
    """What Hugging Face's trainer does with ``bf16=True``: float32 weights under autocast, features padded to 30 s and
    computed beforehand, all logits in float32, AdamW."""
    whisper = _whisper(setting, torch.float32).train()
    parameters = [parameter for parameter in whisper.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=_LR, fused=True)
    device_type = torch.device(setting.device).type
    bins = whisper.config.num_mel_bins

    def forward(features: Tensor, decoder_input_ids: Tensor, labels: Tensor) -> Tensor:
        padded = torch.zeros(len(features), bins, WINDOW_FRAMES, device=setting.device)
        with torch.autocast(device_type, torch.bfloat16):
            outputs = whisper(padded, decoder_input_ids=decoder_input_ids, labels=labels, use_cache=False)
        loss: Tensor = outputs.loss
        return loss

    def backward(loss: Tensor, step_tokens: int, last: bool) -> None:
        (loss / _MICRO_BATCHES).backward()

    def update() -> None:
        nn.utils.clip_grad_norm_(parameters, _MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad()

    yield from _train_cases(
        setting, cases, whisper.config, forward=forward, dtype=torch.float32, backward=backward, update=update,
        about={"engine": "as Hugging Face's trainer, 30 s", "activation checkpointing": False, "torch.compile": False},
    )  # fmt: skip


def log_mel(setting: Setting, clip_secs: Sequence[float], num_clips: int) -> Iterator[Result]:
    """Seconds of audio a second that become features, waveforms already on the device."""
    front_end = LogMel(_SHAPES[setting.shape]["num_mel_bins"]).to(setting.device)
    for clip_sec in clip_secs:
        waveforms = _waveforms(num_clips, clip_sec).to(setting.device)

        def call(waveforms: Tensor = waveforms) -> None:
            front_end(waveforms)

        what = {"clip, s": clip_sec, "clips": num_clips}
        yield _guarded(what, partial(_rates, setting, call, num_clips, clip_sec))


def embeddings(setting: Setting, clip_sec: float, batch_frames: int) -> Iterator[Result]:
    """Log-mel, encoder and mean over its positions in bf16: clips padded to 30 s, and at their own length."""
    encoder = _whisper(setting, torch.bfloat16).model.encoder.eval()
    front_end = LogMel(_SHAPES[setting.shape]["num_mel_bins"]).to(setting.device)
    for context in CONTEXTS:
        computed_sec = float(WINDOW_SEC) if context == "full" else clip_sec
        num_clips = max(1, batch_frames // context_frames(round(clip_sec * SAMPLE_RATE), context))
        waveforms = _waveforms(num_clips, computed_sec)
        if setting.device != "cpu":
            waveforms = waveforms.pin_memory()

        def call(waveforms: Tensor = waveforms) -> None:
            with torch.inference_mode():
                features = front_end(waveforms.to(setting.device, non_blocking=True)).to(torch.bfloat16)
                encode(encoder, features).float().mean(dim=1).cpu()

        what = {"context": context, "clip, s": clip_sec, "clips": num_clips}
        yield _guarded(what, partial(_rates, setting, call, num_clips, clip_sec))


def head(setting: Setting, num_clips: int, width: int, num_classes: int) -> Iterator[Result]:
    """One logistic regression, as ``bench head`` measures it."""
    from whisper_aut.bench.head import measure_head

    yield {"status": "ok"} | measure_head(num_clips, width, num_classes, 0.01, device=setting.device, reference=False)


class _MasterAdamW:
    """AdamW on float32 copies of bf16 weights; gradients of micro-batches are summed in float32 as they appear."""

    def __init__(self, module: nn.Module) -> None:
        self._weights = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._masters = [nn.Parameter(weight.detach().float()) for weight in self._weights]
        groups = [
            {"params": [master for master in self._masters if master.ndim > 1], "weight_decay": 0.01},
            {"params": [master for master in self._masters if master.ndim <= 1], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=_LR, fused=True)
        for weight, master in zip(self._weights, self._masters, strict=True):
            weight.register_post_accumulate_grad_hook(_summed_into(master))

    def step(self) -> None:
        """Clip, update the masters, round them into the weights."""
        nn.utils.clip_grad_norm_(self._masters, _MAX_GRAD_NORM)
        self._optimizer.step()
        self._optimizer.zero_grad()
        with torch.no_grad():
            torch._foreach_copy_([weight.data for weight in self._weights], [master.data for master in self._masters])


def _summed_into(master: nn.Parameter) -> Callable[[Tensor], None]:
    def hook(weight: Tensor) -> None:
        assert weight.grad is not None
        if master.grad is None:
            master.grad = weight.grad.float()
        else:
            master.grad.add_(weight.grad)
        weight.grad = None

    return hook


def _train_cases(
    setting: Setting,
    cases: Sequence[Case],
    config: Any,
    *,
    forward: Callable[[Tensor, Tensor, Tensor], Tensor],
    dtype: torch.dtype,
    backward: Callable[[Tensor, int, bool], None],
    update: Callable[[], None],
    about: dict[str, Any],
) -> Iterator[Result]:
    """Time whole steps of every case, waveforms in host memory at the start of each micro-batch."""
    front_end = LogMel(config.num_mel_bins).to(setting.device)
    for case in cases:
        B = case.micro_batch_clips
        waveforms = _waveforms(B, case.clip_sec)
        tokens = torch.randint(0, config.vocab_size, (B, case.num_tokens + 1))
        if setting.device != "cpu":
            waveforms = waveforms.pin_memory()

        def step(waveforms: Tensor = waveforms, tokens: Tensor = tokens, case: Case = case) -> None:
            for index in range(_MICRO_BATCHES):
                on_device = tokens.to(setting.device, non_blocking=True)
                features = front_end(waveforms.to(setting.device, non_blocking=True)).to(dtype)  # [B, M, F]
                loss = forward(features, on_device[:, :-1].contiguous(), on_device[:, 1:].contiguous())
                step_tokens = _MICRO_BATCHES * case.micro_batch_clips * case.num_tokens
                backward(loss, step_tokens, index == _MICRO_BATCHES - 1)
            update()

        def measured(step: Callable[[], None] = step, case: Case = case) -> Result:
            clips = _MICRO_BATCHES * case.micro_batch_clips
            rates = _rates(setting, step, clips, case.clip_sec)
            samples = [round(case.clip_sec * SAMPLE_RATE)] * clips
            useful = useful_flops(config, samples, [case.num_tokens] * clips)
            peak = peak_flops(setting.device, "bf16")
            rates["useful TFLOP/s"] = useful / rates["s"] / 1e12
            rates["useful MFU"] = None if peak is None else useful / rates["s"] / peak
            rates["attention"] = config._attn_implementation
            if about["torch.compile"]:  # one of each kind of layer, or the limit of recompilations was met
                rates["graphs"] = int(torch._dynamo.utils.counters["stats"]["unique_graphs"])
            return rates

        what = {"clip, s": case.clip_sec, "clips per micro-batch": B, "text tokens": case.num_tokens}
        yield about | _guarded(what, measured)


def _guarded(what: Result, measured: Callable[[], Result]) -> Result:
    """The case with its numbers; what went wrong with it is a result as well, and the next case has its chance."""
    try:
        return what | {"status": "ok"} | measured()
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        return what | {"status": "out of memory", "error": first_line(error)}


def _rates(setting: Setting, call: Callable[[], None], num_clips: int, clip_sec: float) -> Result:
    """Median seconds of ``call``, and what follows from them."""
    on_gpu = setting.device != "cpu"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    begun_sec = time.perf_counter()
    for _ in range(_WARM_UP):
        last_sec = _timed(call, on_gpu)
    warm_up_sec = time.perf_counter() - begun_sec
    fewest, most = _TIMED_CALLS
    num_calls = min(most, max(fewest, round(_TIMED_SEC / last_sec)))
    taken_secs = [_timed(call, on_gpu) for _ in range(num_calls)]
    middle_sec = median(taken_secs)
    return {
        "s": middle_sec,
        "fastest and slowest, s": [min(taken_secs), max(taken_secs)],
        "calls": num_calls,
        "warm-up, s": warm_up_sec,
        "clips/s": num_clips / middle_sec,
        "audio s/s": num_clips * clip_sec / middle_sec,
        "peak GB": peak_memory_gb("cuda" if on_gpu else "cpu"),
    }


def _timed(call: Callable[[], None], on_gpu: bool) -> float:
    begun_sec = time.perf_counter()
    call()
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - begun_sec


def _whisper(setting: Setting, dtype: torch.dtype) -> WhisperForConditionalGeneration:
    """Random weights, made on the device."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(0)
    special = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 1}
    with torch.device(setting.device):
        whisper = WhisperForConditionalGeneration(WhisperConfig(**_SHAPES[setting.shape], **special))
    return whisper.to(setting.device, dtype)


def _waveforms(num_clips: int, clip_sec: float) -> Tensor:
    """Noise [B, S], S a whole number of positions."""
    num_samples = context_frames(round(clip_sec * SAMPLE_RATE), "trimmed") * HOP_LENGTH
    return 0.1 * torch.randn(num_clips, num_samples, generator=torch.Generator().manual_seed(0))
