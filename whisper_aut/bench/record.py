"""A measurement with its circumstances: command, commit, machine, versions, date."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from whisper_aut.files import write_whole
from whisper_aut.train.environment import machine, package_versions


def finish(numbers: dict[str, Any], out: Path | None, shown: Sequence[str] | None = None) -> None:
    """Print the numbers (or ``shown``, lines made of them), and write them with their circumstances to a given file."""
    width = max(map(len, numbers))
    print(
        "\n".join([f"{name:{width}}  {_shown(value)}" for name, value in numbers.items()] if shown is None else shown)
    )
    if out is not None:
        write_whole(out, json.dumps({"numbers": numbers, **circumstances()}, indent=1) + "\n")


def circumstances() -> dict[str, Any]:
    """What a number depends on: command, commit, date, machine, versions."""
    given = sys.argv[1:] if Path(sys.argv[0]).parent.name == "bench" else sys.argv[2:]
    return {
        "command": shlex.join(["whisper-aut", "bench", *given]),
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine() | {"threads": torch.get_num_threads()},
        "versions": package_versions() | {name: _version(name) for name in ("accelerate", "triton")},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


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
