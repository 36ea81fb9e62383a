"""``whisper-aut bench WHAT``: one measurement, on the screen and as JSON with its circumstances."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whisper_aut.bench.data_commands import app as data_app

app = typer.Typer(
    help="Measure speed and memory.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
app.add_typer(data_app, name="data")
_OUT = typer.Option(help="JSON file for the numbers and their circumstances.")
_BASE = typer.Option(help="Hub name, folder, or pypi:tiny.en.")
_DEVICE = typer.Option(help="cpu or cuda.")
_MANIFEST = typer.Option(help="Clips with texts, of one domain; synthesised ones if left out.")
_CLIP_SEC = typer.Option(help="Length of the clips; up to 0.5 s less.", min=0.5, max=30)


@app.command()
def embed(
    task: Annotated[Path, typer.Option(help="Folder with clips.jsonl; clips of five seconds say most.")],
    encoder: Annotated[str, typer.Option(help="As `probe --base` takes it.")] = "pypi:tiny.en",
    rounds: Annotated[int, typer.Option(help="Both sides take turns this often.", min=1)] = 3,
    device: Annotated[str, _DEVICE] = "cpu",
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16, or auto: what the device computes faster.")
    ] = "auto",
    out: Annotated[Path | None, _OUT] = None,
) -> None:
    """Embedding at the clips' own length against padding every clip to 30 s: clips a second, accuracy, memory."""
    from whisper_aut.bench.probe import measure_embedding
    from whisper_aut.bench.record import finish

    finish(measure_embedding(task, encoder, rounds=rounds, device=device, precision=precision), out)


@app.command()
def head(
    clips: Annotated[int, typer.Option(min=100)] = 85_000,
    width: Annotated[int, typer.Option(min=2)] = 1280,
    classes: Annotated[int, typer.Option(min=2)] = 35,
    c: Annotated[float, typer.Option("--c", help="Inverse strength of the penalty.")] = 0.01,
    device: Annotated[str, _DEVICE] = "cpu",
    reference: Annotated[bool, typer.Option("--reference", help="Fit scikit-learn's as well, and compare.")] = False,
    out: Annotated[Path | None, _OUT] = None,
) -> None:
    """One logistic regression of the size of Speech Commands on large-v3, on made-up correlated features."""
    from whisper_aut.bench.head import measure_head
    from whisper_aut.bench.record import finish

    finish(measure_head(clips, width, classes, c, device=device, reference=reference), out)


@app.command()
def heads(
    clips: Annotated[int, typer.Option(min=100)] = 837,
    width: Annotated[int, typer.Option(min=2)] = 384,
    classes: Annotated[int, typer.Option(min=2)] = 10,
    encoders: Annotated[int, typer.Option(min=1)] = 2,
    jobs: Annotated[
        int | None, typer.Option(help="Processes of the other side; one a core if left out.", min=2)
    ] = None,
    rounds: Annotated[int, typer.Option(help="Both sides take turns this often.", min=1)] = 3,
    out: Annotated[Path | None, _OUT] = None,
) -> None:
    """All heads that `probe` fits by default on one task, in one process against several; every answer is compared."""
    from whisper_aut.bench.head import measure_heads
    from whisper_aut.bench.record import finish

    finish(measure_heads(clips, width, classes, num_encoders=encoders, jobs=jobs, rounds=rounds), out)


@app.command()
def train(
    base: Annotated[str, _BASE] = "pypi:tiny.en",
    manifest: Annotated[Path | None, _MANIFEST] = None,
    clip_sec: Annotated[float, _CLIP_SEC] = 5.0,
    clips_per_step: Annotated[int, typer.Option(min=1)] = 16,
    micro_batch_clips: Annotated[int, typer.Option(min=1)] = 16,
    turns: Annotated[int, typer.Option(help="How often each side has its turn.", min=1)] = 5,
    steps_per_turn: Annotated[int, typer.Option(min=1)] = 2,
    loss_steps: Annotated[int, typer.Option(help="Steps of the loss curves; 0 leaves them out.", min=0)] = 8,
    tolerance: Annotated[float, typer.Option(help="Relative; exit code 3 if the curves differ by more.")] = 1e-4,
    side: Annotated[
        list[str] | None, typer.Option(help="ours bf16, ours bf16 mixed, ours fp32, hf fp32, hf bf16. Repeatable.")
    ] = None,
    num_workers: Annotated[
        int, typer.Option(help="Our decoding processes; they work in the others' turns too.", min=0)
    ] = 0,
    gradient_checkpointing: Annotated[bool, typer.Option("--gradient-checkpointing", help="On all sides.")] = False,
    device: Annotated[str, _DEVICE] = "cpu",
    out: Annotated[Path | None, _OUT] = None,
) -> None:
    """Our training step against Hugging Face's Seq2SeqTrainer, taking turns; loss curves at equal context."""
    from whisper_aut.bench.record import finish
    from whisper_aut.bench.train import DEFAULT_SIDES, TrainBench, check_curves, measure_training, table

    asked = TrainBench(
        base=base, manifest=manifest, clip_sec=clip_sec, clips_per_step=clips_per_step,
        micro_batch_clips=micro_batch_clips, turns=turns, steps_per_turn=steps_per_turn, loss_steps=loss_steps,
        device=device, sides=tuple(side or DEFAULT_SIDES), num_workers=num_workers,
        gradient_checkpointing=gradient_checkpointing,
    )  # fmt: skip
    numbers = measure_training(asked)
    finish(numbers, out, shown=table(numbers))
    check_curves(numbers, tolerance)


@app.command()
def profile(
    base: Annotated[str, _BASE] = "pypi:tiny.en",
    manifest: Annotated[Path | None, _MANIFEST] = None,
    clip_sec: Annotated[float, _CLIP_SEC] = 5.0,
    clips_per_step: Annotated[int, typer.Option(min=1)] = 16,
    micro_batch_clips: Annotated[int, typer.Option(min=1)] = 8,
    steps: Annotated[int, typer.Option(help="Profiled steps.", min=1)] = 3,
    precision: Annotated[str, typer.Option(help="bf16 or fp32.")] = "bf16",
    gradient_checkpointing: Annotated[bool, typer.Option("--gradient-checkpointing")] = False,
    device: Annotated[str, _DEVICE] = "cpu",
    out: Annotated[Path | None, _OUT] = None,
) -> None:
    """The largest costs of a training step of ours, by PyTorch's profiler."""
    from whisper_aut.bench.profile import measure_profile, table
    from whisper_aut.bench.record import finish
    from whisper_aut.bench.train import TrainBench
    from whisper_aut.errors import RecipeError

    if precision not in ("bf16", "fp32"):
        raise RecipeError(f"there is no precision '{precision}'", remedy="choose from bf16, fp32")
    asked = TrainBench(
        base=base, manifest=manifest, clip_sec=clip_sec, clips_per_step=clips_per_step,
        micro_batch_clips=micro_batch_clips, device=device, gradient_checkpointing=gradient_checkpointing,
    )  # fmt: skip
    numbers = measure_profile(asked, steps=steps, precision="bf16" if precision == "bf16" else "fp32")
    finish(numbers, out, shown=table(numbers))


@app.command()
def gpu(
    out: Annotated[Path, typer.Option(help="Folder for gpu.json, gpu.jsonl and gpu.md.")],
    budget_sec: Annotated[float, typer.Option(help="Seconds for all measurements.", min=1)] = 480.0,
    device: Annotated[str, _DEVICE] = "cuda",
    shape: Annotated[str, typer.Option(help="large-v3, or tiny to try the command itself.")] = "large-v3",
    only: Annotated[list[str] | None, typer.Option(help="A measurement by name. Repeatable; all if left out.")] = None,
) -> None:
    """Training, features, embeddings and a head on one GPU, with random weights: no download, no data."""
    from whisper_aut.bench.gpu import measure_gpu
    from whisper_aut.bench.gpu_jobs import Setting
    from whisper_aut.errors import RecipeError

    if shape not in ("large-v3", "tiny"):
        raise RecipeError(f"there is no shape '{shape}'", remedy="choose from large-v3, tiny")
    setting = Setting(device, "tiny" if shape == "tiny" else "large-v3")
    measure_gpu(out, setting, budget_sec=budget_sec, only=only or [])
    print((out / "gpu.md").read_text("utf-8"))
