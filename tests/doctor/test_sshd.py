"""The doctor over a real sshd on this machine, with keys that live as long as the test."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from whisper_aut.train.start import free_port

SSHD = shutil.which("sshd") or next((path for path in ("/usr/sbin/sshd",) if Path(path).exists()), None)


@pytest.fixture
def sshd_hosts(tmp_path, monkeypatch):
    """Two names for this machine in ``ssh``'s configuration, one of a machine whose port is closed."""
    if SSHD is None or shutil.which("ssh-keygen") is None or shutil.which("ssh") is None:
        pytest.skip("OpenSSH's server or client is not installed")
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
    port = free_port()
    (keys / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/user.pub\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
    )
    public = (keys / "host.pub").read_text()
    (keys / "known").write_text(f"[127.0.0.1]:{port} {public}")
    (keys / "ssh_config").write_text(
        f"Host node-1 node-2\n  Port {port}\nHost closed\n  Port 1\n"
        f"Host *\n  HostName 127.0.0.1\n  User {getpass.getuser()}\n  IdentityFile {keys}/user\n  IdentitiesOnly yes\n"
        f"  IdentityAgent none\n  UserKnownHostsFile {keys}/known\n  GlobalKnownHostsFile /dev/null\n"
    )
    real = shutil.which("ssh")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, script in {"ssh": f'exec {real} -F "{keys}/ssh_config" "$@"', "pdsh": "exit 1"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd gives up root; the package makes it when the service starts
    log = (keys / "log").open("w")
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(keys / "sshd_config")], stderr=log)
    try:
        for _ in range(600):
            if server.poll() is not None:
                pytest.skip(f"sshd does not start here: {(keys / 'log').read_text().strip()[-200:]}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        hosts = tmp_path / "hosts"
        hosts.write_text("node-1 slots=1\nnode-2 slots=1\nclosed slots=1\n")
        yield hosts
    finally:
        server.terminate()
        server.wait(timeout=60)
        log.close()


def test_machines_are_looked_at_over_a_real_ssh(sshd_hosts, doctor, tmp_path, free_port):
    shared = tmp_path / "shared"
    shared.mkdir()
    code, out, err = doctor("--nodes", sshd_hosts, "--shared", shared, "--port", free_port)
    assert code == 2, out + err
    _, first, second, closed = (line.split() for line in out.splitlines()[:4])
    assert first[:2] == ["node-1", "yes"] and "same" in first
    assert second[:2] == ["node-2", "yes"] and second[3] == "nothing" and "same" in second
    assert closed[:2] == ["closed", "no"]
    assert "error: closed: not reachable: ssh: connect to host 127.0.0.1 port 1: Connection refused" in out
    assert "make this work: ssh -o BatchMode=yes closed true" in out
    assert not list(shared.iterdir())
