"""The whole leakage check: index the evaluation clips, listen to every training clip, write what was found.

Written into the folder: ``pairs.jsonl``, ``leakage.json`` (the summary), ``leakage.html`` (to listen) and under
``clean/`` every training manifest without the clips that leak.
"""

from __future__ import annotations

import json
import platform
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import whisper_aut
from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.data.outputs import check_output, writing
from whisper_aut.files import file_sha256, write_whole
from whisper_aut.leakage import confirm, index, landmarks, search
from whisper_aut.leakage.page import render_page
from whisper_aut.leakage.pairs import Pair
from whisper_aut.leakage.search import Fingerprint, Heard
from whisper_aut.leakage.sides import Segment, count_rows, manifest_segments, task_segments, write_without
from whisper_aut.machine import usable_cores
from whisper_aut.probe.tasks.labelled import Task, hash_audio
from whisper_aut.progress import Progress
from whisper_aut.resources import command_line

SCHEMA_VERSION = 2  # 2: what was listened to by SHA-256, leaks by manifest and task
_MAX_NAMED = 1000  # unreadable clips that the summary names
_NUM_CLOSEST = 5


@dataclass
class _Side:
    """What was listened to of one manifest or task."""

    name: str
    sha256: str  # of a manifest's file; of a task's audio, as the probe has it
    clips: int = 0
    hours: float = 0.0
    unreadable: int = 0
    silent: int = 0


@dataclass(frozen=True)
class Leakage:
    """What a check found, and where it is written."""

    num_leaks: int
    num_suspicions: int
    leaked_rows: dict[Path, set[int]]
    num_unreadable: int
    page: Path
    clean: list[Path]


@dataclass
class _Tally:
    """What is gathered while the streams run; it grows with what is wrong, not with what is read."""

    sides: dict[str, dict[str, _Side]]
    unreadable: list[dict[str, str]] = field(default_factory=list)
    leaks: list[Pair] = field(default_factory=list)
    suspicions: list[Pair] = field(default_factory=list)
    closest: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    num_guesses: int = 0

    def count(self, kind: str, segment: Segment, duration_sec: float, problem: str, *, silent: bool) -> None:
        side = self.sides[kind][segment.side]
        side.clips += 1
        side.hours += duration_sec / 3600
        side.unreadable += bool(problem)
        side.silent += silent and not problem
        if problem and len(self.unreadable) < _MAX_NAMED:
            self.unreadable.append(
                {"side": segment.side, "id": segment.id, "audio": str(segment.audio), "why": problem}
            )

    @property
    def num_unreadable(self) -> int:
        return sum(side.unreadable for sides in self.sides.values() for side in sides.values())


def check_leakage(
    manifests: Sequence[Path],
    tasks: Sequence[Task],
    out_dir: Path,
    *,
    workers: int,
    num_players: int,
    show_progress: bool = True,
) -> Leakage:
    """Look for audio of the tasks in the manifests, and write everything into ``out_dir``.

    Args:
        manifests: of training clips, JSONL or Parquet.
        tasks: evaluation sets.
        out_dir: made where it is missing; what an earlier check wrote is replaced.
        workers: processes that decode and listen; 0 for none but this one.
        num_players: pairs that the page lets one hear.
        show_progress: over both sides.

    Raises:
        ManifestError: a manifest cannot be used, or would be replaced, or the folder cannot be written.
        LoaderLost: a process was killed.
    """
    clean = [_clean_path(out_dir, path, number, manifests) for number, path in enumerate(manifests)]
    for out in clean:
        check_output(out, manifests)
    num_rows = [count_rows(path) for path in manifests]
    with writing(out_dir, "the check"):
        out_dir.mkdir(parents=True, exist_ok=True)
    clips = task_segments(tasks)
    tally = _Tally(
        {
            "train": {str(path): _Side(str(path), file_sha256(path)) for path in manifests},
            "eval": {task.name: _Side(task.name, hash_audio(task.clips)) for task in tasks},
        }
    )
    with writing(out_dir, "the check"), tempfile.TemporaryDirectory(dir=out_dir, prefix=".index") as scratch:
        folder = Path(scratch)
        _index(folder, clips, tally, workers, show_progress)
        training = (segment for path in manifests for segment in manifest_segments(path))
        heard = search.search(folder, clips, training, workers=workers)
        _listen(heard, clips, tally, sum(num_rows), show_progress)
    tally.leaks.sort(key=lambda pair: -(pair.match.found.confidence if pair.match else 0.0))
    leaked: dict[Path, set[int]] = {path: set() for path in manifests}
    for pair in tally.leaks:
        leaked[Path(pair.train.side)].add(pair.train.row)
    for path, out in zip(manifests, clean, strict=True):
        write_without(path, leaked[path], out)
    summary = _summary(tally, clean, leaked, workers)
    page = out_dir / "leakage.html"
    rendered = render_page(summary, tally.leaks, tally.suspicions, num_players)
    with writing(out_dir, "the check"):
        write_whole(out_dir / "pairs.jsonl", "".join(_lines(tally.leaks + tally.suspicions)))
        write_whole(out_dir / "leakage.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
        write_whole(page, rendered)
    return Leakage(len(tally.leaks), len(tally.suspicions), leaked, tally.num_unreadable, page, clean)


def _index(folder: Path, clips: Sequence[Segment], tally: _Tally, workers: int, show_progress: bool) -> None:
    progress = Progress("index evaluation clips", len(clips), unit="clips", enabled=show_progress)

    def heard(clip: Segment, found: Fingerprint) -> None:
        silent = found.landmarks is not None and not len(found.landmarks)
        tally.count("eval", clip, found.num_samples / SAMPLE_RATE, found.problem, silent=silent)
        progress.advance()

    search.build_index(folder, clips, workers=workers, heard=heard)


def _listen(
    all_heard: Iterable[Heard], clips: Sequence[Segment], tally: _Tally, num_rows: int, show_progress: bool
) -> None:
    progress = Progress("listen to training clips", num_rows, unit="clips", enabled=show_progress)
    by_recording: dict[str, list[int]] = defaultdict(list)
    for number, clip in enumerate(clips):
        for recording in clip.recordings:
            by_recording[recording].append(number)
    for heard in all_heard:
        segment = heard.segment
        assert segment is not None
        tally.count("train", segment, heard.duration_sec, heard.problem, silent=not heard.num_peaks)
        tally.num_guesses += heard.num_guesses
        leaks = {match.clip: Pair(segment, clips[match.clip], match) for match in heard.matches}
        tally.leaks += leaks.values()
        same = {number for recording in segment.recordings for number in by_recording.get(recording, ())}
        tally.suspicions += [Pair(segment, clips[number], None) for number in sorted(same - leaks.keys())]
        if (near := heard.closest) is not None:
            tally.closest.append((near.found.confidence, Pair(segment, clips[near.clip], near).row() | {"by": "none"}))
            tally.closest.sort(key=lambda entry: -entry[0])
            del tally.closest[_NUM_CLOSEST:]
        progress.advance(note=f"{len(tally.leaks)} leaks")


def _lines(pairs: Iterable[Pair]) -> Iterable[str]:
    return (json.dumps(pair.row(), ensure_ascii=False) + "\n" for pair in pairs)


def _clean_path(out_dir: Path, path: Path, number: int, manifests: Sequence[Path]) -> Path:
    alike = sum(other.name == path.name for other in manifests) > 1
    return out_dir / "clean" / (f"{number}-{path.name}" if alike else path.name)


def _summary(tally: _Tally, clean: Sequence[Path], leaked: dict[Path, set[int]], workers: int) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "command": command_line(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "whisper-aut": whisper_aut.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("numpy", "scipy", "soundfile", "soxr")},
        },
        "parameters": {
            "min_confidence": confirm.MIN_CONFIDENCE,
            "min_margin": confirm.MIN_MARGIN,
            "min_support": confirm.MIN_SUPPORT,
            "index_peaks_per_sec": landmarks.INDEX_PEAKS_PER_SEC,
            "index_landmarks_per_sec": landmarks.INDEX_LANDMARKS_PER_SEC,
            "speeds": list(landmarks.SPEEDS),
            "query_sec": search.QUERY_SEC,
            "max_candidates": index.MAX_CANDIDATES,
            "workers": workers,
            "cores": usable_cores(),
        },
        "leaks": len(tally.leaks),
        "leaked_train_clips": sum(map(len, leaked.values())),
        "leaked_eval_clips": len({(pair.eval.side, pair.eval.row) for pair in tally.leaks}),
        "suspicions": len(tally.suspicions),
        "guesses_compared": tally.num_guesses,
        "closest_not_reported": [row for _, row in tally.closest],
        "train": [asdict(side) for side in tally.sides["train"].values()],
        "eval": [asdict(side) for side in tally.sides["eval"].values()],
        "unreadable": tally.unreadable,
        "leaked": _by_manifest_and_task(tally.leaks),
        "clean": [
            {"manifest": str(path), "path": str(out), "sha256": file_sha256(out)}
            for path, out in zip(leaked, clean, strict=True)
        ],
    }


def _by_manifest_and_task(leaks: Sequence[Pair]) -> list[dict[str, Any]]:
    by_sides: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in leaks:
        by_sides[pair.train.side, pair.eval.side].append(pair)
    return [
        {
            "train": train,
            "eval": task,
            "pairs": len(pairs),
            "train_clips": len({pair.train.row for pair in pairs}),
            "eval_clips": len({pair.eval.row for pair in pairs}),
        }
        for (train, task), pairs in by_sides.items()
    ]
