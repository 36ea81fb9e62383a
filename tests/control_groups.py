"""Real control groups with little memory or half a core, for tests that run a process in one."""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

_CGROUPS = Path("/sys/fs/cgroup")
_counter = itertools.count()


@contextmanager
def limited_group(*, cores: float | None = None, memory_bytes: int | None = None) -> Iterator[Callable[[], None]]:
    """Make groups with these limits and remove them at the end; skips where that is not allowed.

    Yields a function that puts the process which calls it there: ``subprocess.run(..., preexec_fn=enter)``.
    """
    limits: dict[str, dict[str, str]] = {}  # by folder of the mount, in the order in which they must be written
    if (_CGROUPS / "cgroup.controllers").exists():
        limits[""] = {} if cores is None else {"cpu.max": f"{round(cores * 100_000)} 100000"}
        if memory_bytes is not None:
            limits[""] |= {"memory.max": str(memory_bytes), "memory.swap.max": "0"}
    else:
        if cores is not None:
            limits["cpu"] = {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": str(round(cores * 100_000))}
        if memory_bytes is not None:
            limits["memory"] = {"memory.limit_in_bytes": str(memory_bytes)}
    name = f"whisper-aut-test-{os.getpid()}-{next(_counter)}"
    with ExitStack() as stack:
        groups = [_CGROUPS / mount / name for mount in limits]
        try:
            for group, files in zip(groups, limits.values(), strict=True):
                group.mkdir()
                stack.callback(_remove, group)
                for file, content in files.items():
                    if file != "memory.swap.max" or (group / file).exists():  # there is none without swap
                        (group / file).write_text(content)
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")

        def enter() -> None:
            for group in groups:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        yield enter


def _remove(group: Path) -> None:
    """A group is busy for a moment after its last process."""
    for _ in range(50):
        try:
            return group.rmdir()
        except OSError:
            time.sleep(0.1)
    group.rmdir()
