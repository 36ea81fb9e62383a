"""Training runs as a user starts them: processes of their own, a small corpus.

Most are of a small random base, in forks of a process that has loaded the libraries; test_real_weights.py has runs of
tiny.en, in processes that begin from nothing.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fork_server import FIXED, Forked, ForkServer
from hold import Hold

from whisper_aut.train.start import free_port

TIMEOUT_SEC = 900  # a guard against hangs; a busy machine is no failure
# What a step read, to the clip, and by which plan; whatever the order of sums.
LEDGER = ("num_clips", "num_tokens", "audio_sec", "lr", "clips_digest")


@dataclass
class Training:
    """``whisper-aut train`` on one or more ranks, under way or ended."""

    out: Path
    ranks: list[Forked] | list[subprocess.Popen[str]]
    hold: Hold
    errors: list[str] = field(default_factory=list)

    def finish(self) -> tuple[int, str]:
        """Exit code of the first rank that failed (else 0) and what all ranks wrote to standard error."""
        self.errors = [rank.communicate(timeout=TIMEOUT_SEC)[1] for rank in self.ranks]
        return next((rank.returncode for rank in self.ranks if rank.returncode), 0), "\n".join(self.errors)

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Wait for something that the run does; fails where the run ends first."""
        deadline_sec = time.monotonic() + TIMEOUT_SEC
        while not happened():
            assert self.ranks[0].poll() is None, self.finish()[1]
            assert time.monotonic() < deadline_sec, "the run does not get there"
            time.sleep(0.02)

    def signal_all(self, number: signal.Signals) -> None:
        """To the whole process group, as a scheduler does it."""
        for rank in self.ranks:
            os.killpg(rank.pid, number)

    def text(self) -> str:
        """Whole lines of ``metrics.jsonl`` as they are."""
        path = self.out / "metrics.jsonl"
        text = path.read_text() if path.exists() else ""
        return text[: text.rfind("\n") + 1]

    def metrics(self) -> list[dict[str, Any]]:
        """Lines of ``metrics.jsonl``."""
        return [json.loads(line) for line in self.text().splitlines()]

    def steps(self) -> dict[int, dict[str, Any]]:
        """Step lines by number; of a step that was run twice the later line counts."""
        return {line["step"]: line for line in self.metrics() if line["event"] == "step"}

    def sums(self, step: int) -> dict[str, str]:
        """SHA-256 of the files of a checkpoint."""
        return dict(json.loads((self.out / "checkpoints" / f"step-{step:08d}" / "sha256.json").read_text()))

    def assert_same_clips(self, expected: "Training") -> None:
        """All steps are there and read the same."""
        steps, reference = self.steps(), expected.steps()
        assert sorted(steps) == sorted(reference) == [1, 2, 3, 4, 5, 6]
        for number, line in reference.items():
            assert {key: steps[number][key] for key in LEDGER} == {key: line[key] for key in LEDGER}, number

    def assert_same_bits(self, expected: "Training") -> None:
        """All steps read and computed the same, and weights and moments are the same to the last bit."""
        self.assert_same_clips(expected)
        sums = [
            {name: value for name, value in run.sums(6).items() if name != "state.json"} for run in (self, expected)
        ]
        assert sums[0] == sums[1]
        for number, line in expected.steps().items():
            step = self.steps()[number]
            assert [step[key] for key in ("loss", "grad_norm")] == [line["loss"], line["grad_norm"]], number


@pytest.fixture(scope="session")
def start_training(demo_weights: None, forks: ForkServer) -> Iterator[Callable[..., Training]]:
    """Starts ``whisper-aut train RECIPE --out OUT [overrides]`` on ``ranks`` processes, or once without a launcher.

    ``hold_after``: the step after which every rank waits until ``training.hold.release()``. ``forked=False``: processes
    that begin from nothing, as a user's. In the end no process and no checkpoint stays behind.
    """
    if find_spec("deepspeed") is None:
        pytest.skip("DeepSpeed is not installed")

    started: list[Training] = []

    def start(
        recipe: Path,
        out: Path,
        *overrides: str,
        ranks: int = 1,
        launched: bool = True,
        forked: bool = True,
        hold_after: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Training:
        port = str(free_port())
        hold = Hold(out.parent / f"hold-{len(started)}", hold_after or 0)
        hold.folder.mkdir(parents=True)
        words = ["-m", "whisper_aut", "train", str(recipe), *overrides, "--out", str(out)]
        processes: list[Any] = []
        for rank in range(ranks):
            launch = {} if not launched else {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }  # fmt: skip
            env = os.environ | FIXED | launch | (environment or {})
            env |= hold.environment if hold_after is not None else {}
            if forked:
                processes.append(forks.start(words, env=env))
                continue
            processes.append(
                subprocess.Popen(
                    [sys.executable, *words],
                    env=env,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
            )
        started.append(Training(out, processes, hold))
        return started[-1]

    yield start
    for training in started:
        for rank in training.ranks:
            if rank.poll() is None:
                rank.kill()
        shutil.rmtree(training.out / "checkpoints", ignore_errors=True)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory, write_corpus) -> Path:
    """Twelve clips of each domain, shared by the runs; none of them changes it."""
    return write_corpus(tmp_path_factory.mktemp("integration") / "corpus")


@pytest.fixture(scope="session")
def recipe(corpus, make_recipe, small_base) -> Path:
    """Six steps of four clips in two micro-batches, a checkpoint every two."""
    return make_recipe(corpus, base=small_base)


@pytest.fixture(scope="session")
def unbroken(start_training, recipe, tmp_path_factory) -> Training:
    """The run that nothing disturbs."""
    training = start_training(recipe, tmp_path_factory.mktemp("unbroken") / "run")
    code, errors = training.finish()
    assert code == 0, errors
    return training
