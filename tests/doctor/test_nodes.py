"""Several machines: asked for real through a stand-in for ssh, and the judgement on made-up answers."""

import json
import os
import shlex
import shutil
import sys
from dataclasses import replace

import pytest

from whisper_aut.doctor.examine import Check
from whisper_aut.doctor.hostfile import Host
from whisper_aut.doctor.nodes import Request, Seen, judge
from whisper_aut.doctor.report import MachineReport
from whisper_aut.doctor.ssh import NoAnswer, last_line, remote_command

VERSIONS = {"whisper-aut": "0.1.0", "code": "abc", "torch": "2.14.1", "NCCL": "2.28.9", "driver": "570.1"}


def seen(name: str = "a", *, slots: int = 2, gpus: int = 2, checks=(), versions=None, **found) -> Seen:
    report = MachineReport(
        whisper_aut_doctor=1, host=name, versions=VERSIONS | (versions or {}), gpus=["H200"] * gpus, checks=list(checks)
    )
    return replace(Seen(Host(name, slots), report, clock_sec=100.0, free_gb=500.0, shared="", port=""), **found)


def test_machines_that_agree_have_no_problem(machines, doctor, tmp_path, free_port):
    shared = tmp_path / "it's $(touch pwned) shared"
    shared.mkdir()
    hosts = machines.hostfile(node_1={"banner": "Welcome!\n{}"}, node_2={})
    code, out, err = doctor("--nodes", hosts, "--shared", shared, "--port", free_port)
    assert code == 0, out + err
    first, second = (line.split() for line in out.splitlines()[1:3])
    assert first[:3] == ["node-1", "yes", "2/2"] and first[-2:] == ["same", "open"]
    assert second[:4] == ["node-2", "yes", "2/2", "nothing"] and second[-2:] == ["same", "reached"]
    assert "2 machines, 4 ranks" in out and "nothing stands in the way of a run" in out
    assert "error" not in out
    assert not list(shared.iterdir()) and not list(tmp_path.rglob("pwned"))
    assert sorted(host for host, _ in machines.asked()) == ["node-1", "node-1", "node-2", "node-2"]


def test_machines_that_do_not_fit_together_are_named_with_what_and_remedy(machines, doctor, tmp_path, free_port):
    python = tmp_path / "py; touch pwned $(touch pwned) 'x"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "shared").mkdir()
    (tmp_path / "another").mkdir()
    elsewhere = f"sed -u -e 's,{tmp_path}/shared,{tmp_path}/another,' -e 's/\"port\": {free_port}/\"port\": 1/' | "
    strange = {"gpus": 1, "versions": {"torch": "2.13.0", "driver": "999.1"}, "first": elsewhere}
    hosts = machines.hostfile(node_1={}, node_2=strange, node_3=None)
    code, out, err = doctor(
        "--nodes", hosts, "--shared", tmp_path / "shared", "--port", free_port, "--python", python, "--json"
    )
    assert code == 2, out + err
    answer = json.loads(out)
    found = {(problem["host"], problem["breaks"]): [] for problem in answer["problems"]}
    for problem in answer["problems"]:
        assert problem["remedy"]
        found[problem["host"], problem["breaks"]].append(problem["what"])
    torch = answer["hosts"][0]["report"]["versions"]["torch"]
    notes = found.pop(("node-2", False))
    assert notes[0] == "driver is 999.1, on node-1 it is 570.86.15"
    found.pop(("node-1", False), None)  # that the disk of whoever runs the tests is nearly full
    assert found == {
        ("node-2", True): [
            "2 ranks are asked for, 1 GPUs were found",
            f"torch is 2.13.0, on node-1 it is {torch}",
            f"{tmp_path / 'shared'}: the folder is another one: a file of the first machine is not in it",
            f"port {free_port} of the first machine: 127.0.0.1:{free_port}: [Errno 111] Connection refused",
        ],
        ("node-3", True): [
            "not reachable: ssh: Could not resolve hostname node-3: Name or service not known",
        ],
    }
    assert abs(answer["hosts"][1]["clock_difference_sec"]) < 1  # one clock, read twice
    assert not list(tmp_path.rglob("pwned"))


def test_machines_that_hang_or_have_no_python_cost_no_more_than_the_timeout(machines, doctor):
    hosts = machines.hostfile(
        first=None, hangs={"hangs": True}, also={"hangs": True, "banner": "Welcome"}, broken={"first": "exit 3; "}
    )
    code, out, _ = doctor("--nodes", hosts, "--timeout", "5", "--python", "/no/such/python")
    assert code == 2
    assert "error: hangs: no answer within 5 s" in out and "error: also: no answer within 5 s" in out
    assert "error: broken: the doctor gave no report there: nothing, and left with 3" in out
    assert "error: first: not reachable: ssh: Could not resolve hostname first" in out
    assert out.count("remedy: ") == 4
    assert "nothing stands in the way" not in out


def test_a_python_that_is_not_there_is_named(machines, doctor):
    code, out, _ = doctor("--nodes", machines.hostfile(a={}), "--python", "/no/such/python")
    assert code == 2
    assert "error: a: no Python at /no/such/python" in out
    assert "give --python" in out


def test_without_pdsh_several_machines_cannot_be_started(machines, doctor, monkeypatch):
    programs = machines.folder / "programs"
    (programs / "pdsh").unlink()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin")
    if shutil.which("pdsh"):
        pytest.skip("pdsh is installed here")
    assert "error: here: pdsh is not on PATH" in doctor("--nodes", machines.hostfile(a=None, b=None))[1]
    assert "pdsh" not in doctor("--nodes", machines.hostfile(a=None))[1]


def test_without_ssh_there_is_one_short_error(machines, doctor, monkeypatch):
    hosts = machines.hostfile(a={})
    monkeypatch.setenv("PATH", str(machines.folder))
    code, _, err = doctor("--nodes", hosts)
    assert code == 2
    assert "error: ssh is not on PATH" in err and "Traceback" not in err


def test_options_for_machines_without_machines_and_a_wrong_hostfile_are_refused(doctor, tmp_path):
    code, _, err = doctor("--shared", tmp_path)
    assert code == 2 and "add --nodes HOSTFILE" in err
    (tmp_path / "hosts").write_text("a slots=1\nb slots=many\n")
    code, _, err = doctor("--nodes", tmp_path / "hosts")
    assert code == 2 and "'b slots=many'" in err and f"{tmp_path / 'hosts'}:2" in err


def test_the_remote_shell_gets_words_and_nothing_to_run(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/a b:$(x)")
    words = ["/p q/py", "-m", "whisper_aut", "it's; rm -rf $HOME `x`\n&"]
    assert shlex.split(remote_command(*words)) == ["env", "PYTHONPATH=/a b:$(x)", *words]
    monkeypatch.delenv("PYTHONPATH")
    assert shlex.split(remote_command(*words)) == words


def test_what_a_machine_says_cannot_steer_the_terminal():
    assert last_line("first\n\x1b[2J\x07bad \x1b]0;x\n\n") == "[2J bad  ]0;x"


def test_machines_alike_are_judged_well():
    assert judge([seen("a"), seen("b", gpus=8)], Request(shared="/s")) == []


@pytest.mark.parametrize(
    ("there", "what", "breaks"),
    [
        ({"gpus": 1}, "2 ranks are asked for, 1 GPUs were found", True),
        ({"versions": {"code": "abd"}}, "code is abd, on a it is abc", True),
        ({"versions": {"NCCL": "2.27"}}, "NCCL is 2.27, on a it is 2.28.9", True),
        ({"versions": {"cuDNN": "9"}}, "cuDNN is 9, on a it is none", True),
        ({"versions": {"driver": "560.1"}}, "driver is 560.1, on a it is 570.1", False),
        ({"clock_sec": 103.0}, "its clock is 3 s ahead of that of a", False),
        ({"clock_sec": 40.0}, "its clock is 60 s behind that of a", False),
        ({"clock_sec": None}, "the connection was lost after its doctor had answered", True),
        ({"free_gb": 3.0}, "3 GB are free at /s", False),
        ({"shared": "no such folder"}, "/s: no such folder", True),
        ({"port": "timed out"}, "port 29500 of the first machine: timed out", True),
        ({"checks": [Check("resample", "missing", "no soxr", "pip")]}, "resample is missing: no soxr", True),
        ({"checks": [Check("deepspeed", "missing", "no", "pip", needed=False)]}, "deepspeed is missing: no", True),
    ],
)  # fmt: skip
def test_what_differs_on_one_machine_is_its_problem(there, what, breaks):
    (problem,) = judge([seen("a"), seen("b", **there)], Request(shared="/s"))
    assert (problem.host, problem.what, problem.breaks) == ("b", what, breaks)
    assert problem.remedy


@pytest.mark.parametrize(
    "there", [{"clock_sec": 101.9}, {"checks": [Check("ffmpeg", "missing", "", "", needed=False)]}]
)
def test_what_a_run_does_not_mind_is_no_problem(there):
    assert judge([seen("a"), seen("b", **there)], Request()) == []


def test_versions_are_held_against_the_first_machine_that_answered():
    silent = Seen(Host("a", 2), silence=NoAnswer("not reachable: x", "mend it"))
    problems = judge([silent, seen("b"), seen("c", versions={"torch": "2"})], Request())
    assert [(problem.host, problem.what) for problem in problems] == [
        ("a", "not reachable: x"),
        ("c", "torch is 2, on b it is 2.14.1"),
    ]
