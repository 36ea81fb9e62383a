"""What this process may use of its machine: cores, memory, instruction sets. Imports nothing that takes time.

A container's quota counts, not its host: a process with a quota of two cores on a host of 64 runs two threads, since 64
would be throttled together. Read from Linux' control groups, version 1 and 2; elsewhere affinity and total memory hold.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from whisper_aut.errors import EnvironmentProblem

LIBRARIES_BYTES = 400_000_000
"""What torch and transformers take at least, before any weight is read; 0.48 GB were measured on Linux."""

_PROC = Path("/proc")
# Read by OpenMP when it is loaded. A thread that waits for work then sleeps instead of spinning: beside another busy
# process a spinning thread takes the core that the thread it waits for needs (docs/benchmarks.md).
_SLEEPING_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
_NUM_THREADS = "OMP_NUM_THREADS"
_set_here: set[str] = set()

# Files that count kills, in version 2 and 1; each counts the groups below it, too, in version 2 alone.
_OOM_COUNTERS = ("memory.events", "memory.oom_control")
_RECLAIMABLE = ("inactive_file", "active_file", "slab_reclaimable")
_SHORT_OF_MEMORY = 0.05  # of what may be used; less is free where memory ran out and others still hold it

# Instruction sets that decide how fast products are, strongest first, as the kernel names them.
_INSTRUCTION_SETS = {
    "amx_bf16": "AMX-BF16", "avx512_bf16": "AVX-512-BF16", "avx512f": "AVX-512", "avx2": "AVX2",
    "asimd": "NEON", "bf16": "BF16 (Arm)", "sve": "SVE",
}  # fmt: skip


def set_thread_environment() -> None:
    """Set what OpenMP reads at its start, for this process and all that it starts; what the user has set stays.

    Call it before torch, NumPy or scikit-learn are imported.
    """
    wanted = dict(_SLEEPING_THREADS)
    if usable_cores() < affinity_cores():
        wanted[_NUM_THREADS] = str(usable_cores())
    for name, value in wanted.items():
        if name not in os.environ:
            os.environ[name] = value
            _set_here.add(name)


def threads_per_process(num_processes: int) -> int:
    """Return how many threads each of ``num_processes`` should run: the user's OMP_NUM_THREADS, else an equal share."""
    asked = os.environ.get(_NUM_THREADS, "")
    if asked.isdecimal() and int(asked) and _NUM_THREADS not in _set_here:
        return int(asked)
    return max(1, usable_cores() // num_processes)


def use_one_thread() -> None:
    """Run one OpenMP and BLAS thread in this worker process, whether a library is loaded now or later."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    os.environ.update(dict.fromkeys((_NUM_THREADS, "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    threadpool_limits(limits=1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def usable_cores(*, proc: Path = _PROC) -> int:
    """Return how many cores this process may keep busy, at least 1: its affinity and its quota, rounded up."""
    quota = quota_cores(proc=proc)
    return affinity_cores() if quota is None else max(1, min(affinity_cores(), math.ceil(quota)))


def affinity_cores() -> int:
    """Return how many cores this process may run on, whatever its quota."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota_cores(*, proc: Path = _PROC) -> float | None:
    """Return the CPU quota in cores, such as 0.5; None where there is none."""
    return min((quota for folder in _own_groups("cpu", proc) if (quota := _quota_cores(folder))), default=None)


def memory_limit_bytes(*, proc: Path = _PROC) -> int:
    """Return how much memory this process may use at most: its group's limit, or what the machine has."""
    limits = [limit for folder in _own_groups("memory", proc) if (limit := _memory_limit(folder))]
    return min([physical_bytes(proc=proc), *limits])


def physical_bytes(*, proc: Path = _PROC) -> int:
    """Return how much memory the machine has."""
    return _numbers(proc / "meminfo").get("MemTotal", 0) * 1024 or os.sysconf("SC_PAGE_SIZE") * os.sysconf(
        "SC_PHYS_PAGES"
    )


def free_memory_bytes(*, proc: Path = _PROC) -> int:
    """Return how much memory can still be taken before this process, or another, is killed for it."""
    return _scarcest_memory(proc)[0]


def require_memory(needed_bytes: int, what: str, *, proc: Path = _PROC) -> None:
    """Refuse to begin what could only end in a kill without a word.

    Args:
        needed_bytes: the least that ``what`` takes from now on.
        what: names the work: "the training".

    Raises:
        EnvironmentProblem: less memory is free.
    """
    free_bytes, group = _scarcest_memory(proc)
    free_bytes += _numbers(proc / "meminfo").get("SwapFree", 0) * 1024  # slow, but no reason to be killed
    if free_bytes >= needed_bytes:
        return
    where, remedy = None, "end other programs, or use a machine with more memory"
    if group is not None:
        where = f"{group}: a limit of {_gb(_memory_limit(group) or 0)} for this process and others of its group"
        remedy = "raise the limit (of the container, job or service), or end other processes in the group"
    raise EnvironmentProblem(
        f"{what} needs about {_gb(needed_bytes)} of memory on this machine, {_gb(free_bytes)} are free",
        where=where,
        remedy=remedy,
    )


def count_oom_kills(*, proc: Path = _PROC) -> int:
    """Return how many processes the kernel has killed for lack of memory, in own groups and on the machine."""
    counts = [_numbers(proc / "vmstat")]
    counts += [_numbers(group / name) for group in _own_groups("memory", proc) for name in _OOM_COUNTERS]
    return sum(count.get("oom_kill", 0) for count in counts)


def explain_kill(oom_kills_before: int, *, proc: Path = _PROC) -> str:
    """Return why a process here was most likely ended by SIGKILL; empty where nothing speaks for a lack of memory.

    Args:
        oom_kills_before: ``count_oom_kills()`` before the process was started.
    """
    free_bytes, most_bytes = free_memory_bytes(proc=proc), memory_limit_bytes(proc=proc)
    if count_oom_kills(proc=proc) <= oom_kills_before and free_bytes > _SHORT_OF_MEMORY * most_bytes:
        return ""
    return f"most likely out of memory: {_gb(free_bytes)} free of {_gb(most_bytes)} after its end"


def instruction_sets(*, proc: Path = _PROC) -> list[str]:
    """Return those of this processor that products depend on, strongest first; empty where nobody says."""
    lines = (_text(proc / "cpuinfo") or "").splitlines()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return [name for flag, name in _INSTRUCTION_SETS.items() if flag in flags]


def _own_groups(controller: str, proc: Path) -> Iterator[Path]:
    """Folders of this process' group under ``controller`` and of its parents, whose limits hold as well.

    /proc/self/cgroup names the group as its namespace sees it, mountinfo says which group a mount begins at: in a
    container without a namespace of its own that is the container's group, by the host's name for it.
    """
    own: dict[str, str] = {}
    for line in (_text(proc / "self" / "cgroup") or "").splitlines():
        _, _, named = line.partition(":")
        controllers, _, own_path = named.partition(":")
        own |= dict.fromkeys(controllers.split(","), own_path)  # "" is version 2
    for line in (_text(proc / "self" / "mountinfo") or "").splitlines():
        fields, _, kind = line.partition(" - ")
        root, mount_point = fields.split()[3:5]
        version_1 = kind.startswith("cgroup ") and controller in kind.split()[-1].split(",")
        path = own.get(controller if version_1 else "") if version_1 or kind.startswith("cgroup2 ") else None
        if path is None:
            continue
        below = PurePosixPath(path)
        below = below.relative_to(root) if below.is_relative_to(root) else PurePosixPath()
        group = Path(mount_point) if ".." in below.parts else Path(mount_point, below)
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(mount_point))


def _quota_cores(folder: Path) -> float | None:
    # Version 2: "50000 100000", or "max 100000". Version 1: two files, and -1 is no quota.
    text = _text(folder / "cpu.max")
    both = text.split() if text else [_text(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
    if len(both) != 2 or not all(part.isdecimal() and int(part) for part in both):
        return None
    return int(both[0]) / int(both[1])


def _memory_limit(folder: Path) -> int | None:
    limit = _text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes") or ""
    # Version 2 says "max" for none, version 1 a number near 2^63.
    return int(limit) if limit.isdecimal() and int(limit) < 1 << 60 else None


def _scarcest_memory(proc: Path) -> tuple[int, Path | None]:
    """(free bytes, the group whose limit leaves no more; None where the machine does)."""
    machine = _numbers(proc / "meminfo")
    available = machine.get("MemAvailable", machine.get("MemFree", 0)) * 1024 or physical_bytes(proc=proc)
    scarcest: tuple[int, Path | None] = (available, None)
    for group in _own_groups("memory", proc):
        if limit := _memory_limit(group):
            used = _text(group / "memory.current") or _text(group / "memory.usage_in_bytes") or ""
            left = limit - (int(used) if used.isdecimal() else 0) + _reclaimable(group)
            scarcest = min(scarcest, (max(0, min(limit, left)), group), key=lambda pair: pair[0])
    return scarcest


def _reclaimable(folder: Path) -> int:
    """Bytes of the page cache, which counts as used; the kernel gives it back before it kills."""
    fields = _numbers(folder / "memory.stat")
    # Version 1 counts children in "total_…" alone; version 2 counts them always, and the kernel's own caches.
    names = ("total_inactive_file", "total_active_file") if "total_cache" in fields else _RECLAIMABLE
    return sum(fields.get(name, 0) for name in names)


def _numbers(path: Path) -> dict[str, int]:
    """Numbers by name in a file of lines "name 123" or "name: 123 kB"; empty where there is none."""
    pairs = [line.replace(":", " ").split() for line in (_text(path) or "").splitlines()]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1 and pair[1].isdecimal()}


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except OSError:
        return None
