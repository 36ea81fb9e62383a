"""Files that ship beside the code: DeepSpeed strategies and recipes, in a checkout or inside an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource(relative: str) -> Path:
    """Path of ``ds_configs/zero2.json``, ``data_manifests/demo.yaml`` and the like; it may not exist."""
    in_wheel = _PACKAGE / "_resources" / relative
    return in_wheel if in_wheel.exists() else _PACKAGE.parent / relative
