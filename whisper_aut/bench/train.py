"""Our training step against Hugging Face's ``Seq2SeqTrainer``: speed in turns, and loss curves at equal context.

Speed: each side as its users run it, on the same clips, model, batch and machine, taking turns of a few steps. Curves:
both in float32 on the full 30 s window, with the same clips, tokens, learning rates, decay and clipping; they have to
agree, since speed must not be bought with another optimisation.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

from whisper_aut.bench.clips import clips_of_length
from whisper_aut.bench.train_sides import TrainJob, run_hugging_face, run_ours
from whisper_aut.bench.turns import Side, Turn, side
from whisper_aut.config import BaseConfig, DataConfig, DomainConfig, Recipe, TrainConfig
from whisper_aut.data.manifest import load_manifest
from whisper_aut.errors import GateFailed, RecipeError

_WARM_UP_STEPS = 1  # of every side: allocators, kernels, the optimizer's moments


@dataclass(frozen=True)
class _Kind:
    """A side of the speed comparison."""

    ours: bool
    precision: Literal["bf16", "fp32"]
    full_window_fraction: float = 1.0


SIDES: dict[str, _Kind] = {
    "ours bf16": _Kind(True, "bf16", 0.0),
    "ours bf16 mixed": _Kind(True, "bf16", TrainConfig(steps=1).full_window_fraction),
    "ours fp32": _Kind(True, "fp32", 0.0),
    "hf fp32": _Kind(False, "fp32"),
    "hf bf16": _Kind(False, "bf16"),
}
"""By name. ``mixed`` computes the recipe's default share of micro-batches on the full window."""

DEFAULT_SIDES = ("ours bf16", "ours bf16 mixed", "hf fp32", "hf bf16")


@dataclass(frozen=True)
class TrainBench:
    """What is measured.

    Attributes:
        base: as ``load_base`` takes it.
        manifest: clips with texts, of one domain; None synthesises them.
        clip_sec: their length, seconds.
        clips_per_step: clips in one update.
        micro_batch_clips: clips in one forward.
        turns: how often each side has its turn.
        steps_per_turn: steps in a turn.
        loss_steps: steps of the loss curves; 0 leaves them out.
        device: ``cpu`` or ``cuda``.
        sides: names in ``SIDES``.
        num_workers: decoding processes of our side; they would work in the others' turns too, hence 0.
        gradient_checkpointing: on all sides.
        lr: peak learning rate.
    """

    base: str = "pypi:tiny.en"
    manifest: Path | None = None
    clip_sec: float = 5.0
    clips_per_step: int = 16
    micro_batch_clips: int = 16
    turns: int = 5
    steps_per_turn: int = 2
    loss_steps: int = 8
    device: str = "cpu"
    sides: tuple[str, ...] = DEFAULT_SIDES
    num_workers: int = 0
    gradient_checkpointing: bool = False
    lr: float = 1e-5


def recipe_of(
    asked: TrainBench, manifest: Path, steps: int, *, precision: Literal["bf16", "fp32"], full_window_fraction: float
) -> Recipe:
    """The recipe of one side over ``steps`` steps of the clips in ``manifest``."""
    domain = load_manifest(manifest).clip(0).domain
    return Recipe(
        name="bench",
        base=BaseConfig(model=asked.base),
        data=DataConfig(
            root=manifest.parent,
            mixture={domain: DomainConfig(weight=1, manifests=[manifest.name])},
            holdout_clips=0,
            num_workers=asked.num_workers,
        ),
        train=TrainConfig(
            steps=steps,
            clips_per_step=asked.clips_per_step,
            micro_batch_clips=asked.micro_batch_clips,
            lr=asked.lr,
            precision=precision,
            full_window_fraction=full_window_fraction,
            gradient_checkpointing=asked.gradient_checkpointing,
            deepspeed="zero1",
        ),
    )


def measure_training(asked: TrainBench) -> dict[str, Any]:
    """Raw numbers of all turns, ratios, and both loss curves.

    Raises:
        EnvironmentProblem: DeepSpeed is missing, or a side died.
        RecipeError: a side is unknown, or the batch does not divide.
        WhisperAutError: base or manifest cannot be used.
    """
    _check(asked)
    speed_steps = _WARM_UP_STEPS + asked.turns * asked.steps_per_turn
    num_micro_batches = speed_steps * asked.clips_per_step // asked.micro_batch_clips
    for name in asked.sides:
        if 0 < SIDES[name].full_window_fraction * num_micro_batches < 1:
            _say(f"{name}: left out, {num_micro_batches} micro-batches are too few for its share on the full window")
            asked = replace(asked, sides=tuple(other for other in asked.sides if other != name))
    with tempfile.TemporaryDirectory() as folder:
        manifest = clips_of_length(
            Path(folder), asked.manifest, asked.clip_sec,
            at_least=asked.clips_per_step, at_most=asked.clips_per_step * max(speed_steps, asked.loss_steps),
        )  # fmt: skip
        durations = load_manifest(manifest).table.texts["duration_sec"].to_numpy()
        turns = _speed(asked, manifest, speed_steps)
        curves = _curves(asked, manifest) if asked.loss_steps else None
    return {
        "base": asked.base,
        "clips": str(asked.manifest) if asked.manifest else "synthesised",
        "mean clip, s": float(durations.mean()),
        "clips per step": asked.clips_per_step,
        "clips per micro-batch": asked.micro_batch_clips,
        "turns": asked.turns,
        "steps per turn": asked.steps_per_turn,
        "device": asked.device,
        "gradient checkpointing": asked.gradient_checkpointing,
        "loader processes": asked.num_workers,
        "sides": {name: _side_numbers(of_side) for name, of_side in turns.items()},
        "ratios": _ratios(turns),
        "loss curves": curves,
    }


def _check(asked: TrainBench) -> None:
    unknown = [name for name in asked.sides if name not in SIDES]
    if unknown or not asked.sides:
        raise RecipeError(f"there is no side '{', '.join(unknown)}'", remedy=f"choose from {', '.join(SIDES)}")
    if asked.clips_per_step % asked.micro_batch_clips:
        raise RecipeError(
            f"--clips-per-step {asked.clips_per_step} is no multiple of --micro-batch-clips {asked.micro_batch_clips}",
            remedy="change one of them",
        )


def _speed(asked: TrainBench, manifest: Path, num_steps: int) -> dict[str, list[Turn]]:
    """Turns of every side; each round begins with another side."""
    with contextlib.ExitStack() as stack:
        sides: list[Side] = []
        for name in asked.sides:
            kind = SIDES[name]
            recipe = recipe_of(
                asked, manifest, num_steps,
                precision=kind.precision, full_window_fraction=kind.full_window_fraction,
            )  # fmt: skip
            run = run_ours if kind.ours else run_hugging_face
            job = TrainJob(recipe, asked.device)
            sides.append(stack.enter_context(side(name, run, job, device=asked.device)))
        for one in sides:
            _say(f"{one.name}: preparing")
            one.wait_ready()
            one.turn(_WARM_UP_STEPS)
        turns: dict[str, list[Turn]] = {name: [] for name in asked.sides}
        for number in range(asked.turns):
            first = number % len(sides)
            for one in sides[first:] + sides[:first]:
                turn = one.turn(asked.steps_per_turn)
                turns[one.name].append(turn)
                _say(f"turn {number + 1}/{asked.turns}, {one.name}: {turn.num_clips / turn.taken_sec:.3g} clips/s")
    return turns


def _curves(asked: TrainBench, manifest: Path) -> dict[str, Any]:
    """Loss of every step of both, one after the other."""
    losses: dict[str, list[float]] = {}
    ids: dict[str, list[tuple[str, ...]]] = {}
    with contextlib.ExitStack() as stack:
        sides: list[Side] = []
        for name, run in (("ours", run_ours), ("hf", run_hugging_face)):
            recipe = recipe_of(asked, manifest, asked.loss_steps, precision="fp32", full_window_fraction=1.0)
            job = TrainJob(recipe, asked.device, whole_step=True)
            sides.append(stack.enter_context(side(name, run, job, device=asked.device)))
        for one in sides:
            one.wait_ready()
            _say(f"loss curve of {one.name}: {asked.loss_steps} steps in float32 on 30 s")
            steps = one.turn(asked.loss_steps).steps
            losses[one.name], ids[one.name] = [step.loss for step in steps], [step.ids for step in steps]
    assert ids["ours"] == ids["hf"], "both read the same plan"
    differences = [abs(mine - theirs) / abs(theirs) for mine, theirs in zip(losses["ours"], losses["hf"], strict=True)]
    return {**losses, "clips": [list(step) for step in ids["ours"]], "largest relative difference": max(differences)}


def _side_numbers(turns: list[Turn]) -> dict[str, Any]:
    steps = [step for turn in turns for step in turn.steps]
    device_gb = [turn.peak_device_gb for turn in turns if turn.peak_device_gb is not None]
    return {
        "clips/s by turn": [turn.num_clips / turn.taken_sec for turn in turns],
        "clips/s": sum(turn.num_clips for turn in turns) / sum(turn.taken_sec for turn in turns),
        "peak memory, GB": max(turn.peak_gb for turn in turns),
        "peak memory of the device, GB": max(device_gb) if device_gb else None,
        "micro-batches on the full window": sum(step.num_full for step in steps),
        "micro-batches": sum(step.num_micro_batches for step in steps),
        "losses": [step.loss for step in steps],
        "clips": [list(step.ids) for step in steps],
    }


def _ratios(turns: dict[str, list[Turn]]) -> dict[str, dict[str, Any]]:
    """Of every side of ours over every one of Hugging Face's: clips a second, turn by turn and over all turns."""
    ratios: dict[str, dict[str, Any]] = {}
    for ours in (name for name in turns if SIDES[name].ours):
        for theirs in (name for name in turns if not SIDES[name].ours):
            by_turn = [
                (mine.num_clips / mine.taken_sec) / (other.num_clips / other.taken_sec)
                for mine, other in zip(turns[ours], turns[theirs], strict=True)
            ]
            rates = [
                sum(turn.num_clips for turn in turns[name]) / sum(turn.taken_sec for turn in turns[name])
                for name in (ours, theirs)
            ]
            ratios[f"{ours} over {theirs}"] = {
                "by turn": by_turn,
                "median": median(by_turn),
                "over all turns": rates[0] / rates[1],
            }
    return ratios


def table(numbers: dict[str, Any]) -> list[str]:
    """The numbers as lines for the screen."""
    lines = [
        f"{numbers['base']}, clips of {numbers['mean clip, s']:.2f} s, {numbers['clips per step']} a step "
        f"({numbers['clips per micro-batch']} a micro-batch), {numbers['device']}; "
        f"{numbers['turns']} turns of {numbers['steps per turn']} steps",
        "",
        f"{'':18}{'clips/s':>9}  {'by turn':24}{'full window':>12}{'peak GB':>9}",
    ]
    for name, one in numbers["sides"].items():
        rates = one["clips/s by turn"]
        memory = one["peak memory of the device, GB"] or one["peak memory, GB"]
        full = f"{one['micro-batches on the full window']} of {one['micro-batches']}"
        if name.startswith("hf"):
            full = "always"
        lines.append(
            f"{name:18}{one['clips/s']:9.3g}  {f'{min(rates):.3g} to {max(rates):.3g}':24}{full:>12}{memory:9.2f}"
        )
    lines += ["", f"{'ratio of clips/s':34}{'median':>8}  {'by turn':20}{'over all turns':>15}"]
    for name, ratio in numbers["ratios"].items():
        spread = f"{min(ratio['by turn']):.2f} to {max(ratio['by turn']):.2f}"
        lines.append(f"{name:34}{ratio['median']:8.2f}  {spread:20}{ratio['over all turns']:15.2f}")
    if curves := numbers["loss curves"]:
        lines += [
            "",
            f"loss at equal context (float32, 30 s), {len(curves['ours'])} steps: ours {curves['ours'][0]:.5f} to "
            f"{curves['ours'][-1]:.5f}, hf {curves['hf'][0]:.5f} to {curves['hf'][-1]:.5f}; "
            f"largest relative difference {curves['largest relative difference']:.2g}",
        ]
    return lines


def check_curves(numbers: dict[str, Any], tolerance: float) -> None:
    """Refuse curves that differ.

    Raises:
        GateFailed: they differ by more than ``tolerance``, relatively, at any step.
    """
    curves = numbers["loss curves"]
    if curves and not curves["largest relative difference"] <= tolerance:
        raise GateFailed(
            f"the loss curves differ by {curves['largest relative difference']:.3g}, more than {tolerance:g}",
            remedy="the sides do not optimise the same: no ratio of speed counts until that is understood",
        )


def _say(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)
