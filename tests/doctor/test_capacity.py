"""What a machine gives: this one as it is, and made-up ones whose cores, memory or disk are short."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from whisper_aut import machine
from whisper_aut.doctor import capacity as module
from whisper_aut.doctor.capacity import Capacity, capacity_checks, measure_capacity
from whisper_aut.doctor.report import find_report

_spec = importlib.util.spec_from_file_location("control_groups", Path(__file__).parents[1] / "control_groups.py")
assert _spec is not None and _spec.loader is not None
_groups = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_groups)

GB = 10**9
PLENTY = Capacity(
    instruction_sets=["AVX-512", "AVX2"], float32_gflops=50.0, bfloat16_gflops=1.5, gpu=False, precision="float32",
    precision_reason="products run at 1.5 GFLOP/s a core in bfloat16, 50 in float32", usable_cores=2, host_cores=2,
    quota_cores=None, memory_limit_bytes=16 * GB, host_memory_bytes=16 * GB, free_memory_bytes=9 * GB,
    free_disk_bytes={"/home/me": 50 * GB, tempfile.gettempdir(): 50 * GB}, demo_minutes=9.4,
)  # fmt: skip


def checks_of(**changes):
    return {check.name: check for check in capacity_checks(PLENTY.model_copy(update=changes))}


@pytest.fixture(scope="module")
def here() -> Capacity:
    return measure_capacity(5 * GB)


def test_this_machine_is_described_by_what_the_program_uses(here):
    assert here.instruction_sets == machine.instruction_sets()
    assert here.precision in ("float32", "bfloat16")
    assert here.float32_gflops > 0.1 and here.bfloat16_gflops > 0.01
    assert (here.usable_cores, here.quota_cores) == (machine.usable_cores(), machine.quota_cores())
    assert here.usable_cores <= here.host_cores
    assert here.free_memory_bytes == 5 * GB
    assert list(here.free_disk_bytes) == list(dict.fromkeys([str(Path.cwd()), tempfile.gettempdir()]))
    assert here.demo_minutes > module.DEMO_FIXED_SEC / 60
    assert Capacity.model_validate_json(here.model_dump_json()) == here


def test_a_machine_that_has_enough_has_nothing_to_be_noted():
    checks = checks_of()
    assert {check.status for check in checks.values()} == {"ok"}
    assert checks["processor"].found == "AVX-512, AVX2; products: float32 50 GFLOP/s a core, bfloat16 1.5"
    assert checks["cores"].found == "2"
    assert checks["memory"].found == "9.0 GB free of 16.0 GB"
    assert checks["demo"].found == "about 9 minutes here, with nothing else on these cores"


def test_a_processor_without_bfloat16_is_no_fault():
    check = checks_of()["precision"]
    assert check.status == "ok"
    assert check.found.startswith("auto takes float32: products run at 1.5 GFLOP/s a core in bfloat16, 50 in float32; ")
    assert "no fault" in check.found
    assert "no fault" not in checks_of(precision="bfloat16")["precision"].found


def test_a_quota_is_said_where_it_is_below_the_hosts_cores():
    assert checks_of(usable_cores=1, quota_cores=0.5)["cores"].found == "1 of 2: a quota of 0.5 holds"
    assert "not given to this process" in checks_of(usable_cores=1)["cores"].found
    assert checks_of(quota_cores=8.0)["cores"].found == "2"


def test_memory_is_that_of_the_quota_and_too_little_is_a_note_with_a_remedy():
    limited = checks_of(memory_limit_bytes=3 * GB, free_memory_bytes=2 * GB)
    assert limited["memory"].status == "note"
    assert limited["memory"].found == (
        "2.0 GB free of 3.0 GB, the limit of this container or job (the machine has 16.0 GB)"
    )
    assert "the demo needs 4 GB" in limited["memory"].remedy
    assert limited["demo"].status == "note"
    assert limited["demo"].found == "too little memory for the demo (needs 4 GB)"


def test_too_little_disk_is_a_note_with_a_remedy():
    temporary = tempfile.gettempdir()
    checks = checks_of(free_disk_bytes={"/home/me": 5 * GB, temporary: 50 * GB}, free_memory_bytes=GB)
    assert checks["disk"].status == "note"
    assert checks["disk"].found == f"5.0 GB free in /home/me, 50.0 GB free in {temporary}"
    assert "the demo needs 6 GB" in checks["disk"].remedy
    assert checks["demo"].found == "too little memory and disk for the demo (needs 4 GB and 6 GB)"
    checks = checks_of(free_disk_bytes={"/home/me": 50 * GB, temporary: GB // 10})
    assert checks["disk"].status == "note" and "set TMPDIR" in checks["disk"].remedy
    assert checks["demo"].status == "ok"


def test_what_could_not_be_measured_is_noted_and_nothing_of_it_makes_the_installation_wrong():
    checks = checks_of(
        float32_gflops=None, bfloat16_gflops=None, precision=None, precision_reason="No module named 'torch'",
        demo_minutes=None, free_disk_bytes={}, instruction_sets=[],
    )  # fmt: skip
    assert "No module named 'torch'" in checks["precision"].found
    assert {name for name, check in checks.items() if check.status == "note"} == {"precision", "disk", "demo"}
    assert not any(check.needed for check in checks.values())
    assert all(check.remedy for check in checks.values() if check.status == "note")


def test_with_a_gpu_the_estimate_is_an_upper_one():
    checks = checks_of(gpu=True, precision="bfloat16", precision_reason="NVIDIA H100 computes bfloat16")
    assert checks["precision"].found == "auto takes bfloat16: NVIDIA H100 computes bfloat16"
    assert checks["demo"].found == "about 9 minutes on this machine's CPU, less with its GPU"


def test_the_demo_s_time_falls_with_cores_and_speed_down_to_what_is_fixed(monkeypatch):
    monkeypatch.setattr(module, "DEMO_FIXED_SEC", 60.0)
    monkeypatch.setattr(module, "DEMO_WORK_GFLOP", 6000.0)
    monkeypatch.setattr(module, "DEMO_SPEED_SHARE", {"float32": 0.5, "bfloat16": 0.25})
    assert module._demo_minutes({"float32": 100.0, "bfloat16": 1.0}, 2) == pytest.approx(2.0)
    assert module._demo_minutes({"float32": 100.0, "bfloat16": 800.0}, 2) == pytest.approx(1.25)
    assert module._demo_minutes({"float32": 100.0}, 8) == pytest.approx(1.25)
    assert module._demo_minutes({"float32": 100.0}, 64) == module._demo_minutes({"float32": 100.0}, 8)
    assert module._demo_minutes({}, 8) is None


def test_a_broken_torch_is_described_and_the_rest_as_well(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = measure_capacity(GB)
    assert found.precision is None and found.float32_gflops is None and found.demo_minutes is None
    assert "torch" in found.precision_reason
    assert found.usable_cores >= 1


def test_a_current_folder_that_was_removed_is_left_out(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    assert list(module._free_disk()) == [tempfile.gettempdir()]


def test_in_a_group_with_half_a_core_and_one_gigabyte_that_is_what_the_doctor_says():
    with _groups.limited_group(cores=0.5, memory_bytes=GB) as enter:
        done = subprocess.run(
            [sys.executable, "-m", "whisper_aut", "doctor", "--json"], preexec_fn=enter, capture_output=True, text=True
        )
    report = find_report(done.stdout)
    assert report is not None and report.capacity is not None, done.stderr
    assert (report.capacity.usable_cores, report.capacity.quota_cores) == (1, 0.5)
    assert report.capacity.memory_limit_bytes == pytest.approx(GB, rel=1e-3)
    checks = {check.name: check for check in report.checks}
    if (os.cpu_count() or 1) > 1:
        assert checks["cores"].found.endswith(": a quota of 0.5 holds")
    assert checks["demo"].found.startswith("too little memory")
    assert json.loads(done.stdout)["capacity"]["precision"] in ("float32", "bfloat16")
