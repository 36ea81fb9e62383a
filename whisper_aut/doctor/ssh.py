"""The way to one machine over the user's own ssh: its doctor's report, and an agent there that answers questions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisper_aut.doctor import agent
from whisper_aut.doctor.report import MachineReport, find_report
from whisper_aut.errors import EnvironmentProblem

CONNECT_TIMEOUT_SEC = 10
_SSH = ("ssh", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_TIMEOUT_SEC}", "--")
_SSH_FAILED, _NO_SUCH_COMMAND = 255, 127
_LINE_LIMIT_BYTES = 1 << 20


class NoAnswer(Exception):
    """A machine that gave no answer; ``remedy`` says what to do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what, self.remedy = what, remedy
        super().__init__(what)


def remote_command(python: str, *arguments: str) -> str:
    """What the shell there is given. DeepSpeed's launcher takes PYTHONPATH along, so that is done here too."""
    path = os.environ.get("PYTHONPATH")
    return shlex.join([*(["env", f"PYTHONPATH={path}"] if path else []), python, *arguments])


async def ask_doctor(host: str, python: str, timeout_sec: float) -> MachineReport:
    """Run ``whisper-aut doctor --json`` there.

    Raises:
        NoAnswer: no connection, no such Python, no working whisper-aut, or no report in time.
    """
    command = remote_command(python, "-m", "whisper_aut", "doctor", "--json")
    async with _started(host, command) as process:
        try:
            output, errors = await asyncio.wait_for(process.communicate(b""), timeout_sec)
        except TimeoutError:
            raise NoAnswer(
                f"no answer within {timeout_sec:g} s", f"see what hangs: ssh {host} {command}; or raise --timeout"
            ) from None
    report = find_report(output.decode("utf-8", "replace"))
    if report is not None:
        return report
    said = last_line(errors.decode("utf-8", "replace")) or f"nothing, and left with {process.returncode}"
    if process.returncode == _SSH_FAILED:
        raise NoAnswer(f"not reachable: {said}", f"make this work: ssh -o BatchMode=yes {host} true")
    if process.returncode == _NO_SUCH_COMMAND:
        raise NoAnswer(f"no Python at {python}: {said}", "install at the same path on every machine, or give --python")
    raise NoAnswer(
        f"the doctor gave no report there: {said}", f"install the same whisper-aut there; then: ssh {host} {command}"
    )


def last_line(text: str) -> str:
    """The last line that says something, without control characters: it is shown on a terminal."""
    lines = ["".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "")


@dataclass(frozen=True)
class Agent:
    """:mod:`whisper_aut.doctor.agent` running on a machine."""

    process: asyncio.subprocess.Process
    timeout_sec: float

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Its answer, with a key ``error`` where it failed; no answer is an error too."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            await self.process.stdin.drain()
            answer: dict[str, Any] = await asyncio.wait_for(self._answer(), self.timeout_sec)
        except TimeoutError:
            return {"error": f"no answer within {self.timeout_sec:g} s"}
        except (OSError, ValueError):  # a closed pipe; a line that is no JSON or has no end
            return {"error": "the connection was lost"}
        return answer

    async def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            text = line.decode("utf-8", "replace")
            if text.startswith(agent.MARK):
                return dict(json.loads(text.removeprefix(agent.MARK)))
        raise ConnectionError


@asynccontextmanager
async def agent_on(host: str, python: str, timeout_sec: float) -> AsyncIterator[Agent]:
    """Start the agent there; it ends, and tidies up, with the block."""
    source = Path(agent.__file__).read_text(encoding="ascii")
    # The source goes over standard input and not in the command: the shell there, whichever it is, sees one line.
    command = remote_command(python, "-u", "-c", "import sys; exec(sys.stdin.read(int(sys.argv[1])))", str(len(source)))
    async with _started(host, command) as process:
        assert process.stdin is not None
        process.stdin.write(source.encode("ascii"))
        yield Agent(process, timeout_sec)
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 5)


@asynccontextmanager
async def _started(host: str, command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """ssh with a command, ended with its children when the block ends."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *_SSH, host, command, stdin=pipe, stdout=pipe, stderr=pipe, limit=_LINE_LIMIT_BYTES, start_new_session=True
        )
    except FileNotFoundError:
        raise EnvironmentProblem("ssh is not on PATH", remedy="install an OpenSSH client") from None
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
