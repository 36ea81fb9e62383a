"""Where the program finds itself: files that ship beside the code, and the command line it was called with."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource(relative: str) -> Path:
    """Path of ``ds_configs/zero2.json``, ``data_manifests/demo.yaml`` and the like; it may not exist."""
    in_wheel = _PACKAGE / "_resources" / relative
    return in_wheel if in_wheel.exists() else _PACKAGE.parent / relative


def command_line() -> str:
    """The command that runs, as a person would type it; `python -m whisper_aut` becomes `whisper-aut`."""
    program = Path(sys.argv[0])
    name = "whisper-aut" if program.name == "__main__.py" else program.name
    return shlex.join([name, *sys.argv[1:]])
