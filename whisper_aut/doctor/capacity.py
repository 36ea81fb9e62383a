"""What this machine gives, quota and not host: products, cores, memory, disk; and what that means for the demo."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from whisper_aut import machine
from whisper_aut.doctor.examine import Check
from whisper_aut.errors import first_line

# What the demo takes; set by measuring it. The estimate is
#   DEMO_FIXED_SEC + DEMO_WORK_GFLOP / (DEMO_SPEED_SHARE[precision] * GFLOP/s a core * cores, at most DEMO_MAX_CORES).
DEMO_WORK_GFLOP = 27_000.0
DEMO_SPEED_SHARE = {"float32": 0.5, "bfloat16": 0.15}  # of the speed of products that training and probing reach
DEMO_FIXED_SEC = 150.0  # starting the commands, synthesising data, heads: nearly the same on any machine
DEMO_MAX_CORES = 8  # its clips are short: more cores do not help
DEMO_MEMORY_GB = 4.0
DEMO_DISK_GB = 6.0
_TMPDIR_GB = 0.5


class Capacity(BaseModel):
    """What was found; None is what could not be. Memory and cores are those that this process may use."""

    model_config = ConfigDict(frozen=True)

    instruction_sets: list[str]
    float32_gflops: float | None = Field(description="Of products on one core")
    bfloat16_gflops: float | None
    gpu: bool = Field(description="Whether a GPU would be used")
    precision: str | None = Field(description="That `auto` takes, as torch calls it")
    precision_reason: str
    usable_cores: int
    host_cores: int
    quota_cores: float | None
    memory_limit_bytes: int
    host_memory_bytes: int
    free_memory_bytes: int
    free_disk_bytes: dict[str, int] = Field(description="By folder: the current one, and that of temporary files")
    demo_minutes: float | None = Field(description="Estimated for the CPU, with nothing else on these cores")


def measure_capacity(free_memory_bytes: int) -> Capacity:
    """Look at this machine; takes half a second beside the import of torch. Nothing raises.

    Args:
        free_memory_bytes: before this process loaded what it looks at.
    """
    speeds, gpu, precision, reason = _precision()
    cores = machine.usable_cores()
    return Capacity(
        instruction_sets=machine.instruction_sets(),
        float32_gflops=speeds.get("float32"),
        bfloat16_gflops=speeds.get("bfloat16"),
        gpu=gpu,
        precision=precision,
        precision_reason=reason,
        usable_cores=cores,
        host_cores=os.cpu_count() or cores,
        quota_cores=machine.quota_cores(),
        memory_limit_bytes=machine.memory_limit_bytes(),
        host_memory_bytes=machine.physical_bytes(),
        free_memory_bytes=free_memory_bytes,
        free_disk_bytes=_free_disk(),
        demo_minutes=_demo_minutes(speeds, cores),
    )


def capacity_checks(found: Capacity) -> list[Check]:
    """Return what was found as the doctor's lines; what is short is a note, none of it makes an installation wrong."""
    return [_processor(found), _precision_check(found), _cores(found), _memory(found), _disk(found), _demo(found)]


def _precision() -> tuple[dict[str, float], bool, str | None, str]:
    """(GFLOP/s a core by precision, whether there is a GPU, the precision that ``auto`` takes, why)."""
    try:
        import torch

        from whisper_aut.model.precision import choose_precision, cpu_product_flops

        speeds = {
            name: cpu_product_flops(dtype) / 1e9
            for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
        }
        gpu = torch.cuda.is_available()
        choice = choose_precision("auto", "cuda" if gpu else "cpu")
    except Exception as error:  # a broken torch has its own line
        return {}, False, None, first_line(error)
    return speeds, gpu, choice.name, choice.reason


def _demo_minutes(speeds: dict[str, float], cores: int) -> float | None:
    """On the CPU, in what is faster there."""
    rates = [share * speeds[name] for name, share in DEMO_SPEED_SHARE.items() if name in speeds]
    if not rates:
        return None
    return (DEMO_FIXED_SEC + DEMO_WORK_GFLOP / (max(rates) * min(cores, DEMO_MAX_CORES))) / 60


def _free_disk() -> dict[str, int]:
    free = {}
    for folder in (Path.cwd, tempfile.gettempdir):
        try:
            free[str(folder())] = shutil.disk_usage(folder()).free
        except OSError:  # the current folder was removed, or nothing can be written anywhere
            continue
    return free


def _processor(found: Capacity) -> Check:
    names = ", ".join(found.instruction_sets) or "instruction sets are not named here"
    if found.float32_gflops is None or found.bfloat16_gflops is None:
        return _ok("processor", names)
    speeds = f"float32 {found.float32_gflops:.3g} GFLOP/s a core, bfloat16 {found.bfloat16_gflops:.3g}"
    return _ok("processor", f"{names}; products: {speeds}")


def _precision_check(found: Capacity) -> Check:
    if found.precision is None:
        return _note("precision", f"not measured: {found.precision_reason}", "see torch above")
    what = f"auto takes {found.precision}: {found.precision_reason}"
    if found.precision == "float32" and not found.gpu:
        what += "; a CPU without fast bfloat16 is no fault, float32 is the more exact of the two"
    return _ok("precision", what)


def _cores(found: Capacity) -> Check:
    if found.usable_cores >= found.host_cores:
        return _ok("cores", f"{found.usable_cores}")
    why = "the others are not given to this process"
    if found.quota_cores is not None:
        why = f"a quota of {found.quota_cores:g} holds"
    return _ok("cores", f"{found.usable_cores} of {found.host_cores}: {why}")


def _memory(found: Capacity) -> Check:
    free, limit = found.free_memory_bytes / 1e9, found.memory_limit_bytes / 1e9
    what = f"{free:.1f} GB free of {limit:.1f} GB"
    if found.memory_limit_bytes < found.host_memory_bytes:
        what += f", the limit of this container or job (the machine has {found.host_memory_bytes / 1e9:.1f} GB)"
    if free >= DEMO_MEMORY_GB:
        return _ok("memory", what)
    return _note("memory", what, f"the demo needs {DEMO_MEMORY_GB:g} GB: end other programs, or raise the limit")


def _disk(found: Capacity) -> Check:
    what = ", ".join(f"{free / 1e9:.1f} GB free in {folder}" for folder, free in found.free_disk_bytes.items())
    if _is_disk_short(found):
        return _note("disk", what or "not known", f"the demo needs {DEMO_DISK_GB:g} GB here: free some, or give --out")
    temporary = found.free_disk_bytes.get(tempfile.gettempdir(), 0)
    if temporary < _TMPDIR_GB * 1e9:
        return _note("disk", what, f"set TMPDIR to a folder with {_TMPDIR_GB:g} GB for temporary files")
    return _ok("disk", what)


def _is_disk_short(found: Capacity) -> bool:
    return next(iter(found.free_disk_bytes.values()), 0) < DEMO_DISK_GB * 1e9


def _demo(found: Capacity) -> Check:
    needs = {}
    if found.free_memory_bytes < DEMO_MEMORY_GB * 1e9:
        needs["memory"] = DEMO_MEMORY_GB
    if _is_disk_short(found):
        needs["disk"] = DEMO_DISK_GB
    if needs:
        amounts = " and ".join(f"{amount:g} GB" for amount in needs.values())
        return _note("demo", f"too little {' and '.join(needs)} for the demo (needs {amounts})", "see above")
    if found.demo_minutes is None:
        return _note("demo", "its time cannot be estimated", "see torch above")
    minutes = f"about {max(1, round(found.demo_minutes))} minutes"
    if found.gpu:
        return _ok("demo", f"{minutes} on this machine's CPU, less with its GPU")
    return _ok("demo", f"{minutes} here, with nothing else on these cores")


def _ok(name: str, found: str) -> Check:
    return Check(name, "ok", found, needed=False)


def _note(name: str, found: str, remedy: str) -> Check:
    return Check(name, "note", found, remedy, needed=False)
