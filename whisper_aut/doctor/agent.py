"""Answers ``doctor --nodes`` on a machine of the hostfile: clock, disk, shared folder, port.

Its source is sent there over ssh and run by that machine's Python, which may have another version of this package or
none that works: standard library only, nothing of ours, ASCII, no syntax newer than Python 3.9. Questions come as
lines of JSON on standard input; each answer is one line that begins with ``MARK``. When the input ends, so does the
agent, and what it left in the shared folder goes with it.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "whisper-aut-agent "


def clock() -> "dict[str, Any]":
    """Seconds since 1970, read as late as possible."""
    return {"time_sec": time.time()}


def disk(folder: str) -> "dict[str, Any]":
    """Bytes that a user may still write where ``folder`` (empty: the home) is."""
    return {"free_bytes": shutil.disk_usage(folder or Path.home()).free}


def leave(path: str, token: str) -> "dict[str, Any]":
    """Write ``token`` to a file that must be new."""
    with Path(path).open("x", encoding="ascii") as file:
        _left.append(Path(path))
        file.write(token)
        file.flush()
        os.fsync(file.fileno())
    return {}


def look(path: str, token: str, wait_sec: float) -> "dict[str, Any]":
    """Whether the file is here too; network file systems may take a moment to show it."""
    deadline_sec = time.monotonic() + wait_sec
    while True:
        try:
            if Path(path).read_text(encoding="ascii") == token:
                return {"same": True}
        except FileNotFoundError:
            pass
        if time.monotonic() > deadline_sec:
            return {"same": False, "folder": Path(path).parent.is_dir()}
        time.sleep(0.1)


def listen(port: int, token: str) -> "dict[str, Any]":
    """Answer on ``port`` with ``token`` until the end; says under which address DeepSpeed will look for it."""
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("", port))
    server.listen(64)

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                connection.sendall(token.encode("ascii"))

    threading.Thread(target=serve, daemon=True).start()
    # The same question as DeepSpeed's launcher asks: the first address counts.
    names = subprocess.run(["hostname", "-I"], stdout=subprocess.PIPE, timeout=10, check=True).stdout.decode().split()
    if not names:
        raise OSError("`hostname -I` names no address")
    return {"address": names[0]}


def reach(address: str, port: int, token: str) -> "dict[str, Any]":
    """Connect to the first machine's port; another program that answers there is not the first machine."""
    with socket.create_connection((address, port), timeout=5) as connection:
        found = b""
        while len(found) < len(token):
            part = connection.recv(len(token) - len(found))
            if not part:
                break
            found += part
    if found.decode("ascii", "replace") != token:
        raise OSError("another program answers there")
    return {}


_left: "list[Path]" = []
_QUESTIONS: "dict[str, Callable[..., dict[str, Any]]]" = {
    "clock": clock,
    "disk": disk,
    "leave": leave,
    "look": look,
    "listen": listen,
    "reach": reach,
}


def main() -> None:
    """Answer until standard input ends."""
    try:
        for line in sys.stdin:
            question = json.loads(line)
            try:
                answer = _QUESTIONS[question.pop("do")](**question)
            except Exception as error:  # the asker judges what a failure means
                answer = {"error": str(error) or type(error).__name__}
            print(MARK + json.dumps(answer), flush=True)
    finally:
        for path in _left:
            path.unlink()


if __name__ == "__main__":
    main()
