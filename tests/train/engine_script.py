"""Steps of a small random Whisper or of a real base, under the engine or plain PyTorch, outside the test process.

Run as ``engine_script.py FOLDER JOB...``: for each name it reads ``FOLDER/JOB.json`` (keys: see ``run``) and writes
``FOLDER/JOB.pt``. Rank and number of ranks come from the environment, as a launcher sets them.
"""

import copy
import functools
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from whisper_aut.config import TrainConfig
from whisper_aut.constants import IGNORE_LABEL
from whisper_aut.model.base import load_base
from whisper_aut.model.loss import WhisperSummedLoss
from whisper_aut.train.checkpoint import TrainedState
from whisper_aut.train.engine import Engine, start_distributed, stop_distributed
from whisper_aut.train.ranks import Ranks

NUM_MICRO_BATCHES = 4
LR = 1e-3


def make_module(seed: int = 0) -> WhisperSummedLoss:
    torch.manual_seed(seed)
    shape = WhisperConfig(
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=30, decoder_ffn_dim=30, vocab_size=99, num_mel_bins=80, pad_token_id=0, bos_token_id=0,
        eos_token_id=0, decoder_start_token_id=1,
    )  # fmt: skip
    return WhisperSummedLoss(WhisperForConditionalGeneration(shape).train())


def micro_batch(step: int, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, inputs and labels; each micro-batch has its own length and number of counted tokens."""
    generator = torch.Generator().manual_seed(100 * step + index)
    features = torch.randn(2, 80, 50 * (1 + index), generator=generator)
    inputs = torch.randint(2, 99, (2, 6), generator=generator)
    labels = torch.randint(2, 99, (2, 6), generator=generator)
    labels[:, 2 + index :] = IGNORE_LABEL
    return features, inputs, labels


def step_tokens(step: int) -> int:
    return sum(int((micro_batch(step, i)[2] != IGNORE_LABEL).sum()) for i in range(NUM_MICRO_BATCHES))


def state_of(module: WhisperSummedLoss, optimizer: torch.optim.Optimizer) -> TrainedState:
    named = {name.removeprefix("whisper."): p for name, p in module.named_parameters()}
    moments: Any = {
        key: {name: optimizer.state[p][key].clone() for name, p in named.items() if p.requires_grad}
        for key in ("exp_avg", "exp_avg_sq")
    }
    return TrainedState({name: p.detach().clone() for name, p in named.items()}, moments)


def plain_steps(config: TrainConfig, steps: range, refused: list[int]) -> tuple[TrainedState, list[float]]:
    """The reference: PyTorch's AdamW and clipping on the mean over the step's tokens, nothing of ours but the model."""
    module = make_module()
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=config.betas)
    norms = []
    for step in steps:
        if step in refused:
            continue
        total = sum(module(*micro_batch(step, i)) for i in range(NUM_MICRO_BATCHES)) / step_tokens(step)
        optimizer.zero_grad()
        total.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)))
        optimizer.step()
    return state_of(module, optimizer), norms


def engine_steps(
    engine: Engine, steps: range, ranks: Ranks, refused: list[int], lr: float
) -> tuple[list[float], list[float]]:
    """Gradient norms of steps that count, losses per token of all."""
    norms, losses = [], []
    rank, world = ranks.rank, ranks.world_size
    for step in steps:
        loss_sum = 0.0
        for index in range(rank, NUM_MICRO_BATCHES, world):
            last = index >= NUM_MICRO_BATCHES - world
            refuse = last and step in refused
            loss = engine(*micro_batch(step, index))
            loss_sum += float(loss.detach())
            engine.backward(loss, step_tokens=step_tokens(step), refuse=refuse)
            updated = engine.end_micro_batch(lr, last=last)
        losses.append(float(ranks.sum(loss_sum)[0]) / step_tokens(step))
        assert updated == (step not in refused)
        assert math.isinf(engine.grad_norm) == (step in refused)
        norms += [engine.grad_norm] * updated
    return norms, losses


joined = functools.cache(start_distributed)
loaded = functools.cache(load_base)  # read once for all jobs; each trains a copy


def run(job: dict[str, Any], out: Path) -> None:
    """``plain``: the reference. Else: restore ``start`` (a job) if given, take ``steps``, write state and norms."""
    config = TrainConfig(
        steps=10, clips_per_step=8, micro_batch_clips=2, precision=job.get("precision", "fp32"),
        deepspeed=job.get("strategy", "zero2"), max_grad_norm=job.get("max_grad_norm", 1.0), weight_decay=0.1,
    )  # fmt: skip
    steps, refused = range(*job["steps"]), job.get("refused", [])
    if job.get("plain"):
        state, norms = plain_steps(config, steps, refused)
        torch.save({"weights": state.weights, "moments": state.moments, "norms": norms}, out)
        return
    ranks = joined()
    rank, world = ranks.rank, ranks.world_size
    base = job.get("base")
    module = WhisperSummedLoss(copy.deepcopy(loaded(base).model).train()) if base else make_module(job.get("seed", 0))
    start = torch.load(out.with_name(job["start"] + ".pt"), weights_only=True) if "start" in job else None
    if start is not None:
        weights = start["weights"] | {"proj_out.weight": start["weights"]["model.decoder.embed_tokens.weight"]}
        module.whisper.load_state_dict(weights)
    engine = Engine(module, config, num_micro_batches=4 // world)
    if start is not None:
        engine.restore(
            TrainedState(start["weights"], start["moments"]), num_updates=job.get("num_updates", steps.start)
        )
    before = engine.num_updates
    norms, losses = engine_steps(engine, steps, ranks, refused, job.get("lr", LR))
    assert engine.num_updates - before == len(norms)
    if base:
        if rank == 0:
            torch.save({"norms": norms, "losses": losses}, out)
        return
    gathered = engine.gather(rank=rank)
    assert (gathered is not None) == (rank == 0)
    if gathered is not None:
        torch.save({"weights": gathered.weights, "moments": gathered.moments, "norms": norms}, out)


def main(folder: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    for name in names:
        run(json.loads((folder / f"{name}.json").read_text()), folder / f"{name}.pt")
    stop_distributed()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
