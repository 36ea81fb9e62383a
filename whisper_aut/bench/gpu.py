"""All that is worth knowing of one GPU in under eight minutes: ``bench gpu`` plans it, shares out time, keeps results.

Every measurement is a process of its own: running out of memory or time, or dying, costs that measurement and no
other. Results are on the disk as soon as they are known.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from whisper_aut.bench import gpu_jobs
from whisper_aut.bench.gpu_jobs import Case, Result, Setting
from whisper_aut.errors import EnvironmentProblem, WhisperAutError, first_line
from whisper_aut.files import write_whole

_LEAST_SEC = 8.0  # with less left no measurement is begun
_PRELOADED = ["torch", "transformers.models.whisper.modeling_whisper", "whisper_aut.bench.gpu_jobs"]


@dataclass(frozen=True)
class Job:
    """One measurement.

    Attributes:
        name: what ``--only`` chooses by.
        results: yields them; called in the child.
        limit_sec: after which it is ended, with what it gave until then.
    """

    name: str
    results: Callable[[], Iterator[Result]]
    limit_sec: float = 60.0


@dataclass
class _Book:
    """What is known so far, on the disk after every result."""

    folder: Path
    head: dict[str, Any]
    results: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.results.append(result)
        with (self.folder / "gpu.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        write_whole(self.folder / "gpu.json", json.dumps(self.head | {"results": self.results}, indent=1) + "\n")
        write_whole(self.folder / "gpu.md", "\n".join(markdown(self.head, self.results)) + "\n")


def planned(setting: Setting) -> list[Job]:
    """All measurements, those that matter most first."""
    if setting.shape == "tiny":
        five, ten, thirty = Case(0.5, 4, 4), Case(1.0, 2, 8), Case(2.0, 2, 8)
        main, more, checkpointed, padded = [ten, five, thirty], [], [thirty], [Case(1.0, 1, 8)]
        audio, frames, size = (20, 1_000, (600, 20, 5))
    else:
        five, ten, thirty = Case(5, 32, 32), Case(10, 16, 64), Case(30, 8, 64)
        main = [ten, five, thirty]
        more = [Case(10, 32, 64), Case(10, 8, 64), Case(30, 16, 64), Case(5, 16, 32), Case(5, 8, 32), Case(30, 32, 64)]
        checkpointed = [Case(10, 32, 64), Case(30, 32, 64)]
        padded = [Case(10, 16, 64), Case(10, 8, 64)]
        audio, frames, size = (256, 96_000, (85_000, 1280, 35))
    jobs = gpu_jobs
    plain = partial(jobs.train_plain, setting)
    deepspeed = partial(jobs.train_deepspeed, setting, [ten])
    return [
        Job("plain", partial(plain, main)),
        Job("padded", partial(jobs.train_padded, setting, padded)),
        Job("zero2", partial(deepspeed, zero_stage=2)),
        Job("log-mel", partial(jobs.log_mel, setting, [five.clip_sec, thirty.clip_sec], audio), 30),
        Job("embeddings", partial(jobs.embeddings, setting, five.clip_sec, frames), 45),
        Job("head", partial(jobs.head, setting, *size), 60),
        Job("checkpointing", partial(plain, checkpointed, gradient_checkpointing=True)),
        Job("compile", partial(plain, [ten, five], compiled=True), 120),
        *([Job("more sizes", partial(plain, more), 75)] if more else []),
        Job("zero1", partial(deepspeed, zero_stage=1)),
        Job("zero3", partial(deepspeed, zero_stage=3)),
    ]


def measure_gpu(out: Path, setting: Setting, *, budget_sec: float, only: Sequence[str] = ()) -> list[Result]:
    """Run the plan within ``budget_sec`` and write ``gpu.jsonl``, ``gpu.json`` and ``gpu.md`` into ``out``.

    Raises:
        WhisperAutError: the folder cannot be written, or ``only`` names no measurement.
    """
    jobs = planned(setting)
    if unknown := sorted({*only} - {job.name for job in jobs}):
        raise WhisperAutError(
            f"there is no measurement '{', '.join(unknown)}'",
            remedy=f"choose from {', '.join(job.name for job in jobs)}",
        )
    return run_jobs(
        out, [job for job in jobs if not only or job.name in only], setting.device, budget_sec=budget_sec,
        head={"device": setting.device, "shape": setting.shape, "budget, s": budget_sec},
    )  # fmt: skip


def run_jobs(out: Path, jobs: Sequence[Job], device: str, *, budget_sec: float, head: dict[str, Any]) -> list[Result]:
    """Run ``jobs`` one after another; every one of them leaves at least one result, with a ``status``."""
    begun_sec = time.monotonic()
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "gpu.jsonl").write_text("", encoding="utf-8")
    except OSError as error:
        raise WhisperAutError(
            f"the folder cannot be written: {error.strerror}", where=str(out), remedy="give another --out"
        ) from None
    context, found = _started(device)
    book = _Book(out, head | found)
    for job in jobs:
        left_sec = budget_sec - (time.monotonic() - begun_sec)
        if left_sec < _LEAST_SEC:
            book.add({"measurement": job.name, "status": "skipped", "error": "the time was up"})
        else:
            for result in _run(context, job, device, min(job.limit_sec, left_sec)):
                book.add(result)
                _say(time.monotonic() - begun_sec, result)
        book.head["taken, s"] = time.monotonic() - begun_sec
    return book.results


def _started(device: str) -> tuple[Any, dict[str, Any]]:
    """What makes children, and what they say of the machine.

    Raises:
        EnvironmentProblem: the device does not work.
    """
    # Where it is counted by NVML, a GPU stays asleep in the process that forks; its children can wake it then.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    result: Result = {}
    for method in ("forkserver", "spawn"):
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            # One process imports torch and transformers and nothing else; children are forks of it, and begin at once.
            context.set_forkserver_preload(_PRELOADED)
        job = Job("circumstances", partial(_circumstances, device), 120)
        (result, *_) = _run(context, job, device, job.limit_sec)
        if result["status"] == "ok":
            return context, {key: value for key, value in result.items() if key not in ("measurement", "status")}
    raise EnvironmentProblem(
        f"the device '{device}' does not work: {result['error']}",
        remedy="`whisper-aut bench gpu --device cpu --shape tiny` tries the command without a GPU",
    )


def _run(context: Any, job: Job, device: str, limit_sec: float) -> Iterator[Result]:
    """The job's results as they come; at its end, one that says so if it did not end well."""
    end_sec = time.monotonic() + limit_sec
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(theirs, job, device), name=job.name)
    process.start()
    theirs.close()
    ended_well = False
    try:
        while ours.poll(max(0.0, end_sec - time.monotonic())):
            try:
                result = ours.recv()
            except EOFError:
                break
            ended_well = result is None
            if ended_well:
                break
            yield {"measurement": job.name} | result
            if result["status"] == "failed":
                ended_well = True  # as well as it could: it has said why
        else:
            yield {"measurement": job.name, "status": "timed out", "error": f"not done after {limit_sec:.0f} s"}
            ended_well = True
        if not ended_well:
            process.join(5)
            error = f"its process died with exit code {process.exitcode}"
            yield {"measurement": job.name, "status": "failed", "error": error}
    finally:
        _end(process)
        ours.close()


def _serve(connection: Connection, job: Job, device: str) -> None:
    os.setsid()  # so that its own children (compilers) can be ended with it
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    warnings.simplefilter("ignore", FutureWarning)  # DeepSpeed's calls into torch, many lines a step
    try:
        for result in job.results():
            connection.send(result)
        connection.send(None)
    except (ImportError, EnvironmentProblem) as error:
        connection.send({"status": "not installed", "error": first_line(error)})
        connection.send(None)
    except WhisperAutError as error:
        connection.send({"status": "failed", "error": error.what})
    except Exception as error:
        print(traceback.format_exc(), file=sys.stderr)
        status = "out of memory" if type(error).__name__ == "OutOfMemoryError" else "failed"
        message = (str(error).splitlines() or [""])[0]
        connection.send({"status": status, "error": f"{type(error).__name__}: {message}"})
        connection.send(None)


def _circumstances(device: str) -> Iterator[Result]:
    """In a child: asking for the GPU's name wakes it."""
    import torch

    from whisper_aut.bench.record import circumstances

    torch.zeros(1, device=device)
    yield {"status": "ok"} | circumstances()


def _end(process: Any) -> None:
    process.join(3)
    if process.is_alive():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()


_COLUMNS = ("clips/s", "audio s/s", "useful TFLOP/s", "useful MFU", "peak GB")
_TRAINING = ("plain", "padded", "zero1", "zero2", "zero3", "checkpointing", "compile", "more sizes")


def markdown(head: dict[str, Any], results: Sequence[Result]) -> list[str]:
    """The results as a page."""
    where = head.get("machine", {}).get("gpu") or head.get("machine", {}).get("cpu") or head["device"]
    lines = [
        f"# {head['shape']}-shaped Whisper, random weights, on {where}",
        "",
        f"`{head.get('command', 'whisper-aut bench gpu')}`, commit {head.get('commit')}, {head.get('date')}, "
        + ", ".join(f"{name} {found}" for name, found in head.get("versions", {}).items()),
        "",
        f"A step is {gpu_jobs._MICRO_BATCHES} micro-batches and one update. Useful: padding counted as zero, "
        "recomputation too. Median of the timed steps.",
        "",
        "| step of | checkpointing | compile | clip, s | clips a micro-batch | " + " | ".join(_COLUMNS) + " |",
        "|---|---|---|---:|---:|" + "---:|" * len(_COLUMNS),
    ]
    for result in results:
        if result["measurement"] not in _TRAINING:
            continue
        if result["status"] == "ok":
            numbers = [_cell(column, result.get(column)) for column in _COLUMNS]
        else:
            numbers = [f"{result['status']}: {result.get('error', '')[:80]}", *[""] * (len(_COLUMNS) - 1)]
        cells = [
            str(result.get("engine", result["measurement"])),
            *("yes" if result.get(name) else "no" for name in ("activation checkpointing", "torch.compile")),
            f"{result['clip, s']:g}" if "clip, s" in result else "",
            str(result.get("clips per micro-batch", "")),
            *numbers,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [""]
    if ratio := padding_ratios(results):
        shown = ", ".join(f"{clips} a micro-batch: {value:.2f}" for clips, value in ratio.items())
        lines += [f"Plain step at the clips' own length over the step padded to 30 s, clips/s: {shown}.", ""]
    for result in results:
        if result["measurement"] not in _TRAINING:
            said = ", ".join(f"{key} {_cell(key, value)}" for key, value in result.items() if key != "measurement")
            lines.append(f"- {result['measurement']}: {said}")
    return lines


def padding_ratios(results: Sequence[Result]) -> dict[int, float]:
    """By clips a micro-batch: clips/s of the plain step over those of the step that pads the same clips to 30 s."""
    found: dict[str, dict[tuple[float, int], float]] = {"plain": {}, "padded": {}}
    for result in results:
        side = "plain" if result["measurement"] == "more sizes" else result["measurement"]
        if side in found and result["status"] == "ok":
            found[side][result["clip, s"], result["clips per micro-batch"]] = result["clips/s"]
    return {
        size[1]: found["plain"][size] / rate for size, rate in found["padded"].items() if size in found["plain"]
    }  # fmt: skip


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "unknown"
    if column == "useful MFU":
        return f"{value:.1%}"
    if isinstance(value, list):
        return " to ".join(f"{one:.3g}" for one in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _say(since_sec: float, result: Result) -> None:
    said = {key: result[key] for key in ("engine", "context", "clip, s", "clips per micro-batch") if key in result}
    outcome = f"{result['clips/s']:.3g} clips/s" if "clips/s" in result else result.get("error", "")
    shown = ", ".join(f"{key} {value}" for key, value in said.items())
    print(
        f"bench: {since_sec:4.0f} s, {result['measurement']}: {shown}: {result['status']} {outcome}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
