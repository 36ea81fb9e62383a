"""DeepSpeed's hostfile: a line a machine, ``NAME slots=GPUS``; comments begin with #."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from whisper_aut.errors import HostfileError

# A name that begins with a dash would be an option to ssh.
_LINE = re.compile(r"(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*)\s+slots=(?P<slots>[1-9][0-9]*)", re.ASCII)


@dataclass(frozen=True)
class Host:
    """One machine; ``slots`` is how many ranks, and so GPUs, are asked of it."""

    name: str
    slots: int


def read_hostfile(path: Path) -> list[Host]:
    """The machines in the file's order; the first one is where rank 0 runs.

    Raises:
        HostfileError: there is no such file, a line says something else, or a name stands there twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise HostfileError(
            f"the hostfile cannot be read: {error}", where=str(path), remedy="a line a machine: NAME slots=GPUS"
        ) from None
    hosts: list[Host] = []
    first_at: dict[str, int] = {}
    for number, raw in enumerate(lines, start=1):
        text = raw.partition("#")[0].strip()
        if not text:
            continue
        where = f"{path}:{number}"
        match = _LINE.fullmatch(text)
        if match is None:
            raise HostfileError(f"{text!r} is not 'NAME slots=GPUS'", where=where, remedy="e.g. node-1 slots=8")
        host = Host(match["name"], int(match["slots"]))
        if host.name in first_at:
            raise HostfileError(
                f"{host.name} stands here twice, first in line {first_at[host.name]}",
                where=where,
                remedy="one line a machine, with all its slots",
            )
        first_at[host.name] = number
        hosts.append(host)
    if not hosts:
        raise HostfileError(
            "the hostfile names no machine", where=str(path), remedy="a line a machine: NAME slots=GPUS"
        )
    return hosts
