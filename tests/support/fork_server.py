"""Processes that begin with torch, transformers and DeepSpeed loaded: forks of one that loaded them once.

A fork is a process of its own as one that was started is: own session, environment, working folder and streams; signals
and ``kill -9`` reach it and nobody else; it leaves through Python's own exit. What it shares with other forks is the
seed of hashes, and what libraries read from the environment while they were imported.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import hold

PRELOADED = (
    "whisper_aut.cli", "whisper_aut.train.loop", "whisper_aut.train.watchdog", "torch.utils.tensorboard",
    "transformers.models.whisper.modeling_whisper", "transformers.models.auto.tokenization_auto",
    "deepspeed", "deepspeed.runtime.zero.muon.muon_optimizer",  # what `deepspeed.initialize` imports
)  # fmt: skip
# Read by libraries while they are imported; no test may ask its fork for others.
FIXED = {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
_LARGEST_REQUEST = 1 << 17


class Forked:
    """A process that was asked for, used as ``subprocess.Popen`` is; standard output and error go to files."""

    def __init__(self, pid: int, status: int, out: IO[str], err: IO[str]) -> None:
        self.pid, self.returncode = pid, None
        self._status, self._out, self._err = status, out, err

    def poll(self) -> int | None:
        """Exit code, negative where a signal ended it; None while it runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.returncode = _read_number(self._status)
            os.close(self._status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        if self.returncode is None and not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(["fork"], timeout or 0.0)
        self.poll()
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote, after its end."""
        self.wait(timeout)
        return self.said(), _content(self._err)

    def said(self) -> str:
        """What it has written to standard output until now."""
        return _content(self._out)

    def send_signal(self, number: int) -> None:
        """To this process alone, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """By SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _content(file: IO[str]) -> str:
    """Whole content; not by the position in the file, which the process shares."""
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), size, 0).decode("utf-8", "replace")


class ForkServer:
    """The process that loads everything once and forks."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env=os.environ | FIXED, pass_fds=[theirs.fileno()], start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip

    def start(
        self, words: Sequence[object], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Forked:
        """Start ``python WORDS`` (a script and its arguments, or ``-m`` and a module) in a new session.

        Args:
            words: what would follow the interpreter.
            env: the whole environment; this process's if left out.
            cwd: working folder; this process's if left out.
        """
        whole = dict(os.environ if env is None else env) | FIXED
        request = {"words": [str(word) for word in words], "env": whole, "cwd": str(cwd or Path.cwd())}
        out, err = (tempfile.TemporaryFile("a+") for _ in range(2))  # noqa: SIM115
        status, theirs = os.pipe()
        try:
            socket.send_fds(self._requests, [json.dumps(request).encode()], [out.fileno(), err.fileno(), theirs])
        finally:
            os.close(theirs)
        return Forked(_read_number(status), status, out, err)

    def run(self, words: Sequence[object], **settings: object) -> subprocess.CompletedProcess[str]:
        """Start it and wait for its end."""
        forked = self.start(words, **settings)  # type: ignore[arg-type]
        out, err = forked.communicate()
        assert forked.returncode is not None
        return subprocess.CompletedProcess([str(word) for word in words], forked.returncode, out, err)

    def end(self) -> None:
        """End the server; forks that still run go on."""
        # Shut down, not closed alone: a process that a test forked may still hold a copy of the socket.
        with contextlib.suppress(OSError):
            self._requests.shutdown(socket.SHUT_RDWR)
        self._requests.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _read_number(pipe: int) -> int:
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(pipe, 1)
        assert more, "the fork server has ended"
        line += more
    return int(line)


def _serve(requests: socket.socket) -> list[str]:
    """Fork for each request until the tests are gone. Comes back in the forks alone, with their words."""
    polled, children = select.poll(), {}
    polled.register(requests, select.POLLIN)
    while True:
        for ready, _ in polled.poll():
            if ready != requests.fileno():
                pid, status = children.pop(ready)
                polled.unregister(ready)
                os.close(ready)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                _tell(status, code)
                os.close(status)
                continue
            message, files, _, _ = socket.recv_fds(requests, _LARGEST_REQUEST, 3)
            if not message:
                sys.exit()
            out, err, status = files
            pid = os.fork()
            if pid == 0:
                for mine in (requests.detach(), status, *children, *(kept for _, kept in children.values())):
                    os.close(mine)
                return _become(json.loads(message), out, err)
            os.close(out), os.close(err)
            children[handle := os.pidfd_open(pid)] = (pid, status)
            polled.register(handle, select.POLLIN)
            _tell(status, pid)


def _tell(status: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(status, f"{number}\n".encode())


def _become(request: dict, out: int, err: int) -> list[str]:
    """Be the process that was asked for; its words come back."""
    os.setsid()
    os.dup2(out, 1), os.dup2(err, 2), os.close(out), os.close(err)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    return request["words"]


def _main(requests: socket.socket) -> None:
    for name in PRELOADED:
        with contextlib.suppress(ImportError):  # what is not installed is missed by who needs it
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else collections in forks copy every page
    words = _serve(requests)
    hold.install()
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    _main(socket.socket(fileno=int(sys.argv[1])))
