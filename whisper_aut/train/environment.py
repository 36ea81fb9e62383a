"""What a number depends on besides the code: versions of packages, processor and GPU; and memory, a number of all."""

from __future__ import annotations

import platform
import resource
from importlib import metadata
from pathlib import Path

import torch

import whisper_aut
from whisper_aut.machine import instruction_sets, usable_cores


def package_versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    versions = {"python": platform.python_version(), "whisper-aut": whisper_aut.__version__}
    for name in ("torch", "transformers", "deepspeed", "numpy", "soundfile", "soxr", "scikit-learn"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def machine() -> dict[str, str | int | None]:
    """Return processor, instruction sets, the cores that this process may use, and the GPU."""
    return {
        "cpu": _cpu_name(),
        "instruction_sets": ", ".join(instruction_sets()) or None,
        "num_cpus": usable_cores(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def peak_memory_gb(device: torch.device | str = "cpu") -> float:
    """Most memory that this process has held on ``device``, in GB (10^9 bytes)."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts in KiB


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
