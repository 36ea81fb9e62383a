"""One machine's report: it survives its way as a line, whatever is printed around it."""

import json
import subprocess
import sys

import pytest
import torch

import whisper_aut
from whisper_aut.doctor.report import MachineReport, find_report, report_here


@pytest.fixture(scope="module")
def here() -> MachineReport:
    return report_here()


def test_it_says_what_is_installed_here(here):
    assert here.versions["whisper-aut"] == whisper_aut.__version__
    assert here.versions["torch"] == torch.__version__
    assert len(here.gpus) == torch.cuda.device_count()
    assert all(here.versions.values())
    assert {check.name for check in here.checks} >= {"torch", "decode WAV"}


def test_it_is_found_again_among_banners_and_other_talk(here):
    line = here.line()
    assert line.isascii() and "\n" not in line
    talk = f'Welcome to node-1!\n{{"motd": 1}}\n{{not json\n{line}\r\nlogout\n{{}}\n'
    assert find_report(talk) == here


@pytest.mark.parametrize("damage", ["", "no report", "{}", '{"whisper_aut_doctor": 3}', "[1]", "\x00"])
def test_what_is_no_report_is_none(damage):
    assert find_report(damage) is None


def test_a_report_of_the_first_version_is_read(here):
    """Machines of one hostfile may have different code; the difference is then named, not the report refused."""
    content = json.loads(here.line())
    assert content["capacity"]["usable_cores"] >= 1
    old = {key: value for key, value in content.items() if key != "capacity"} | {"whisper_aut_doctor": 1}
    old["checks"] = [check for check in old["checks"] if check["name"] in ("python", "torch")]
    found = find_report(json.dumps(old))
    assert found is not None and found.capacity is None
    assert found.versions == here.versions


def test_another_version_is_no_report(here):
    content = json.loads(here.line()) | {"whisper_aut_doctor": 3}
    assert find_report(json.dumps(content)) is None


def test_half_a_report_is_none(here):
    assert find_report(here.line()[:-2]) is None


def test_other_source_of_the_same_version_shows(tmp_path, monkeypatch, here):
    from whisper_aut.doctor import report

    (tmp_path / "a.py").write_text("x = 1")
    monkeypatch.setattr(report, "_PACKAGE", tmp_path)
    first = report._code()
    (tmp_path / "a.py").write_text("x = 2")
    assert len({first, report._code(), here.versions["code"]}) == 3


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024", "550.54.15"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs-builder)",
            "570.86.15",
        ),
    ],
)
def test_the_driver_is_read_from_the_kernel(tmp_path, monkeypatch, line, version):
    from whisper_aut.doctor import report

    (tmp_path / "version").write_text(f"{line}\nGCC version: gcc version 12.3.0\n")
    monkeypatch.setattr(report, "_DRIVER_FILE", tmp_path / "version")
    assert report._driver() == version


def test_the_command_prints_nothing_else_to_standard_output(here):
    done = subprocess.run([sys.executable, "-m", "whisper_aut", "doctor", "--json"], capture_output=True, text=True)
    assert done.returncode == 2 * any(
        check["needed"] and check["status"] != "ok" for check in json.loads(done.stdout)["checks"]
    )
    assert MachineReport.model_validate_json(done.stdout).versions == here.versions
