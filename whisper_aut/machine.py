"""What this process may use of its machine: cores, memory, instruction sets. Imports nothing that takes time.

A container's quota counts, not its host: a process with a quota of two cores on a host of 64 runs two threads, since 64
would be throttled together. Read from Linux' control groups, version 1 and 2; elsewhere affinity and total memory hold.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
# Read by OpenMP when it is loaded. A thread that waits for work then sleeps instead of spinning: beside another busy
# process a spinning thread takes the core that the thread it waits for needs (docs/benchmarks.md).
_SLEEPING_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
_NUM_THREADS = "OMP_NUM_THREADS"
_set_here: set[str] = set()

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
    if usable_cores() < _affinity_cores():
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


def usable_cores(*, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Return how many cores this process may keep busy, at least 1: its affinity and its quota, rounded up."""
    quotas = [math.ceil(quota) for folder in _own_groups("cpu", proc, cgroups) if (quota := _quota_cores(folder))]
    return max(1, min([_affinity_cores(), *quotas]))


def quota_cores(*, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> float | None:
    """Return the CPU quota in cores, such as 0.5; None where there is none."""
    return min((quota for folder in _own_groups("cpu", proc, cgroups) if (quota := _quota_cores(folder))), default=None)


def memory_limit_bytes(*, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Return how much memory this process may use at most: its group's limit, or what the machine has."""
    limits = [limit for folder in _own_groups("memory", proc, cgroups) if (limit := _memory_limit(folder))]
    return min([_meminfo(proc).get("MemTotal") or _physical_bytes(), *limits])


def free_memory_bytes(*, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Return how much memory can still be taken before this process, or another, is killed for it."""
    info = _meminfo(proc)
    free = [info.get("MemAvailable", info.get("MemFree", _physical_bytes()))]
    for folder in _own_groups("memory", proc, cgroups):
        limit = _memory_limit(folder)
        if limit:
            used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
            free.append(max(0, limit - used + _reclaimable(folder)))
    return min(free)


def instruction_sets(*, proc: Path = _PROC) -> list[str]:
    """Return those of this processor that products depend on, strongest first; empty where nobody says."""
    try:
        lines = (proc / "cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return [name for flag, name in _INSTRUCTION_SETS.items() if flag in flags]


def _affinity_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _own_groups(controller: str, proc: Path, cgroups: Path) -> Iterator[Path]:
    """Folders of this process' group under ``controller`` and of its parents, whose limits hold as well.

    In a container the path is often that of the host, which is not there; the mount's root is then the group.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # Version 1 mounts a controller under its own name, or several under both ("cpu,cpuacct").
        for root in [cgroups / controllers, cgroups / controller] if controllers else [cgroups]:
            if root.is_dir():
                group = root / path.strip("/")
                yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(root))
                break


def _quota_cores(folder: Path) -> float | None:
    if (both := _text(folder / "cpu.max")) and len(both.split()) == 2:  # version 2: "50000 100000", or "max 100000"
        quota, period = both.split()
        return None if quota == "max" else int(quota) / int(period)
    limit, of = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return limit / of if limit and of and limit > 0 else None  # version 1: -1 is no quota


def _memory_limit(folder: Path) -> int | None:
    limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
    return limit if limit and limit < 1 << 60 else None  # version 1 writes nearly 2^63 for none


def _reclaimable(folder: Path) -> int:
    """Bytes of the page cache that the kernel gives back when they are wanted."""
    fields = dict(line.split(maxsplit=1) for line in (_text(folder / "memory.stat") or "").splitlines() if " " in line)
    return int(fields.get("total_inactive_file", fields.get("inactive_file", "0")))


def _meminfo(proc: Path) -> dict[str, int]:
    """Bytes by name."""
    found = {}
    for line in (_text(proc / "meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        number = value.split()
        if number and number[0].isdecimal():
            found[name] = int(number[0]) * 1024
    return found


def _physical_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text and text.lstrip("-").isdecimal() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return None
