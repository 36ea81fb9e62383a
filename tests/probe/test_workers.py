"""Heads in several processes give the numbers of one process; no process outlives its work."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from whisper_aut.errors import LoaderLost, ProbeError
from whisper_aut.machine import free_memory_bytes, usable_cores
from whisper_aut.probe import predict
from whisper_aut.probe.arrays import TaskArrays
from whisper_aut.probe.fits import ProtocolFits, predict_all
from whisper_aut.probe.names import PROTOCOL_NAMES
from whisper_aut.probe.packed import pack, unpack
from whisper_aut.probe.protocols import PROTOCOLS, variant
from whisper_aut.probe.workers import Workers, choose_jobs

NUM_CLIPS, NUM_CLASSES = 160, 4


@pytest.fixture(scope="module")
def workers():
    with Workers(2, predict.__name__) as workers:
        workers.start()
        yield workers


def tasks() -> dict[str, TaskArrays]:
    """Folds and a fixed split, with one label a clip and with several."""
    class_ids, groups = np.random.default_rng(0).integers(0, NUM_CLASSES, NUM_CLIPS), np.arange(NUM_CLIPS) // 2
    folds = TaskArrays(class_ids, groups % 3, groups, NUM_CLASSES)
    fixed = replace(folds, folds=np.repeat(["train", "valid", "test"], [80, 30, 50]))
    labels = np.eye(NUM_CLASSES, dtype=bool)[class_ids]
    labels[::3, 0] = True
    return {
        "folds": folds,
        "fixed": fixed,
        "folds, several labels": replace(folds, label_matrix=labels),
        "fixed, several labels": replace(fixed, label_matrix=labels),
    }


@pytest.fixture
def stored(tmp_path) -> np.ndarray:
    """Two layers of vectors, mapped from a file as embeddings are: float32 [N, K, D]."""
    layers = np.random.default_rng(1).normal(size=(NUM_CLIPS, 2, 12)).astype(np.float32)
    layers[np.arange(NUM_CLIPS), :, tasks()["folds"].class_ids] += 1.0
    np.save(tmp_path / "stored.npy", layers)
    return np.load(tmp_path / "stored.npy", mmap_mode="r")


@pytest.fixture
def asked(stored) -> list[tuple[ProtocolFits, np.ndarray]]:
    """Every protocol on every task that it is defined for, one with learned weights of layers among them."""
    pairs = [
        (PROTOCOLS[name].fits(arrays, 3), stored[:, 1])
        for arrays in tasks().values()
        for name in PROTOCOL_NAMES
        if arrays.label_matrix is None or PROTOCOLS[name].several_labels
    ]
    return [*pairs, (variant(PROTOCOLS["paper"], layer="weighted").fits(tasks()["folds"], 3), stored)]


def test_several_processes_give_the_numbers_of_one(workers, asked):
    alone = list(predict_all(asked, Workers(1)))
    together = list(predict_all(asked, workers))
    assert len(alone) == len(together) == 19
    for one, other in zip(alone, together, strict=True):
        assert one.answers.dtype == other.answers.dtype
        np.testing.assert_array_equal(one.answers, other.answers)  # to the last bit; NaN where nothing is tested
        assert (one.notes, one.averaged) == (other.notes, other.averaged)


def test_large_heads_are_fitted_here_and_each_head_is_counted(workers, asked):
    """As large: the last encoder's heads, whatever their size."""
    heads, features = asked[1]
    large = replace(heads, fits=tuple(replace(fit, large_width=12) for fit in heads.fits))
    counted = []
    small, other = predict_all([(heads, features), (large, features)], workers, fitted=lambda: counted.append(1))
    assert np.mean(small.answers == other.answers) > 0.99  # but for the rounding of sums by several threads
    assert len(counted) == 6


def test_a_call_has_one_thread(workers):
    calls = [torch.get_num_threads] * 4
    assert list(workers.map(calls)) == list(Workers(1).map(calls)) == [1, 1, 1, 1]


def test_a_users_mistake_in_another_process_is_said_as_in_this_one(workers):
    calls = [partial(unpack, pack(np.arange(3)), (3,)), partial(unpack, "no base64", (3,)), partial(time.sleep, 60)]
    raised = []
    for ours in (Workers(1), workers):
        with pytest.raises(ProbeError) as error:
            list(ours.map(calls))
        raised.append(error.value.lines())
    assert raised[0] == raised[1] and "remedy: probe again" in raised[0][1]


def test_another_error_keeps_its_kind_and_says_where_it_was():
    with Workers(2) as workers, pytest.raises(ZeroDivisionError, match="division") as raised:
        list(workers.map([partial(divmod, 7, 2), partial(divmod, 1, 0)]))
    (note,) = raised.value.__notes__
    assert "_attempt" in note and raised.value.__cause__ is None


def test_a_process_that_is_killed_is_said():
    with Workers(2) as workers, pytest.raises(LoaderLost, match="killed"):
        list(workers.map([partial(signal.raise_signal, signal.SIGKILL), partial(time.sleep, 60)]))
    assert not children_of(os.getpid())


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_an_interrupted_one(tmp_path, ended_by):
    script = tmp_path / "script.py"
    script.write_text(
        "import functools, os, time\n"
        "from whisper_aut.probe.workers import Workers\n"
        "with Workers(2) as workers:\n"
        "    print(*workers.map([os.getpid]), flush=True)\n"
        "    list(workers.map([functools.partial(time.sleep, 600)] * 4))\n"
    )
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        processes = children_of(parent.pid)
        assert len(processes) >= 2
        if ended_by == signal.SIGINT:
            os.killpg(parent.pid, ended_by)  # as a terminal does
        else:
            parent.send_signal(ended_by)
        _, err = parent.communicate()
    while any(map(is_running, processes)):
        time.sleep(0.05)
    if ended_by == signal.SIGINT:
        assert err.strip().endswith("KeyboardInterrupt") and err.count("Traceback") <= 2


def children_of(pid: int) -> list[int]:
    """Processes that compute for it; the one that watches its shared memory is none of them."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            command = (folder / "cmdline").read_text()
        except (OSError, IndexError):
            continue
        if folder.name.isdecimal() and int(parent) == pid and "popen_loky" in command:
            found.append(int(folder.name))
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_as_many_processes_as_cores_where_the_work_is_worth_it():
    assert choose_jobs(None, 1e6) == max(1, min(usable_cores(), free_memory_bytes() // 10**9))
    assert choose_jobs(None, 1.0) == 1
    assert choose_jobs(5, 1.0) == 5 and choose_jobs(1, 1e6) == 1
