"""DeepSpeed, and everything that knows of it: start-up, one step, whole weights and moments in and out.

The rest of the package sees tensors with Hugging Face names and never a partition; this is the only file that imports
DeepSpeed. Strategy files (``ds_configs/``) say how the work is split; batch sizes, optimizer and precision come from
the recipe.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from whisper_aut.config import TrainConfig
from whisper_aut.constants import BUCKET_FRAMES
from whisper_aut.errors import CheckpointError, EnvironmentProblem, first_line
from whisper_aut.model.loss import WhisperSummedLoss
from whisper_aut.train.checkpoint import Moments, TrainedState
from whisper_aut.train.ranks import Ranks
from whisper_aut.train.start import free_port
from whisper_aut.train.strategy import read_strategy

_WHISPER = "whisper."  # WhisperSummedLoss holds the model under this name
_TIED = "proj_out.weight"  # the same tensor as the decoder's embedding; stored once
# All ranks load the base before they meet; what hangs later is the watchdog's to notice, long before this.
_START, _COLLECTIVE = timedelta(minutes=30), timedelta(minutes=60)
_SHARED_MEMORY_SUMS = "deepspeed_shm_comm"


def start_distributed() -> Ranks:
    """Join the process group that the launcher describes, or one of a single process.

    Raises:
        EnvironmentProblem: DeepSpeed is not installed, or the other ranks do not come.
    """
    has_gpu = torch.cuda.is_available()
    if not has_gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    deepspeed = _import_deepspeed()
    if not has_gpu:
        # Sums through shared memory are compiled at the first run, for minutes, and a rank that waits for another spins
        # on a core that the other needs, for ever if that one is dead. Gloo sleeps, and its connections break.
        deepspeed.ops.__compatible_ops__[_SHARED_MEMORY_SUMS] = False
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("MASTER_PORT", str(free_port()))
    local_rank = int(os.environ["LOCAL_RANK"])
    if has_gpu:
        torch.cuda.set_device(local_rank)
    try:
        store, rank, world_size = next(rendezvous("env://", timeout=_START))
        dist.init_process_group(
            "nccl" if has_gpu else "gloo",
            store=PrefixStore("ranks", store),
            rank=rank,
            world_size=world_size,
            timeout=_COLLECTIVE,
        )
    except (dist.DistError, RuntimeError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise EnvironmentProblem(
            f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']} cannot join the others: {first_line(error)}",
            where=where,
            remedy="start every rank of the run with the same MASTER_ADDR and MASTER_PORT, both reachable and free",
        ) from None
    device = torch.device("cuda", local_rank) if has_gpu else torch.device("cpu")
    return Ranks(rank, world_size, device, store)


def stop_distributed() -> None:
    """Leave the process group, so that no rank waits for one that is gone."""
    if dist.is_initialized():
        dist.destroy_process_group()


class Engine:
    """A model under ZeRO on all ranks, with float32 masters, moments and whole-tensor access.

    Args:
        loss_module: the model in float32, in its starting state (the base, or a checkpoint's weights).
        config: batch, optimizer and precision, which is chosen by now.
        num_micro_batches: of each rank in a step.
    """

    def __init__(self, loss_module: WhisperSummedLoss, config: TrainConfig, *, num_micro_batches: int) -> None:
        deepspeed = _import_deepspeed()
        assert config.precision != "auto", "the caller chooses the precision"
        self.dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        start = {name: parameter.detach().clone() for name, parameter in _trainable(loss_module)}
        settings = read_strategy(config.deepspeed) | {
            "train_micro_batch_size_per_gpu": config.micro_batch_clips,
            "gradient_accumulation_steps": num_micro_batches,
            "gradient_clipping": config.max_grad_norm,
            "bf16": {"enabled": config.precision == "bf16"},
            # Micro-batches are summed in float32: sixteen bf16 additions would lose small gradients.
            "data_types": {"grad_accum_dtype": "fp32"},
            "steps_per_print": 10**9,
        }
        optimizer = torch.optim.AdamW(
            _decay_groups(loss_module, config.weight_decay), lr=0.0, betas=config.betas, fused=True
        )
        with _quiet():
            _import_muon_uncompiled()
            self._engine: Any = deepspeed.initialize(model=loss_module, optimizer=optimizer, config=settings)[0]
        self.module: WhisperSummedLoss = self._engine.module
        self.zero_stage = int(settings["zero_optimization"]["stage"])
        self._num_micro_batches = num_micro_batches
        self._world_size = dist.get_world_size()
        self.num_updates = 0
        self._materialise_moments()
        # DeepSpeed made its masters from weights already rounded to bf16; these are the real ones.
        self._set_masters(start)

    def backward(self, loss_sum: Tensor, *, step_tokens: int, refuse: bool = False) -> None:
        """Add the gradient of ``loss_sum`` (this rank's micro-batch) over the step's token count over all ranks.

        ZeRO averages gradients over ranks; the factor turns that average back into a sum. ``refuse`` makes the gradient
        invalid, which every stage of ZeRO answers by dropping the step: weights, moments and their count stay.
        """
        factor = float("nan") if refuse else self._world_size / step_tokens
        self._engine.backward(loss_sum * factor, scale_wrt_gas=False)

    def end_micro_batch(self, lr: float, *, last: bool) -> bool:
        """Count one micro-batch done; the ``last`` of a step updates the weights with learning rate ``lr``.

        Returns:
            Whether the weights were updated; not, if the gradient of the step was not finite.
        """
        for group in self._engine.optimizer.param_groups:
            group["lr"] = lr
        self._engine.step()
        updated = last and bool(self._engine.was_step_applied())
        self.num_updates += updated
        if last and not updated and self.zero_stage == 2:
            # With its optimizer offloaded, DeepSpeed (0.19) keeps the invalid gradient and adds all later ones to it.
            gradients = self._engine.optimizer.averaged_gradients
            for group in gradients:
                gradients[group] = None
        return updated

    def __call__(self, features: Tensor, decoder_input_ids: Tensor, labels: Tensor) -> Tensor:
        """Summed loss of a micro-batch, as ``WhisperSummedLoss.forward``; features are cast to the model's type."""
        loss: Tensor = self._engine(features.to(self.dtype), decoder_input_ids, labels)
        return loss

    @property
    def grad_norm(self) -> float:
        """Global gradient norm of the last step, before clipping; infinite where the step was dropped."""
        norm = self._engine.get_global_grad_norm()
        return float(norm) if norm is not None else 0.0

    def gather(self, *, rank: int) -> TrainedState | None:
        """Whole float32 weights and moments, on rank 0; a collective, so that every rank must call it.

        One tensor at a time is whole on the other ranks, so their memory does not grow.
        """
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        weights: dict[str, Tensor] = {}
        moments: Moments = {"exp_avg": {}, "exp_avg_sq": {}}
        for name, parameter in self._named_parameters():
            if not parameter.requires_grad:
                with self._gathered(parameter):
                    value = parameter.detach().float()
                    if rank == 0:
                        weights[name] = value.cpu().clone()
                continue
            value = safe_get_full_fp32_param(parameter)
            if rank == 0:
                weights[name] = value.detach().cpu().clone()
            for key, tensors in moments.items():
                value = safe_get_full_optimizer_state(parameter, key)
                if rank == 0:
                    tensors[name] = value.detach().cpu().clone()
        return TrainedState(weights, moments) if rank == 0 else None

    def restore(self, state: TrainedState, *, num_updates: int) -> None:
        """Set masters, moments and their count from a checkpoint, whatever number of ranks or ZeRO stage wrote it.

        Raises:
            CheckpointError: a tensor is missing or has another shape.
        """
        from deepspeed.utils import safe_set_full_optimizer_state

        self._set_masters({_WHISPER + name: tensor for name, tensor in state.weights.items()})
        for name, parameter in self._named_parameters():
            if not parameter.requires_grad:
                continue
            for key, tensors in state.moments.items():
                value = _fitting(tensors, name, parameter, what=key)
                if self.zero_stage == 3:
                    self._set_local(parameter, value, key)
                else:
                    safe_set_full_optimizer_state(parameter, value.to(parameter.device), key)
        self._set_num_updates(num_updates)

    def _materialise_moments(self) -> None:
        """Let AdamW create its moments with one step of zero gradients and learning rate zero.

        DeepSpeed links moments to parameters at the first step only; setting them from a checkpoint needs the link.
        It also shows before any data is read that forward, backward and communication work.
        """
        config = self.module.whisper.config
        device = self._engine.device
        features = torch.zeros(1, config.num_mel_bins, BUCKET_FRAMES, device=device)
        tokens = torch.zeros((1, 2), dtype=torch.long, device=device)  # any token: its gradient is multiplied by zero
        for _ in range(self._num_micro_batches):
            loss = self(features, tokens, tokens)
            self.backward(loss * 0.0, step_tokens=1)
            self._engine.step()
        zero = self._engine.optimizer
        if hasattr(zero, "single_partition_of_fp32_groups"):  # ZeRO-1 and 2
            from deepspeed.utils import lazy_init_hp_params_optimizer_state

            # DeepSpeed (0.19) links all groups after updating the first one, when the others have no moments yet.
            for group, partition in zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True):
                lazy_init_hp_params_optimizer_state(group, partition, zero.optimizer.state)
        self._set_num_updates(0)

    def _set_num_updates(self, num_updates: int) -> None:
        """Set Adam's own step count, which its bias correction depends on."""
        self.num_updates = num_updates
        states = [s for s in self._engine.optimizer.optimizer.state.values() if "step" in s]
        assert states, "the optimizer has no state after a step"
        for moments in states:
            moments["step"] = torch.full_like(torch.as_tensor(moments["step"]), num_updates)

    def _set_masters(self, values: Mapping[str, Tensor]) -> None:
        from deepspeed.utils import safe_set_full_fp32_param

        for name, parameter in self._named_parameters():
            if not parameter.requires_grad:
                continue
            value = _fitting(values, _WHISPER + name, parameter, what="weights")
            if self.zero_stage == 3:
                self._set_local(parameter, value, None)
            else:
                safe_set_full_fp32_param(parameter, value.to(parameter.device))

    def _set_local(self, parameter: Any, value: Tensor, key: str | None) -> None:
        """This rank's slice of ``value``; ZeRO-3 pads the last rank's slice and its own setter does not."""
        from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

        length = (
            parameter.ds_tensor.ds_numel if hasattr(parameter.ds_tensor, "ds_numel") else parameter.ds_tensor.numel()
        )
        padded = torch.zeros(length * self._world_size, dtype=torch.float32)
        padded[: value.numel()] = value.reshape(-1)
        local = padded.narrow(0, length * dist.get_rank(), length).to(parameter.device)
        if key is None:
            safe_set_local_fp32_param(parameter, local)
        else:
            safe_set_local_optimizer_state(parameter, local, key)

    def _named_parameters(self) -> Iterator[tuple[str, Any]]:
        """Every parameter once, under its Hugging Face name."""
        for name, parameter in self.module.named_parameters():
            yield name.removeprefix(_WHISPER), parameter

    def _gathered(self, parameter: Any) -> contextlib.AbstractContextManager[Any]:
        if self.zero_stage < 3:
            return contextlib.nullcontext()
        deepspeed = _import_deepspeed()
        context: contextlib.AbstractContextManager[Any] = deepspeed.zero.GatheredParameters([parameter])
        return context


def _trainable(module: WhisperSummedLoss) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)


def _decay_groups(module: WhisperSummedLoss, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay, biases and layer norms do not: as in Hugging Face's Trainer, which Whisper is tuned with."""
    matrices = [parameter for _, parameter in _trainable(module) if parameter.ndim > 1]
    vectors = [parameter for _, parameter in _trainable(module) if parameter.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _fitting(values: Mapping[str, Tensor], name: str, parameter: Any, *, what: str) -> Tensor:
    shape = tuple(getattr(parameter, "ds_shape", parameter.shape))
    value = values.get(name)
    if value is None or tuple(value.shape) != shape:
        found = "missing" if value is None else f"of shape {tuple(value.shape)}"
        raise CheckpointError(
            f"{what} of '{name}' are {found}; the model needs {shape}", remedy="resume with the recipe's own base"
        )
    return value


def _import_deepspeed() -> Any:
    try:
        with _quiet():
            import deepspeed
    except ImportError as error:
        raise EnvironmentProblem(
            f"training needs DeepSpeed, which cannot be imported: {error}",
            remedy="pip install 'deepspeed>=0.19' (Linux); probing and exporting work without it",
        ) from None
    return deepspeed


def _import_muon_uncompiled() -> None:
    """Import DeepSpeed's Muon without compiling it.

    DeepSpeed (0.19) imports it to ask whether our optimizer is one; its decorators would load the whole of torch's
    compiler, which takes two seconds of every start.
    """
    from deepspeed.runtime import compiler

    compile_, compiler.compile = compiler.compile, lambda *_, **__: lambda function: function
    try:
        with contextlib.suppress(ImportError):
            importlib.import_module("deepspeed.runtime.zero.muon.original_muon")
    finally:
        compiler.compile = compile_


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """DeepSpeed narrates its start-up, with loggers, warnings and prints; errors stay, exceptions of course."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
