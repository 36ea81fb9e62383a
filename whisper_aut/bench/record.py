"""A measurement with its circumstances: command, commit, machine, versions, date."""

from __future__ import annotations

import json
import resource
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from whisper_aut.files import write_whole
from whisper_aut.train.run_folder import machine, package_versions


def finish(numbers: dict[str, Any], out: Path | None) -> None:
    """Print the numbers, and write them with their circumstances where a file is given."""
    width = max(map(len, numbers))
    for name, value in numbers.items():
        print(f"{name:{width}}  {_shown(value)}")
    if out is not None:
        record = {
            "numbers": numbers,
            "command": shlex.join(["python", "-m", "whisper_aut.bench", *sys.argv[1:]]),
            "commit": _commit(),
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine() | {"threads": torch.get_num_threads()},
            "versions": package_versions(),
        }
        write_whole(out, json.dumps(record, indent=1) + "\n")


def peak_gb() -> float:
    """Most memory that this process ever held, in GB (10^9 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return str(value)


def _commit() -> str | None:
    """Of the source tree; with a mark where files differ from it. None for an installed package."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        found = subprocess.run(git, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
