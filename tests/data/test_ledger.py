"""The ledger of a run whose ranks are killed again and again: no clip lost, none doubled, the order of steps the same.

Every rank is a process of its own that decodes real files, in loader processes of its own; SIGKILL ends all of them at
a random moment, and another number of ranks with another number of loaders goes on from what all ranks had finished.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_aut.config import DataConfig
from whisper_aut.data.corpus import Corpus, load_corpus
from whisper_aut.data.loader import step_batches
from whisper_aut.data.plan import ClipRef, Plan

WEIGHTS = {"speech": 0.5, "environment": 0.25, "music": 0.25}
WORLDS, WORKERS = (1, 2, 4, 8), (0, 1, 2)
NUM_STEPS, NUM_KILLS = 90, 20


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, english) -> Corpus:
    import soundfile

    from whisper_aut.data.captions import TextEncoder

    root = tmp_path_factory.mktemp("ledger")
    rng = np.random.default_rng(0)
    for domain in WEIGHTS:
        rows = []
        for number in range(45):
            duration_sec = round(float(rng.uniform(0.1, 1.5)), 3)
            wave = rng.normal(0, 0.1, round(duration_sec * 16_000))
            soundfile.write(root / f"{domain}{number}.wav", wave, 16_000)
            rows.append(
                {
                    "id": f"{domain}{number}", "audio": f"{domain}{number}.wav", "offset_sec": 0.0,
                    "duration_sec": duration_sec, "text": "One.", "domain": domain,
                }
            )  # fmt: skip
        (root / f"{domain}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mixture = {domain: {"weight": weight, "manifests": [f"{domain}.jsonl"]} for domain, weight in WEIGHTS.items()}
    return load_corpus(DataConfig(root=root, mixture=mixture, holdout_clips=3), 0, TextEncoder(english))


def plan_of(corpus: Corpus, **settings) -> Plan:
    lengths = {domain: pool.num_samples for domain, pool in corpus.train.items()}
    return Plan(lengths, WEIGHTS, 16, 2, 0.1, 0, num_steps=NUM_STEPS, **settings)


def read(corpus: Corpus, plan: Plan, english, path: Path, rank: int, world: int, workers: int, start: int) -> None:
    """One rank: decodes its share of every step that is left and writes down what it read."""
    from whisper_aut.data.captions import TextEncoder

    torch.set_num_threads(1)
    steps = step_batches(
        plan, corpus.train, TextEncoder(english), rank=rank, world_size=world, start_step=start,
        num_steps=NUM_STEPS - start, num_workers=workers,
    )  # fmt: skip
    with path.open("w") as file:
        for step, batches in steps:
            assert all(float(batch.waveforms.abs().sum()) > 0 for batch in batches)
            file.write(json.dumps([step, [[batch.micro_batch.index, batch.ids] for batch in batches]]) + "\n")
            file.flush()


def finished(path: Path) -> dict[int, list]:
    """Whole lines of a rank's ledger."""
    text = path.read_text() if path.exists() else ""
    return dict(map(json.loads, text.rpartition("\n")[0].splitlines()))


def ids_of(corpus: Corpus, plan: Plan, step: int) -> dict[int, list[str]]:
    return {
        micro_batch.index: [corpus.train[ref.domain].clip(ref.row).id for ref in micro_batch.clips]
        for micro_batch in plan.step(step)
    }


@pytest.mark.parametrize("micro_batch_sec", [None, 30.0])
def test_no_clip_is_lost_or_doubled_over_twenty_kills_and_any_number_of_ranks_and_loaders(
    corpus, english, tmp_path, micro_batch_sec
):
    plan, rng = plan_of(corpus, micro_batch_sec=micro_batch_sec), random.Random(0)
    worlds = [world for world in WORLDS if plan.micro_batches_per_step % world == 0]
    fork = multiprocessing.get_context("fork")
    ledger: dict[int, dict[int, list[str]]] = {}
    done = num_kills = 0
    while done < NUM_STEPS:
        world, workers = rng.choice(worlds), rng.choice(WORKERS)
        paths = [tmp_path / f"{num_kills}-{rank}" for rank in range(world)]
        ranks = [
            fork.Process(target=read, args=(corpus, plan, english, paths[rank], rank, world, workers, done))
            for rank in range(world)
        ]
        for process in ranks:
            process.start()
        if num_kills < NUM_KILLS:
            wanted = done + rng.randint(1, 4)
            while not any(wanted - 1 in finished(path) for path in paths) and any(rank.is_alive() for rank in ranks):
                time.sleep(0.01)
            for process in ranks:
                process.kill()
            num_kills += 1
        for process in ranks:
            process.join()
        read_by = [finished(path) for path in paths]
        # What all ranks had finished is what a checkpoint can hold; the rest is read again.
        while all(done in steps for steps in read_by):
            ledger[done] = {index: ids for steps in read_by for index, ids in steps[done]}
            assert sum(len(steps[done]) for steps in read_by) == plan.micro_batches_per_step
            done += 1
    assert num_kills == NUM_KILLS
    assert sorted(ledger) == list(range(NUM_STEPS))
    assert all(ledger[step] == ids_of(corpus, plan, step) for step in range(NUM_STEPS))
    times = Counter(clip_id for step in ledger.values() for ids in step.values() for clip_id in ids)
    for pool in corpus.train.values():
        counts = [times[pool.clip(row).id] for row in range(len(pool))]
        assert max(counts) - min(counts) <= 1 and min(counts) > 0  # whole passes and a part of one


@settings(max_examples=12, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 60)] * 3),
    parts=st.tuples(*[st.integers(1, 5)] * 3),
    shape=st.sampled_from([(8, 1), (16, 2), (24, 3)]),
    budget=st.sampled_from([None, 30.0, 60.0]),
    stops=st.lists(st.integers(1, 39), max_size=6, unique=True),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_mixture_read_by_any_ranks_in_any_parts_is_the_unbroken_run(sizes, parts, shape, budget, stops, seed):
    lengths = {
        domain: np.random.default_rng(seed % 1000).integers(1_000, 200_000, size)
        for domain, size in zip(WEIGHTS, sizes, strict=True)
    }
    weights = {domain: part / sum(parts) for domain, part in zip(WEIGHTS, parts, strict=True)}

    def plan() -> Plan:
        return Plan(lengths, weights, *shape, 0.1, seed, num_steps=40, micro_batch_sec=budget)

    whole = plan()
    unbroken = [whole.step(step) for step in range(40)]
    rng = random.Random(seed)
    edges = [0, *sorted(stops), 40]
    for start, stop in itertools.pairwise(edges):
        world = rng.choice([w for w in WORLDS if whole.micro_batches_per_step % w == 0])
        for rank in range(world):
            resumed = plan()  # a new process knows nothing but the number of the step
            for step in range(start, stop):
                assert resumed.rank_share(step, rank, world) == unbroken[step][rank::world]
    times = Counter(clip for step in unbroken for micro_batch in step for clip in micro_batch.clips)
    for domain, size in zip(WEIGHTS, sizes, strict=True):
        counts = [times[ClipRef(domain, row)] for row in range(size)]
        assert max(counts) - min(counts) <= 1
