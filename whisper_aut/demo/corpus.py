"""The demo's data, made on the spot: training manifests of three domains and three probing tasks, from one seed.

Training and probing never share a sound. Every clip has its own random stream, keyed by partition (see ``draw``);
continuous parameters come from disjoint stripes of their ranges; the voices of ``demo_words`` speak nowhere in
training (other vocal tracts), and each of them is in one fold only. Shared are discrete choices and what a task is
about: the kinds of sound, the styles of music and their instruments, the language.

A clip's bytes depend on (seed, partition, subject, index) alone: not on how many clips are asked for, nor on the
number of processes.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import soundfile

from whisper_aut.constants import DOMAINS, SAMPLE_RATE, Domain
from whisper_aut.demo import dsp
from whisper_aut.demo.captions import piece_caption, scene_caption
from whisper_aut.demo.draw import Draw
from whisper_aut.demo.environment import KIND_NAMES, make_scene
from whisper_aut.demo.music import STYLE_NAMES, make_piece
from whisper_aut.demo.sentences import NUM_SENTENCES, sentence
from whisper_aut.demo.speech import PROBE_VOICES, TRAIN_VOICES, WORDS, spoken_clip, spoken_word
from whisper_aut.errors import EnvironmentProblem, RecipeError
from whisper_aut.machine import usable_cores, use_one_thread
from whisper_aut.progress import track

ProbeName = Literal["demo_sounds", "demo_music", "demo_words"]

PROBE_CLASSES: dict[ProbeName, tuple[str, ...]] = {
    "demo_sounds": KIND_NAMES,
    "demo_music": STYLE_NAMES,
    "demo_words": WORDS,
}
"""The labels of every probing task."""

NUM_FOLDS = 5

_MAX_SPEECH_SEC = 6.0
_SOUND_SEC = (1.5, 3.5)
_MUSIC_SEC = (2.5, 4.5)
_CHUNK_CLIPS = 8  # clips that a process takes at a time


@dataclass(frozen=True, slots=True)
class CorpusPaths:
    """Where the corpus lies.

    Attributes:
        root: the folder given to ``build_corpus``.
        train: the manifest of each domain that has clips.
        probe: the folder of each probing task that has clips (it holds ``clips.jsonl``).
    """

    root: Path
    train: dict[Domain, Path]
    probe: dict[ProbeName, Path]


@dataclass(frozen=True, slots=True)
class _Job:
    """One clip to make: a training clip of a domain or a probing clip of a task."""

    out_dir: Path
    seed: int
    subject: Domain | ProbeName
    index: int


def build_corpus(
    out_dir: Path,
    *,
    seed: int,
    num_clips: Mapping[Domain, int],
    num_probe_clips: Mapping[ProbeName, int],
    num_workers: int | None = None,
) -> CorpusPaths:
    """Make the whole corpus in ``out_dir``.

    Layout: ``train/<domain>.jsonl`` with ``train/audio/<domain>/*.wav``, and ``probe/<task>/clips.jsonl`` with
    ``probe/<task>/audio/*.wav``; 16 kHz mono PCM16, 1 to 6 s a clip. Manifests are written last, so a manifest that
    exists is complete.

    Args:
        out_dir: made where it is missing; files of the same names are replaced.
        seed: decides everything, 0 or above.
        num_clips: training clips by domain.
        num_probe_clips: clips by probing task; classes and folds are balanced.
        num_workers: processes; 1 works in this one, None starts one a core that may be used.

    Raises:
        EnvironmentProblem: the extra ``demo`` is missing where speech is asked for, or a worker process died.
        RecipeError: a count is negative or larger than what can be made without repetition.
    """
    _check_counts(num_clips, num_probe_clips)
    for manifest in (*(_manifest(out_dir, d) for d in num_clips), *(_manifest(out_dir, t) for t in num_probe_clips)):
        manifest.unlink(missing_ok=True)
    jobs: list[_Job] = []
    for subject, count in (*num_clips.items(), *num_probe_clips.items()):
        if count:
            _audio_dir(out_dir, subject).mkdir(parents=True, exist_ok=True)
        jobs += [_Job(out_dir, seed, subject, index) for index in range(count)]
    rows: dict[str, list[dict[str, Any]]] = {}
    made = track(_run(jobs, num_workers or usable_cores()), "making the demo's clips", total=len(jobs), unit="clips")
    for job, row in zip(jobs, made, strict=True):
        rows.setdefault(job.subject, []).append(row)
    for name, made_rows in rows.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made_rows)
        _manifest(out_dir, name).write_text(lines, encoding="utf-8")
    return CorpusPaths(
        root=out_dir,
        train={domain: _manifest(out_dir, domain) for domain in DOMAINS if domain in rows},
        probe={task: _manifest(out_dir, task).parent for task in PROBE_CLASSES if task in rows},
    )


def _check_counts(num_clips: Mapping[Domain, int], num_probe_clips: Mapping[ProbeName, int]) -> None:
    for name, count in (*num_clips.items(), *num_probe_clips.items()):
        if name not in DOMAINS and name not in PROBE_CLASSES:
            known = ", ".join((*DOMAINS, *PROBE_CLASSES))
            raise RecipeError(f"the demo makes no '{name}'", remedy=f"known: {known}")
        if count < 0:
            raise RecipeError(f"{count} clips of {name} were asked for", remedy="give 0 or more")
    if num_clips.get("speech", 0) > NUM_SENTENCES:
        raise RecipeError(
            f"{num_clips['speech']} speech clips were asked for; the sentences repeat after {NUM_SENTENCES}",
            remedy=f"ask for at most {NUM_SENTENCES}",
        )


def _run(jobs: list[_Job], num_workers: int) -> Iterator[dict[str, Any]]:
    if num_workers <= 1:
        yield from map(_make, jobs)
        return
    # Fresh processes: a fork would copy the parent's threads' locks (torch's among them).
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=context, initializer=use_one_thread) as pool:
        try:
            yield from pool.map(_make, jobs, chunksize=_CHUNK_CLIPS)
        except BrokenProcessPool:
            raise EnvironmentProblem(
                "a process that makes clips died", remedy="run again with one worker to see why; memory may be short"
            ) from None


def _make(job: _Job) -> dict[str, Any]:
    """Make one clip, write its audio, return its manifest row."""
    if job.subject in PROBE_CLASSES:
        return _probe_clip(job)
    return _train_clip(job)


def _train_clip(job: _Job) -> dict[str, Any]:
    draw = Draw(job.seed, "train", job.subject, job.index)
    if job.subject == "speech":
        text = sentence(job.index, job.seed)
        wave = spoken_clip(draw, text, TRAIN_VOICES, _MAX_SPEECH_SEC)
    elif job.subject == "environment":
        wave, scene = make_scene(draw, KIND_NAMES[job.index % len(KIND_NAMES)], draw.uniform(*_SOUND_SEC))
        text = scene_caption(draw, scene)
    else:
        wave, piece = make_piece(draw, STYLE_NAMES[job.index % len(STYLE_NAMES)], draw.uniform(*_MUSIC_SEC))
        text = piece_caption(draw, piece)
    row = _write(job, draw, wave)
    return row | {
        "offset_sec": 0.0,
        "text": text,
        "domain": job.subject,
        "source": f"demo-{job.subject}",
        "language": "en",
        "license": "generated",
    }


def _probe_clip(job: _Job) -> dict[str, Any]:
    draw = Draw(job.seed, "probe", job.subject, job.index)
    classes = PROBE_CLASSES[job.subject]  # type: ignore[index]  # _make saw that it is a task
    round_, position = divmod(job.index, len(classes))
    label, fold = classes[position], round_ % NUM_FOLDS + 1
    group = f"{job.subject}-{job.index:05d}"
    if job.subject == "demo_sounds":
        wave, _ = make_scene(draw, label, draw.uniform(*_SOUND_SEC))
    elif job.subject == "demo_music":
        wave, _ = make_piece(draw, label, draw.uniform(*_MUSIC_SEC))
    else:
        # Voices are dealt to folds, so that no fold is tested on a voice that it was trained on.
        voices = PROBE_VOICES[fold - 1 :: NUM_FOLDS]
        group = voices[round_ // NUM_FOLDS % len(voices)]
        wave = spoken_word(draw, label, group)
    row = _write(job, draw, wave)
    return row | {"label": label, "fold": fold, "group": group, "license": "generated"}


def _write(job: _Job, draw: Draw, wave: dsp.Wave) -> dict[str, Any]:
    clip_id = f"{job.subject}-{job.index:05d}"
    path = _audio_dir(job.out_dir, job.subject) / f"{clip_id}.wav"
    soundfile.write(path, dsp.to_pcm16(wave, draw.log_uniform(0.08, 0.95)), SAMPLE_RATE, subtype="PCM_16")
    audio = path.relative_to(_manifest(job.out_dir, job.subject).parent).as_posix()
    return {"id": clip_id, "audio": audio, "duration_sec": len(wave) / SAMPLE_RATE}


def _manifest(out_dir: Path, subject: str) -> Path:
    if subject in PROBE_CLASSES:
        return out_dir / "probe" / subject / "clips.jsonl"
    return out_dir / "train" / f"{subject}.jsonl"


def _audio_dir(out_dir: Path, subject: str) -> Path:
    parent = _manifest(out_dir, subject).parent / "audio"
    return parent if subject in PROBE_CLASSES else parent / subject
