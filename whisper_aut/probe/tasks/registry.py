"""Every benchmark by name, and the one place that turns what a user typed into a task."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from whisper_aut.errors import ProbeError
from whisper_aut.probe.tasks.benchmark import Benchmark
from whisper_aut.probe.tasks.crema_d import CREMA_D
from whisper_aut.probe.tasks.esc50 import ESC10, ESC50
from whisper_aut.probe.tasks.fma_small import FMA_SMALL
from whisper_aut.probe.tasks.fsd50k import FSD50K
from whisper_aut.probe.tasks.gtzan import GTZAN, GTZAN_PAPER
from whisper_aut.probe.tasks.labelled import MANIFEST_NAME, Task, load_task
from whisper_aut.probe.tasks.libricount import LIBRICOUNT
from whisper_aut.probe.tasks.nsynth import NSYNTH
from whisper_aut.probe.tasks.speech_commands import SPEECH_COMMANDS
from whisper_aut.probe.tasks.superb_commands import SPEECH_COMMANDS_SUPERB
from whisper_aut.probe.tasks.urbansound8k import URBANSOUND8K
from whisper_aut.probe.tasks.vocalsound import VOCALSOUND
from whisper_aut.probe.tasks.voxlingua import VOXLINGUA107_TOP10

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        ESC50,
        ESC10,
        URBANSOUND8K,
        FSD50K,
        VOCALSOUND,
        GTZAN,
        GTZAN_PAPER,
        NSYNTH,
        FMA_SMALL,
        SPEECH_COMMANDS,
        SPEECH_COMMANDS_SUPERB,
        CREMA_D,
        LIBRICOUNT,
        VOXLINGUA107_TOP10,
    )
}


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        ProbeError: there is none; the nearest names are given.
    """
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    near = difflib.get_close_matches(name, BENCHMARKS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ProbeError(
        f"there is no benchmark '{name}', and no folder of that name with {MANIFEST_NAME}",
        remedy=f"{hint}`whisper-aut tasks` lists the benchmarks; a folder is given as a path",
    )


def load_all(specs: Sequence[Path | str], data_root: Path | None) -> list[Task]:
    """The tasks that several ``--task`` name; see :func:`load`.

    Raises:
        ProbeError: one cannot be used, or two have one name.
    """
    tasks = [load(spec, data_root) for spec in specs]
    for name, count in Counter(task.name for task in tasks).items():
        if count > 1:
            raise ProbeError(
                f"{count} tasks are named '{name}'",
                remedy="give each benchmark once, and rename folders: a task is named after its folder",
            )
    return tasks


def check_named(specs: Sequence[Path | str]) -> None:
    """Check that ``--task`` names folders with a manifest, or benchmarks; their clips are not read.

    Raises:
        ProbeError: one is neither.
    """
    for spec in specs:
        folder = Path(spec)
        if (folder / MANIFEST_NAME).is_file():
            continue
        if isinstance(spec, Path) or os.sep in spec or (folder.is_dir() and spec not in BENCHMARKS):
            load_task(folder)  # which says what is missing
        else:
            find_benchmark(spec)


def load(spec: Path | str, data_root: Path | None) -> Task:
    """The task that ``--task`` names: a folder with a labelled manifest, or a benchmark under the data root.

    A text with a path separator is a folder, and so is an existing one; a benchmark's name is that benchmark unless the
    folder of that name is a labelled task.

    Raises:
        ProbeError: it is neither, or it cannot be used.
    """
    folder = Path(spec)
    if isinstance(spec, Path) or os.sep in spec or (folder / MANIFEST_NAME).is_file():
        return load_task(folder)
    if folder.is_dir() and spec not in BENCHMARKS:
        return load_task(folder)
    benchmark = find_benchmark(spec)
    if data_root is None:
        raise ProbeError(
            f"where the data of {benchmark.name} are is not said",
            where="--data-root",
            remedy="give the folder that benchmarks are in: --data-root DIR",
        )
    return benchmark.load(data_root)
