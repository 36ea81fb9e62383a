"""Machines to look at: an ``ssh`` that runs the command in a shell here, as a machine's own sshd would there."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whisper_aut.train import start

# What ssh does, without a network: the last word is given to a shell. ``machines.json`` says how a machine differs from
# this one; a name that is not in it cannot be resolved. Only what its doctor prints is edited, the rest is real.
_SSH = """
import json, os, pathlib, subprocess, sys, time
here = pathlib.Path(__file__).resolve().parent
*options, host, command = sys.argv[1:]
assert options == ["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "--"], options
machine = json.loads((here / "machines.json").read_text()).get(host)
with (here / "asked.jsonl").open("a") as log:
    log.write(json.dumps([host, command]) + "\\n")
if machine is None:
    print(f"ssh: Could not resolve hostname {host}: Name or service not known", file=sys.stderr)
    sys.exit(255)
print(machine.get("banner", ""), flush=True)
if machine.get("hangs"):
    time.sleep(600)
os.environ.update(machine.get("environment", {}))
shell = ["sh", "-c", machine.get("first", "") + command]
if "--json" not in command:
    os.execvp("sh", shell)
done = subprocess.run(shell, stdout=subprocess.PIPE, text=True)
if done.stdout.startswith("{"):
    report = json.loads(done.stdout)
    report["gpus"] = ["H200, 141 GB"] * machine.get("gpus", 2)
    report["versions"] |= {"NCCL": "2.28.9", "driver": "570.86.15"} | machine.get("versions", {})
    done.stdout = json.dumps(report) + "\\n"
print(done.stdout, end="", flush=True)
sys.exit(done.returncode)
"""


class Machines:
    """Names of machines with what is special about each; hostfile lines for them."""

    def __init__(self, folder: Path, asked: Path) -> None:
        self.folder, self._asked = folder, asked

    def hostfile(self, *, slots: int = 2, **machines: dict[str, Any] | None) -> Path:
        """``None`` makes a machine that cannot be found; an underscore in a name becomes a dash."""
        named = {name.replace("_", "-"): special for name, special in machines.items()}
        there = {name: special for name, special in named.items() if special is not None}
        (self._asked.parent / "machines.json").write_text(json.dumps(there))
        path = self.folder / "hosts"
        path.write_text("".join(f"{name} slots={slots}\n" for name in named))
        return path

    def asked(self) -> list[tuple[str, str]]:
        """Host and command of every call of ssh."""
        return [tuple(json.loads(line)) for line in self._asked.read_text().splitlines()]


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """``ssh``, ``pdsh`` and a ``hostname -I`` for a test first on the path."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "ssh.py").write_text(_SSH)
    scripts = {
        "ssh": f'exec "{sys.executable}" "{programs / "ssh.py"}" "$@"',
        "pdsh": "exit 1",
        "hostname": "echo 127.0.0.1 ::1",
    }
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return Machines(tmp_path, programs / "asked.jsonl")


@pytest.fixture(name="free_port")
def _free_port() -> int:
    """A port that nothing listens on."""
    return start.free_port()


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs ``whisper-aut doctor`` in this process: exit code, standard output in one line a thought, standard error."""
    from whisper_aut.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "250")
        monkeypatch.setattr(sys, "argv", ["whisper-aut", "doctor", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run
