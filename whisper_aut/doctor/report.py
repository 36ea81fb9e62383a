"""This machine as one line of JSON: versions, GPUs, capacity and checks. ``doctor --nodes`` compares such lines."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

import whisper_aut
from whisper_aut.doctor.capacity import Capacity, capacity_checks, measure_capacity
from whisper_aut.doctor.examine import Check, examine
from whisper_aut.machine import free_memory_bytes

T = TypeVar("T")

_PACKAGE = Path(whisper_aut.__file__).resolve().parent
_DRIVER_FILE = Path("/proc/driver/nvidia/version")


class MachineReport(BaseModel):
    """What one machine says of itself. A thing that is not there has no version, rather than an empty one.

    Version 2 added ``capacity`` and checks that are a "note"; reports of version 1 are still read.
    """

    model_config = ConfigDict(frozen=True)

    whisper_aut_doctor: Literal[1, 2]
    host: str
    versions: dict[str, str]
    gpus: list[str]
    checks: list[Check]
    capacity: Capacity | None = None

    def line(self) -> str:
        """One line of ASCII, whatever the terminal's encoding on either side."""
        return json.dumps(self.model_dump())


def report_here() -> MachineReport:
    """Look at this machine; nothing raises. What libraries print meanwhile goes to standard error."""
    with contextlib.redirect_stdout(sys.stderr):
        free_bytes = free_memory_bytes()  # before libraries are loaded: what they take is free again afterwards
        checks = examine()
        capacity = measure_capacity(free_bytes)
        return MachineReport(
            whisper_aut_doctor=2,
            host=platform.node(),
            versions=_versions(),
            gpus=_quiet(_gpus) or [],
            checks=[*checks, *capacity_checks(capacity)],
            capacity=capacity,
        )


def find_report(output: str) -> MachineReport | None:
    """The report in what a machine printed; login banners and other talk around it are passed over."""
    for line in reversed(output.splitlines()):
        with contextlib.suppress(ValidationError):
            return MachineReport.model_validate_json(line.strip())
    return None


def _versions() -> dict[str, str]:
    looks: dict[str, Callable[[], str]] = {
        "whisper-aut": lambda: whisper_aut.__version__,
        "code": _code,
        "python": platform.python_version,
        "torch": _torch,
        "deepspeed": lambda: importlib.metadata.version("deepspeed"),
        "transformers": lambda: importlib.metadata.version("transformers"),
        "NCCL": _nccl,
        "driver": _driver,
    }
    found = {name: _quiet(look) for name, look in looks.items()}
    return {name: version for name, version in found.items() if version}


def _quiet(look: Callable[[], T]) -> T | None:
    try:
        return look()
    except Exception:  # a broken installation is the checks' business; here it only has no version
        return None


def _code() -> str:
    """Checkouts at different commits call themselves the same version; their source does not."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(_PACKAGE).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _torch() -> str:
    import torch

    return str(torch.__version__)  # with the build, "+cu130", which the package's metadata leave out


def _nccl() -> str:
    import torch

    return ".".join(map(str, torch.cuda.nccl.version())) if torch.cuda.is_available() else ""


def _driver() -> str:
    if _DRIVER_FILE.exists():
        first = _DRIVER_FILE.read_text().splitlines()[0]
        if match := re.search(r"\b\d+\.\d+(\.\d+)?\b", first):
            return match[0]
    ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(ask, capture_output=True, text=True, timeout=20, check=True).stdout.split()[0]


def _gpus() -> list[str]:
    import torch

    properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB" for gpu in properties]
