"""The demo: make the data, then the same commands that a user would type, each printed before it runs."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import whisper_aut
from whisper_aut.constants import Domain
from whisper_aut.demo.corpus import ProbeName, build_corpus
from whisper_aut.errors import EnvironmentProblem
from whisper_aut.machine import count_oom_kills, explain_kill, usable_cores
from whisper_aut.progress import format_duration
from whisper_aut.resources import resource

NUM_CLIPS: Mapping[Domain, int] = {"speech": 600, "environment": 1200, "music": 400}
# Half of the demo's time is their embedding at the full window, where each costs as much as 30 s of audio.
NUM_PROBE_CLIPS: Mapping[ProbeName, int] = {"demo_sounds": 160, "demo_music": 50, "demo_words": 60}
BLEND = 0.5  # share of the trained weights in the export: most of the gain, little of the loss (docs/experiments.md)

_NOTE = (
    "The data of this demo is synthesised from seed {seed}: speech by espeak-ng, sounds and music by rule. Training "
    "and probing clips come from disjoint voices and parameters. The numbers show that the way works from end to end; "
    "they say nothing about recordings."
)


def run_demo(out_dir: Path, *, base: str, seed: int, overrides: Sequence[str]) -> None:
    """Data, training, export, probes and report in ``out_dir``; what an earlier call finished is not done again.

    Raises:
        WhisperAutError: the data cannot be made.
        SystemExit: a command failed; it has said why, and its exit code is passed on.
    """
    begun_sec = time.monotonic()
    data, run, report = out_dir / "data", out_dir / "run", out_dir / "report"
    _make_data(data, seed)
    tasks = [part for name in NUM_PROBE_CLIPS for part in ("--task", str(data / "probe" / name))]
    recipe = str(resource("data_manifests/demo.yaml"))
    settings = [f"base.model={base}", f"data.root={data / 'train'}", f"seed={seed}", *overrides]
    _run("train", recipe, *settings, "--out", str(run))
    _run("export", str(run), "--blend", f"{BLEND:g}")
    _run(
        "probe", "--base", base, "--encoder", str(run / "export"), *tasks,
        "--out", str(report), "--seed", str(seed),
    )  # fmt: skip
    evals = [part for name in NUM_PROBE_CLIPS for part in ("--eval", str(data / "probe" / name))]
    _run("leakage", "--train", str(run), *evals, "--out", str(report / "leakage"))
    _run(
        "report", "--probe", str(report / "probe.json"), "--run", str(run), "--out", str(report),
        "--leakage", str(report / "leakage" / "leakage.json"),
        "--note", _NOTE.format(seed=seed),
    )  # fmt: skip
    print(f"demo: all of it took {format_duration(time.monotonic() - begun_sec)}", file=sys.stderr)


def _make_data(data: Path, seed: int) -> None:
    """Make the data, unless the very same was made before; the stamp is written last."""
    wanted = {
        "version": whisper_aut.__version__, "seed": seed, "clips": {**NUM_CLIPS}, "probe_clips": {**NUM_PROBE_CLIPS},
    }  # fmt: skip
    stamp = data / "made.json"
    if stamp.is_file() and json.loads(stamp.read_text("utf-8")) == wanted:
        return
    stamp.unlink(missing_ok=True)
    build_corpus(data, seed=seed, num_clips=NUM_CLIPS, num_probe_clips=NUM_PROBE_CLIPS, num_workers=usable_cores())
    stamp.write_text(json.dumps(wanted) + "\n", encoding="utf-8")


def _run(*arguments: str) -> None:
    """Run ``whisper-aut`` with these arguments in a process of its own, so that its memory goes back at its end."""
    print(f"+ whisper-aut {shlex.join(arguments)}", file=sys.stderr, flush=True)
    oom_kills_before = count_oom_kills()
    code = subprocess.run([sys.executable, "-m", "whisper_aut", *arguments], check=False).returncode
    if code < 0:
        reason = explain_kill(oom_kills_before) if code == -signal.SIGKILL else ""
        raise EnvironmentProblem(
            f"whisper-aut {arguments[0]} was ended by signal {-code}" + (f", {reason}" if reason else ""),
            remedy="make room if memory is short (the demo takes up to 4 GB), then run the same command again: what is "
            "finished is not done again",
        )
    if code:
        raise SystemExit(code)
