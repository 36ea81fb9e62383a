"""Cores and memory that a process may use: made-up trees of control groups, and real groups where they can be made."""

import importlib
import importlib.util
import multiprocessing
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from whisper_aut import machine
from whisper_aut.errors import EnvironmentProblem

_spec = importlib.util.spec_from_file_location("control_groups", Path(__file__).with_name("control_groups.py"))
assert _spec is not None and _spec.loader is not None
_groups = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_groups)

GB = 10**9
NONE_V1 = 9223372036854771712  # what version 1 writes where there is no limit
MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"
AVAILABLE, TOTAL = 8_000_000 * 1024, 16_000_000 * 1024


class Tree:
    """A folder like /proc, and mounted groups beside it."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.mounts = folder / "proc", folder / "cgroup"
        self._write(self.proc / "meminfo", MEMINFO)
        self._write(self.proc / "self" / "cgroup", "")
        self._write(self.proc / "self" / "mountinfo", "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n")

    def v1(self, controllers: str, path: str, root: str = "/") -> None:
        """Mount a hierarchy of version 1; the process is in ``path`` of it."""
        place = self.mounts / controllers
        place.mkdir(parents=True)
        self._append("mountinfo", f"36 31 0:32 {root} {place} rw,relatime - cgroup cgroup rw,{controllers}")
        self._append("cgroup", f"4:{controllers}:{path}")

    def v2(self, path: str, root: str = "/") -> None:
        """Mount the hierarchy of version 2."""
        self.mounts.mkdir(parents=True, exist_ok=True)
        self._append("mountinfo", f"35 24 0:30 {root} {self.mounts} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate")
        self._append("cgroup", f"0::{path}")

    def group(self, path: str, **files: object) -> Path:
        """Files of a group, "__" in a name for ".", by its path below the mounts."""
        for name, content in files.items():
            self._write(self.mounts / path / name.replace("__", "."), f"{content}\n")
        return self.mounts / path

    def _append(self, name: str, line: str) -> None:
        with (self.proc / "self" / name).open("a") as file:
            file.write(line + "\n")

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def tree(tmp_path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def test_without_groups_affinity_and_the_machine_s_memory_hold(tree, eight_cores):
    assert machine.usable_cores(proc=tree.proc) == 8
    assert machine.quota_cores(proc=tree.proc) is None
    assert machine.memory_limit_bytes(proc=tree.proc) == TOTAL
    assert machine.free_memory_bytes(proc=tree.proc) == AVAILABLE


def test_without_proc_there_is_an_answer_as_well(tmp_path):
    assert machine.usable_cores(proc=tmp_path / "none") == machine.affinity_cores()
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine.memory_limit_bytes(proc=tmp_path / "none") == physical
    assert machine.free_memory_bytes(proc=tmp_path / "none") == physical
    assert machine.instruction_sets(proc=tmp_path / "none") == []


@pytest.mark.parametrize(
    ("cpu_max", "quota", "cores"),
    [
        ("50000 100000", 0.5, 1), ("150000 100000", 1.5, 2), ("1600000 100000", 16.0, 8), ("max 100000", None, 8),
        ("", None, 8), ("50000", None, 8), ("50000 0", None, 8), ("0 100000", None, 8), ("half one", None, 8),
        ("-1 100000", None, 8),
    ],
)  # fmt: skip
def test_a_quota_of_version_2_is_rounded_up_and_a_malformed_one_is_none(tree, eight_cores, cpu_max, quota, cores):
    tree.v2("/job")
    tree.group("job", cpu__max=cpu_max)
    assert machine.quota_cores(proc=tree.proc) == quota
    assert machine.usable_cores(proc=tree.proc) == cores


@pytest.mark.parametrize(("quota_us", "quota"), [(250_000, 2.5), (-1, None), (0, None), ("", None)])
def test_a_quota_of_version_1_where_controllers_are_mounted_together(tree, eight_cores, quota_us, quota):
    tree.v1("cpu,cpuacct", "/job")
    tree.v1("cpuset", "/")
    tree.group("cpu,cpuacct/job", cpu__cfs_quota_us=quota_us, cpu__cfs_period_us=100_000)
    assert machine.quota_cores(proc=tree.proc) == quota
    assert machine.usable_cores(proc=tree.proc) == (3 if quota else 8)


def test_the_tightest_limit_on_the_way_to_the_root_holds(tree, eight_cores):
    tree.v2("/user.slice/session/job")
    tree.group("", cpu__max="max 100000")
    tree.group("user.slice", cpu__max="200000 100000", memory__max=4 * GB, memory__current=GB, memory__stat="anon 1")
    tree.group("user.slice/session", cpu__max="max 100000", memory__max="max", memory__current=GB)
    tree.group("user.slice/session/job", cpu__max="400000 100000", memory__max=6 * GB, memory__current=GB // 2)
    tree.group("user.slice/other", cpu__max="10000 100000", memory__max=1, memory__current=1)
    assert machine.usable_cores(proc=tree.proc) == 2
    assert machine.memory_limit_bytes(proc=tree.proc) == 4 * GB
    assert machine.free_memory_bytes(proc=tree.proc) == 3 * GB


@pytest.mark.parametrize(
    ("root", "path", "own"),
    [
        ("/docker/4f2a", "/docker/4f2a", ""),  # the container's group is mounted, named as the host names it
        ("/docker/4f2a", "/docker/4f2a/worker", "worker"),  # and a group made inside the container
        ("/", "/", ""),  # a namespace of its own
        ("/", "/docker/4f2a", "docker/4f2a"),  # the host's whole tree is mounted
        ("/docker/4f2a", "/elsewhere", ""),  # neither of these: the mount's own group is all that can be seen
        ("/", "/../4f2a", ""),  # a group outside of the namespace
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_group_is_found_in_a_container_with_and_without_namespaces(tree, eight_cores, version, root, path, own):
    if version == 1:
        tree.v1("memory", path, root)
        tree.v1("cpu", path, root)
        tree.group(f"memory/{own}", memory__limit_in_bytes=3 * GB, memory__usage_in_bytes=GB)
        tree.group(f"cpu/{own}", cpu__cfs_quota_us=300_000, cpu__cfs_period_us=100_000)
    else:
        tree.v2(path, root)
        tree.group(own, cpu__max="300000 100000", memory__max=3 * GB, memory__current=GB)
    tree.group("../4f2a", memory__max=1, memory__current=1)  # outside of the mount: never read
    assert machine.usable_cores(proc=tree.proc) == 3
    assert machine.memory_limit_bytes(proc=tree.proc) == 3 * GB
    assert machine.free_memory_bytes(proc=tree.proc) == 2 * GB


def test_where_both_versions_are_mounted_each_controller_is_where_it_is(tree, eight_cores):
    tree.v2("/unified/job")
    tree.v1("memory", "/job")
    tree.group("unified/job", cpu__max="200000 100000")
    tree.group("memory/job", memory__limit_in_bytes=GB, memory__usage_in_bytes=0)
    assert machine.usable_cores(proc=tree.proc) == 2
    assert machine.memory_limit_bytes(proc=tree.proc) == GB


def test_no_limit_of_version_1_is_no_limit(tree):
    tree.v1("memory", "/job")
    tree.group("memory/job", memory__limit_in_bytes=NONE_V1, memory__usage_in_bytes=GB)
    assert machine.memory_limit_bytes(proc=tree.proc) == TOTAL
    assert machine.free_memory_bytes(proc=tree.proc) == AVAILABLE


def test_the_page_cache_counts_as_free(tree):
    """A process that has read four gigabytes of files can still take that memory."""
    tree.v2("/job")
    tree.group(
        "job", memory__max=6 * GB, memory__current=5 * GB,
        memory__stat=f"anon {GB}\nfile {4 * GB}\nactive_file {3 * GB}\ninactive_file {GB}\nslab_reclaimable 1000",
    )  # fmt: skip
    assert machine.free_memory_bytes(proc=tree.proc) == 5 * GB + 1000


def test_version_1_counts_the_page_cache_of_children_in_totals(tree):
    tree.v1("memory", "/job")
    tree.group(
        "memory/job", memory__limit_in_bytes=6 * GB, memory__usage_in_bytes=5 * GB,
        memory__stat=f"cache 0\nactive_file 0\ninactive_file 0\ntotal_cache {4 * GB}\n"
        f"total_active_file {3 * GB}\ntotal_inactive_file {GB}",
    )  # fmt: skip
    assert machine.free_memory_bytes(proc=tree.proc) == 5 * GB


def test_free_is_never_more_than_the_limit_nor_less_than_nothing(tree):
    tree.v2("/job")
    folder = tree.group("job", memory__max=GB, memory__current=2 * GB, memory__stat="inactive_file 0")
    assert machine.free_memory_bytes(proc=tree.proc) == 0
    (folder / "memory.stat").write_text(f"inactive_file {5 * GB}\n")
    assert machine.free_memory_bytes(proc=tree.proc) == GB


def test_memory_that_is_free_is_not_complained_about(tree):
    machine.require_memory(AVAILABLE, "the training", proc=tree.proc)


def test_what_fits_with_swap_is_let_begin(tree):
    (tree.proc / "meminfo").write_text(MEMINFO + "SwapFree:        2000000 kB\n")
    machine.require_memory(9 * GB, "the training", proc=tree.proc)
    assert machine.free_memory_bytes(proc=tree.proc) == AVAILABLE


def test_too_little_memory_of_the_machine(tree):
    with pytest.raises(EnvironmentProblem) as caught:
        machine.require_memory(9 * GB, "the training", proc=tree.proc)
    assert caught.value.what == "the training needs about 9.0 GB of memory on this machine, 8.2 GB are free"
    assert caught.value.where is None
    assert "end other programs" in str(caught.value.remedy)


def test_too_little_memory_of_the_group_names_the_group(tree):
    tree.v2("/job")
    folder = tree.group("job", memory__max=GB * 3 // 10, memory__current=0)
    with pytest.raises(EnvironmentProblem) as caught:
        machine.require_memory(GB, "the training", proc=tree.proc)
    assert "0.3 GB are free" in caught.value.what
    assert str(caught.value.where).startswith(f"{folder}: a limit of 0.3 GB")
    assert "raise the limit" in str(caught.value.remedy)


def test_kills_are_counted_in_the_own_groups_of_both_versions_and_on_the_machine(tree):
    tree.v2("/a/b")
    tree.v1("memory", "/c")
    tree.group("a", memory__events="low 0\noom 7\noom_kill 2")
    tree.group("a/b", memory__events="oom_kill 1")
    tree.group("a/other", memory__events="oom_kill 50")
    tree.group("memory/c", memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 4")
    (tree.proc / "vmstat").write_text("nr_free_pages 9\noom_kill 10\n")
    assert machine.count_oom_kills(proc=tree.proc) == 17


def test_a_kill_is_explained_by_a_counter_that_rose_or_by_memory_that_is_short(tree):
    (tree.proc / "vmstat").write_text("oom_kill 3\n")
    assert machine.explain_kill(3, proc=tree.proc) == ""
    assert machine.explain_kill(2, proc=tree.proc) == (
        "most likely out of memory: 8.2 GB free of 16.4 GB after its end"
    )
    (tree.proc / "meminfo").write_text(MEMINFO.replace("8000000", " 700000"))
    assert "0.7 GB free of 16.4 GB" in machine.explain_kill(3, proc=tree.proc)


@pytest.mark.parametrize(
    ("cpuinfo", "names"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n", ["AVX-512-BF16", "AVX-512", "AVX2"]),
        ("flags : sse2\n", []),
        ("Features\t: fp asimd sve bf16\n", ["NEON", "BF16 (Arm)", "SVE"]),
        ("", []),
    ],
)
def test_instruction_sets_are_named(tmp_path, cpuinfo, names):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert machine.instruction_sets(proc=tmp_path) == names


@pytest.fixture
def thread_environment(monkeypatch):
    """Neither variable is set, and what is set in the test goes with it."""
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is put back, even if it was not set
        monkeypatch.delenv(name)
    monkeypatch.setattr(machine, "_set_here", set())


def test_waiting_threads_sleep_and_a_quota_limits_their_number(thread_environment, monkeypatch, eight_cores):
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    machine.set_thread_environment()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert [machine.threads_per_process(n) for n in (1, 2, 4)] == [2, 1, 1]  # a share, not what stands there


def test_without_a_quota_the_number_of_threads_is_left_to_openmp(thread_environment, monkeypatch, eight_cores):
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    machine.set_thread_environment()
    assert "OMP_NUM_THREADS" not in os.environ
    assert [machine.threads_per_process(n) for n in (1, 3, 16)] == [8, 2, 1]


def test_what_the_user_set_stays(thread_environment, monkeypatch, eight_cores):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    machine.set_thread_environment()
    assert (os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]) == ("3", "ACTIVE")
    assert machine.threads_per_process(2) == 3


@pytest.mark.parametrize("asked", ["", "0", "many", "-1"])
def test_a_number_of_threads_that_means_nothing_is_passed_over(thread_environment, monkeypatch, eight_cores, asked):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)
    assert machine.threads_per_process(2) == 2


def test_a_worker_computes_on_one_thread():
    code = """
        import numpy, torch
        from threadpoolctl import threadpool_info
        from whisper_aut.machine import use_one_thread
        torch.set_num_threads(3)
        use_one_thread()
        print(torch.get_num_threads(), *(pool["num_threads"] for pool in threadpool_info()))
        import sklearn.linear_model  # brings an OpenMP of its own
        print(*(pool["num_threads"] for pool in threadpool_info()))
    """
    threads = {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3"}
    assert set(_run(code, env=os.environ | threads).split()) == {"1"}


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("whisper_aut.data.pack_workers", "_start", ()), ("whisper_aut.data.sources.build", "_start_worker", (None,)),
        ("whisper_aut.leakage.search", "_start_worker", (None, ())), ("whisper_aut.demo.corpus", "use_one_thread", ()),
    ],
)  # fmt: skip
def test_each_pool_begins_its_workers_so(monkeypatch, module, name, arguments):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    begin = getattr(importlib.import_module(module), name)
    count = "max(pool['num_threads'] for pool in __import__('threadpoolctl').threadpool_info())"
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=begin, initargs=arguments) as pool:
        assert pool.submit(eval, f"__import__('torch').get_num_threads(), {count}").result() == (1, 1)


def test_the_numbers_of_this_machine_fit_together():
    assert 1 <= machine.usable_cores() <= machine.affinity_cores()
    assert 0 < machine.free_memory_bytes() <= machine.memory_limit_bytes() <= machine.physical_bytes()
    assert machine.count_oom_kills() >= 0


def test_half_a_core_and_300_mb_are_seen_by_a_process_that_has_no_more():
    code = """
        from whisper_aut.machine import free_memory_bytes, memory_limit_bytes, quota_cores, require_memory, usable_cores
        print(usable_cores(), quota_cores(), memory_limit_bytes(), free_memory_bytes())
        held = bytearray(100_000_000)
        print(free_memory_bytes())
        require_memory(300_000_000, "the training")
    """
    with _groups.limited_group(cores=0.5, memory_bytes=300_000_000) as enter:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], preexec_fn=enter, capture_output=True, text=True
        )
    cores, quota, limit, free, free_then = done.stdout.split()
    assert (cores, quota) == ("1", "0.5")
    assert 299_000_000 < int(limit) <= 300_000_000  # rounded down to pages
    assert 150_000_000 < int(free) <= int(limit)
    assert int(free) - int(free_then) == pytest.approx(100_000_000, rel=0.1)
    assert "EnvironmentProblem: the training needs about 0.3 GB of memory on this machine" in done.stderr
    assert "a limit of 0.3 GB" in done.stderr


@pytest.mark.parametrize("words", [["wer", "DIR", "--run", "DIR"], ["parity", "DIR"], ["doctor"]])
def test_a_command_that_cannot_even_load_its_libraries_says_so(words, tmp_path):
    (tmp_path / "whisper_aut.json").write_text("{}")  # parity asks for an export before it asks for memory
    words = [str(tmp_path) if word == "DIR" else word for word in words]
    with _groups.limited_group(memory_bytes=300_000_000) as enter:
        done = subprocess.run(
            [sys.executable, "-m", "whisper_aut", *words], preexec_fn=enter, capture_output=True, text=True
        )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {words[0]} needs about 0.4 GB of memory on this machine, 0.")
    assert "a limit of 0.3 GB" in done.stderr and "remedy: raise the limit" in done.stderr


def test_a_process_that_is_killed_for_memory_is_explained_by_its_parent():
    code = """
        import subprocess, sys
        from whisper_aut.machine import count_oom_kills, explain_kill
        before = count_oom_kills()
        asleep = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        asleep.kill()
        print(asleep.wait(), repr(explain_kill(before)))
        child = subprocess.run([sys.executable, "-c", "held = bytearray(1_000_000_000); print('held')"])
        print(child.returncode, explain_kill(before))
    """
    with _groups.limited_group(memory_bytes=300_000_000) as enter:
        first, second = _run(code, preexec_fn=enter).splitlines()
    assert first == "-9 ''"
    assert second.startswith("-9 most likely out of memory: 0.")
    assert "free of 0.3 GB" in second


def _run(code: str, **settings) -> str:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=True, **settings).stdout
