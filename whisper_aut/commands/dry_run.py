"""What ``whisper-aut train --dry-run`` shows: the plan, memory, work and time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from whisper_aut.constants import Domain
    from whisper_aut.data.plan import Plan, PlanStats
    from whisper_aut.train.loop import Prepared


def num_ranks(asked: int | None) -> int:
    """As asked for, or as a launcher says."""
    return asked or int(os.environ.get("WORLD_SIZE", "1"))


def print_plan(prepared: Prepared, world_size: int) -> None:
    """Print it for ``world_size`` ranks."""
    from whisper_aut.train.estimate import ASSUMED_MFU, PEAK_TFLOPS, estimate_run, hours

    recipe, plan, stats = prepared.recipe, prepared.plan, prepared.plan.stats(prepared.steps)
    console = Console()
    num_read = max(1, sum(stats.num_clips.values()))
    table = Table("domain", "weight", "realised", "clips", "hours in manifests", "hours read", "passes", box=None)
    composition: dict[str, Any] = prepared.corpus.composition()["domains"]
    for domain, part in composition.items():
        table.add_row(
            domain,
            f"{part['weight']:.2%}",
            f"{stats.realised[domain]:.2%}",  # type: ignore[index]  # composition's keys are domains
            f"{part['clips']}",
            f"{part['hours']:.2f}",
            f"{stats.hours[domain]:.2f}",  # type: ignore[index]
            f"{stats.passes[domain]:.2f}",  # type: ignore[index]
        )
        _add_sources(table, prepared, stats, domain, num_read)  # type: ignore[arg-type]
    console.print(table)
    mean_clip_sec = sum(stats.hours.values()) * 3600 / num_read
    parameters = sum(parameter.numel() for parameter in prepared.base.model.parameters())
    estimate = estimate_run(
        prepared.base.model.config,
        parameters,
        recipe.train,
        steps=prepared.steps,
        world_size=world_size,
        mean_clip_sec=mean_clip_sec,
        mean_text_tokens=prepared.corpus.mean_text_bytes() / 4,  # English byte-pair tokens have about four bytes
    )
    stages = ", ".join(f"ZeRO-{stage} {gb:.2f} GB" for stage, gb in estimate.gb_by_stage.items())
    taken = "; ".join(
        f"8 x {device} {one:.3g} h, {8 * one:.3g} GPU-hours"
        for device in PEAK_TFLOPS
        for one in [hours(estimate.total_flops, device, 8)]
    )
    console.print(
        f"steps {prepared.steps} of {recipe.train.clips_per_step} clips "
        f"({plan.micro_batches_per_step} micro-batches of {_micro_batch(plan)}), "
        f"mixture exact to a clip over every {min(plan.window_steps, prepared.steps)} steps and over the run\n"
        f"padding {stats.padding_fraction:.1%} of trimmed frames; full window in {stats.full_window_fraction:.1%} of "
        f"micro-batches; mean clip {mean_clip_sec:.2f} s\n"
        f"model {parameters / 1e6:.1f} M parameters; memory per rank of {world_size}, without activations (estimate): "
        f"{stages}\n"
        f"work (estimate): {estimate.total_flops / 1e15:.3g} PFLOP, "
        f"{estimate.total_flops / num_read / 1e9:.3g} GFLOP a clip, forward and backward\n"
        f"time (estimate, at {ASSUMED_MFU:.0%} of the GPUs' bfloat16 peak, assumed): {taken}\n"
        f"{_time_here(prepared, estimate.total_flops, mean_clip_sec)}\n"
        f"base {prepared.base.spec} {prepared.base.weights_sha256[:12]}, manifests {prepared.corpus.fingerprint[:12]}, "
        f"plan {plan.fingerprint[:12]}",
        highlight=False,
        soft_wrap=True,
    )


def _time_here(prepared: Prepared, total_flops: float, mean_clip_sec: float) -> str:
    """Return the time that one process would take on the device of this machine, from a measured speed."""
    import torch

    from whisper_aut.constants import POSITIONS_PER_SEC
    from whisper_aut.model.precision import choose_precision
    from whisper_aut.progress import format_duration
    from whisper_aut.train.estimate import measure_flops

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    choice = choose_precision(prepared.recipe.train.precision, device)
    speed = measure_flops(
        prepared.base.model.model.encoder, choice.dtype, device,
        num_positions=max(1, round(mean_clip_sec * POSITIONS_PER_SEC)), num_clips=2,
    )  # fmt: skip
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    warning = f"\nwarning: {choice.warning}" if choice.warning else ""
    return (
        f"time here (one process, {name}, {choice.name}: {speed / 1e9:.3g} GFLOP/s, measured on one layer): at least "
        f"{format_duration(total_flops / speed)}, without optimizer, validation and checkpoints{warning}"
    )


def _micro_batch(plan: Plan) -> str:
    return f"{plan.micro_batch_clips}" if plan.micro_batch_sec is None else f"{plan.micro_batch_sec:g} s of audio"


def _add_sources(table: Table, prepared: Prepared, stats: PlanStats, domain: Domain, num_read: int) -> None:
    """A line for each manifest of a domain whose manifests have weights."""
    config = prepared.recipe.data.mixture[domain]
    if config.manifest_weights is None:
        return
    total = sum(config.manifest_weights.values())
    sizes = [size for size, _ in prepared.corpus.source_weights()[domain]]
    for name, size, count in zip(config.manifests, sizes, stats.source_clips[domain], strict=True):
        share = config.weight * config.manifest_weights[name] / total
        table.add_row(f"  {name}", f"{share:.2%}", f"{count / num_read:.2%}", f"{size}", "", "", f"{count / size:.2f}")
