"""Kill a real run again and again, and hold every outcome against the run that nothing disturbed.

    python tests/integration/fault_campaign.py --data DATA --out FOLDER [--random 20] [--ranks 2] [--only WORD]

DATA holds speech.jsonl, environment.jsonl and music.jsonl, as for ``launch/real_tiny.sh``.

Each trial starts ``whisper-aut train`` on real tiny.en weights, kills it (SIGKILL) or damages what it saved, starts it
again until it ends, and compares: every step read the same clips (their digest), weights and moments equal to the last
bit. Prints a table and writes ``campaign.json``; leaves with 1 if any trial differs. Too long for continuous
integration (half a minute a trial); the short form of it is ``test_faults.py``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisper_aut.train.start import free_port

STEPS = 6
LIMIT_SEC = 600
RECIPE = Path(__file__).resolve().parents[2] / "data_manifests" / "real_tiny.yaml"
# Short clips and few of them, so that a run is mostly what is put to the test: starts, saves, validations.
SETTINGS = (
    f"train.steps={STEPS}", "train.clips_per_step=4", "train.micro_batch_clips=2", "train.checkpoint_every_steps=2",
    "train.validate_every_steps=3", "train.deepspeed=zero2", "data.holdout_clips=4", "data.max_duration_sec=6",
)  # fmt: skip
READ = ("num_clips", "num_tokens", "audio_sec", "lr", "clips_digest", "loss", "grad_norm")

# Runs the command line in a process that kills itself at a boundary of its checkpoints: before the COUNT-th event NAME
# on a path that has PART in it. Python reports opens, renames, removals (audit hooks); a sync is counted by hand.
_DIE_AT = """
    import os, signal, sys
    name, part, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    def reached(event, arguments=()):
        global count
        if event == name and part in str(arguments):
            count -= 1
            if count == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    fsync = os.fsync
    def counted(handle):
        reached("fsync", os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)
    os.fsync = counted
    sys.addaudithook(reached)
    from whisper_aut.cli import main
    sys.argv = ["whisper-aut", *sys.argv[4:]]
    sys.exit(main())
"""

# Where a save can be cut off: name, event, part of the path, which of them.
BOUNDARIES = (
    ("before the folder aside is made", "os.mkdir", ".step-00000004", 1),
    ("before the state is written", "open", ".step-00000004", 1),
    ("before the sums are written", "open", "sha256.json", 3),
    ("before the first sync", "fsync", ".step-00000004", 1),
    ("before the last sync", "fsync", ".step-00000004", 6),
    ("before the rename", "os.rename", ".step-00000004", 1),
    ("between the rename and latest", "open", ".latest", 3),
    ("before latest is replaced", "os.rename", ".latest", 3),
    ("before an old one is set aside", "os.rename", ".step-00000002.old", 1),
    ("in the middle of a removal", "os.remove", "exp_avg", 1),
    ("before the run's description", "open", "run.json", 1),
)


@dataclass(frozen=True)
class Outcome:
    """Of one trial."""

    trial: str
    deaths: int
    resumed_from: list[int]
    same_clips: bool
    same_bits: bool
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether nothing was lost."""
        return self.same_clips and self.same_bits


class Campaign:
    """Starts runs of one recipe."""

    def __init__(self, data: Path, out: Path, num_ranks: int) -> None:
        self.data, self.out, self.num_ranks = data, out, num_ranks
        self.run_sec = 0.0  # that an undisturbed run takes on this machine, now

    def start(self, run: Path, *, die_at: tuple[str, str, int] | None = None) -> list[subprocess.Popen[str]]:
        """All ranks; rank 0 dies at a boundary."""
        port = str(free_port())
        arguments = ["train", str(RECIPE), f"data.root={self.data}", *SETTINGS, "--out", str(run)]
        ranks = []
        for rank in range(self.num_ranks):
            command = [sys.executable, "-P", "-m", "whisper_aut", *arguments]
            if die_at is not None and rank == 0:
                command = [sys.executable, "-P", "-c", textwrap.dedent(_DIE_AT), *map(str, die_at), *arguments]
            launched = {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(self.num_ranks),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
            }  # fmt: skip
            ranks.append(
                subprocess.Popen(
                    command, env=os.environ | launched, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
                )
            )
        return ranks

    def trial(self, name: str, run: Path, deaths: list[Callable[[Path], list[subprocess.Popen[str]]]]) -> Outcome:
        """Die as told, one death after the other, then go on to the end and compare."""
        begun_sec = time.monotonic()
        num_deaths = 0
        for death in deaths:
            dead = death(run)
            for rank in dead:
                rank.communicate(timeout=LIMIT_SEC)
            num_deaths += any(rank.returncode != 0 for rank in dead)
        ranks = self.start(run)
        errors = "\n".join(rank.communicate(timeout=LIMIT_SEC)[1] for rank in ranks)
        if any(rank.returncode for rank in ranks):
            raise SystemExit(f"{name}: the run does not go on:\n{errors[-4000:]}")
        reference = self.out / "unbroken"
        resumed = [line["step"] for line in lines(run) if line["event"] == "resume"]
        outcome = Outcome(
            trial=name,
            deaths=num_deaths,
            resumed_from=resumed,
            same_clips=ledger(run) == ledger(reference),
            same_bits=tensors(run) == tensors(reference),
            seconds=time.monotonic() - begun_sec,
        )
        shutil.rmtree(run / "checkpoints")
        return outcome

    def killed(self, *, after_sec: float = 0.0, when: str = "", victims: tuple[int, ...] = ()) -> Any:
        """A death: SIGKILL to ``victims`` (all, if none) so long after ``when`` is in the metrics (or the start)."""

        def die(run: Path) -> list[subprocess.Popen[str]]:
            before = (run / "metrics.jsonl").stat().st_size if (run / "metrics.jsonl").exists() else 0
            ranks = self.start(run)
            while when and ranks[0].poll() is None and not any(when in line for line in new_lines(run, before)):
                time.sleep(0.005)
            time.sleep(after_sec)
            for index in victims or range(self.num_ranks):
                if ranks[index].poll() is None:
                    ranks[index].send_signal(signal.SIGKILL)
            return ranks

        return die

    def at_random(self, rng: random.Random) -> Any:
        """A death of all ranks at a moment of the run; where it was over before, it is run again."""

        def die(run: Path) -> list[subprocess.Popen[str]]:
            while True:
                begun_sec = time.monotonic()
                ranks = self.start(run)
                # Before a fifth of it, nothing is there but imports.
                moment_sec = begun_sec + rng.uniform(0.2, 1.0) * self.run_sec
                while time.monotonic() < moment_sec and ranks[0].poll() is None:
                    time.sleep(0.01)
                if ranks[0].poll() is None:
                    for rank in ranks:
                        rank.send_signal(signal.SIGKILL)
                    return ranks
                for rank in ranks:
                    rank.communicate(timeout=LIMIT_SEC)
                self.run_sec = time.monotonic() - begun_sec
                shutil.rmtree(run)

        return die

    def at(self, event: str, part: str, count: int) -> Any:
        """A death of rank 0 at a boundary of a save."""
        return lambda run: self.start(run, die_at=(event, part, count))


def lines(run: Path) -> list[dict[str, Any]]:
    """Of ``metrics.jsonl``."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def new_lines(run: Path, before: int) -> list[str]:
    """What was appended to the metrics since."""
    path = run / "metrics.jsonl"
    return path.read_bytes()[before:].decode(errors="replace").splitlines() if path.exists() else []


def ledger(run: Path) -> dict[int, list[Any]]:
    """What every step read and computed; of a step that was run twice the later line counts."""
    return {line["step"]: [line[key] for key in READ] for line in lines(run) if line["event"] == "step"}


def tensors(run: Path) -> dict[str, str]:
    """SHA-256 of weights and moments after the last step, computed anew."""
    folder = run / "checkpoints" / f"step-{STEPS:08d}"
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.safetensors"))}


def damaged(campaign: Campaign, how: Callable[[Path], None]) -> Any:
    """No death: the newest checkpoint of the finished run is damaged."""

    def damage(run: Path) -> list[subprocess.Popen[str]]:
        shutil.copytree(campaign.out / "unbroken", run)
        how(run / "checkpoints" / f"step-{STEPS:08d}" / "weights.safetensors")
        return []

    return damage


def flip(path: Path) -> None:
    """One bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def trials(campaign: Campaign, num_random: int, seed: int) -> Iterator[tuple[str, list[Any]]]:
    """Name and deaths of each trial."""
    for name, event, part, count in BOUNDARIES:
        yield f"boundary: {name}", [campaign.at(event, part, count)]
    yield "during the first validation", [campaign.killed(after_sec=7.0)]
    yield "right after a validation", [campaign.killed(when='"event": "validation"')]
    yield "one rank only, in mid-run", [campaign.killed(when='"step": 3', victims=(campaign.num_ranks - 1,))]
    yield "rank 0 only, in mid-run", [campaign.killed(when='"step": 3', victims=(0,))]
    yield "during resume", [campaign.killed(when='"step": 4'), campaign.killed(after_sec=6.0)]
    yield "right after resume", [campaign.killed(when='"step": 3'), campaign.killed(when='"event": "resume"')]
    yield "newest truncated", [damaged(campaign, lambda path: os.truncate(path, path.stat().st_size // 2))]
    yield "newest with one bit flipped", [damaged(campaign, flip)]
    rng = random.Random(seed)
    for number in range(num_random):
        yield f"random moment {number + 1}", [campaign.at_random(rng)]


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and campaign.json; must not exist")
    parser.add_argument("--data", type=Path, required=True, help="folder with the manifests of real_tiny.yaml")
    parser.add_argument("--random", type=int, default=20, help="kills at random moments")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--only", default="", help="trials whose name has this in it")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True)
    campaign = Campaign(asked.data.resolve(), asked.out.resolve(), asked.ranks)
    begun_sec = time.monotonic()
    for rank in campaign.start(asked.out / "unbroken"):
        errors = rank.communicate(timeout=LIMIT_SEC)[1]
        if rank.returncode:
            raise SystemExit(f"the undisturbed run fails:\n{errors[-4000:]}")
    campaign.run_sec = time.monotonic() - begun_sec
    print(f"the undisturbed run took {campaign.run_sec:.0f} s", flush=True)
    outcomes: list[Outcome] = []
    for number, (name, deaths) in enumerate(trials(campaign, asked.random, asked.seed)):
        if asked.only in name:
            outcomes.append(campaign.trial(name, asked.out / f"trial-{number}", deaths))
            one = outcomes[-1]
            print(
                f"{'ok    ' if one.passed else 'FAILED'} {name}: {one.deaths} death(s), "
                f"resumed from {one.resumed_from}, clips {'same' if one.same_clips else 'DIFFER'}, "
                f"bits {'same' if one.same_bits else 'DIFFER'}, "
                f"{one.seconds:.0f} s",
                flush=True,
            )
    failed = [one for one in outcomes if not one.passed]
    (asked.out / "campaign.json").write_text(json.dumps([one.__dict__ for one in outcomes], indent=1) + "\n")
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} trials end where the undisturbed run ends")
    return 1 if failed or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
