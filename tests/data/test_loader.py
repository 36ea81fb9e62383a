"""Batches: the plan's clips in the plan's order, whatever the workers, with substitutes for what cannot be read."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from whisper_aut.config import DataConfig
from whisper_aut.constants import IGNORE_LABEL
from whisper_aut.data import loader
from whisper_aut.data.audio import read_waveform
from whisper_aut.data.corpus import load_corpus
from whisper_aut.data.loader import loader_deaths_explained, step_batches, validation_batches
from whisper_aut.data.plan import Plan
from whisper_aut.errors import LoaderLost, ManifestError, RecipeError

WEIGHTS = {"speech": 0.5, "music": 0.5}


@pytest.fixture
def corpus_of(write_manifest, tmp_path, text_encoder):
    def make(num_clips=30, holdout_clips=5):
        durations = np.linspace(0.4, 3.0, num_clips).round(3)
        for domain in WEIGHTS:
            rows = [{"duration_sec": sec, "text": "la " * (1 + i % 5)} for i, sec in enumerate(durations.tolist())]
            write_manifest(f"{domain}.jsonl", rows, domain=domain)
        mixture = {domain: {"weight": w, "manifests": [f"{domain}.jsonl"]} for domain, w in WEIGHTS.items()}
        data = DataConfig(root=tmp_path, mixture=mixture, holdout_clips=holdout_clips)
        return load_corpus(data, 0, text_encoder)

    return make


def _plan(corpus):
    lengths = {domain: pool.num_samples for domain, pool in corpus.train.items()}
    return Plan(lengths, WEIGHTS, 8, 2, 0.25, 0)


def _steps(corpus, text_encoder, **settings):
    chosen = {"rank": 0, "world_size": 1, "start_step": 0, "num_steps": 3, "num_workers": 0} | settings
    return list(step_batches(_plan(corpus), corpus.train, text_encoder, **chosen))


def test_batches_hold_what_the_plan_says(corpus_of, text_encoder):
    corpus = corpus_of()
    plan = _plan(corpus)
    for step, batches in _steps(corpus, text_encoder):
        assert tuple(batch.micro_batch for batch in batches) == plan.step(step)
        for batch in batches:
            clips = [corpus.train[ref.domain].clip(ref.row) for ref in batch.micro_batch.clips]
            assert batch.ids == tuple(clip.id for clip in clips)
            assert batch.domains == tuple(clip.domain for clip in clips)
            assert batch.waveforms.shape == (2, batch.micro_batch.num_frames * 160)
            for index, (ref, clip) in enumerate(zip(batch.micro_batch.clips, clips, strict=True)):
                wave = read_waveform(corpus.train[ref.domain].audio_source(ref.row))
                assert batch.num_samples[index] == len(wave)
                np.testing.assert_array_equal(batch.waveforms[index, : len(wave)], wave)
                assert not batch.waveforms[index, len(wave) :].any()
                tokens = text_encoder.encode(clip.text, clip.domain)
                num_tokens = len(tokens.labels)
                assert batch.labels[index, :num_tokens].tolist() == tokens.labels
                assert batch.decoder_input_ids[index, :num_tokens].tolist() == tokens.decoder_input_ids
                assert (batch.labels[index, num_tokens:] == IGNORE_LABEL).all()
            assert batch.labels.dtype == batch.decoder_input_ids.dtype == batch.num_samples.dtype == torch.long
            assert batch.waveforms.dtype == torch.float32


def test_workers_change_nothing(corpus_of, text_encoder):
    corpus = corpus_of()
    for (step, alone), (same_step, helped) in zip(
        _steps(corpus, text_encoder), _steps(corpus, text_encoder, num_workers=2), strict=True
    ):
        assert step == same_step
        for one, other in zip(alone, helped, strict=True):
            assert one.ids == other.ids and one.micro_batch == other.micro_batch
            assert torch.equal(one.waveforms, other.waveforms) and torch.equal(one.labels, other.labels)


def test_ranks_and_resumption_read_what_an_unbroken_single_rank_reads(corpus_of, text_encoder):
    corpus = corpus_of()
    whole = {step: [batch.ids for batch in batches] for step, batches in _steps(corpus, text_encoder, num_steps=6)}
    for world in (2, 4):
        for rank in range(world):
            resumed = _steps(corpus, text_encoder, rank=rank, world_size=world, start_step=4, num_steps=2)
            assert [step for step, _ in resumed] == [4, 5]
            for step, batches in resumed:
                assert [batch.ids for batch in batches] == whole[step][rank::world]


def test_a_world_that_does_not_divide_the_step_is_refused_before_the_first_batch(corpus_of, text_encoder):
    corpus = corpus_of()
    with pytest.raises(RecipeError, match="3 rank"):
        step_batches(
            _plan(corpus), corpus.train, text_encoder, rank=0, world_size=3, start_step=0, num_steps=1, num_workers=0
        )


def test_stopping_early_leaves_no_worker_behind(corpus_of, text_encoder):
    corpus = corpus_of()
    steps = step_batches(
        _plan(corpus), corpus.train, text_encoder, rank=0, world_size=1, start_step=0, num_steps=50, num_workers=2
    )
    next(steps)
    assert len(multiprocessing.active_children()) == 2
    del steps
    gc.collect()
    assert not multiprocessing.active_children()


HOLDING = """
import sys
from torch.utils.data import Dataset
from whisper_aut.data import loader

class Numbers(Dataset):
    def __getitem__(self, index):
        return index

held = loader._load(Numbers(), range(100), 2)
next(held)
print("ready", flush=True)
sys.exit(3)
"""


def test_an_interpreter_that_ends_with_workers_at_work_does_end():
    # Workers ignore SIGTERM, by which multiprocessing stops them at exit before it waits for them.
    ended = subprocess.run([sys.executable, "-c", HOLDING], capture_output=True, text=True, timeout=120)
    assert (ended.stdout, ended.returncode) == ("ready\n", 3), ended.stderr


class Tensors(Dataset):
    """Tensors without end; says when some of them are on their way to the reader."""

    def __init__(self) -> None:
        self.sent = multiprocessing.Event()

    def __getitem__(self, index):
        if index == 4:
            self.sent.set()
        return torch.zeros(3)


def test_a_worker_that_dies_before_its_batch_was_fetched_is_explained():
    """Its connection breaks before the signal of its death comes, which here never does."""
    dataset = Tensors()
    items = loader._load(dataset, range(100), 1)
    next(items)
    dataset.sent.wait()
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        (worker,) = multiprocessing.active_children()
        worker.kill()
        with pytest.raises(LoaderLost, match="a process that loads data is gone"), loader_deaths_explained():
            list(items)
    finally:
        signal.signal(signal.SIGCHLD, handler)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_unreadable_clip_is_quarantined_and_replaced_by_one_that_fits(corpus_of, text_encoder, num_workers):
    corpus = corpus_of()
    pool = corpus.train["speech"]
    bad = {pool.clip(row).id: pool.where(row) for row in range(0, len(pool), 6)}
    for row in range(0, len(pool), 6):
        pool.audio_source(row).write_text("not audio")
    first, again = (_steps(corpus, text_encoder, num_workers=num_workers, num_steps=8) for _ in range(2))
    quarantined = [entry for _, batches in first for batch in batches for entry in batch.quarantined]
    refs = [ref for _, batches in first for batch in batches for ref in batch.micro_batch.clips]
    planned = {pool.clip(ref.row).id for ref in refs if ref.domain == "speech"}
    assert planned & set(bad) <= {entry.id for entry in quarantined} <= set(bad)
    assert len(planned & set(bad)) > 1
    assert all(entry.where == bad[entry.id] and "not readable" in entry.reason for entry in quarantined)
    for (_, batches), (_, same) in zip(first, again, strict=True):
        for batch, twin in zip(batches, same, strict=True):
            assert batch.ids == twin.ids and not set(batch.ids) & set(bad)
            assert len(batch.ids) == 2 and batch.num_samples.max() <= batch.waveforms.shape[1]
            assert batch.domains == tuple(ref.domain for ref in batch.micro_batch.clips)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_domain_of_unreadable_clips_stops_the_run_with_a_readable_error(corpus_of, text_encoder, num_workers):
    corpus = corpus_of()
    for row in range(len(corpus.train["music"])):
        corpus.train["music"].audio_source(row).unlink()
    with pytest.raises(ManifestError, match="clip after clip is unreadable") as caught:
        _steps(corpus, text_encoder, num_workers=num_workers, num_steps=8)
    assert "music.jsonl" in caught.value.where and "Traceback" not in str(caught.value)


def test_a_path_that_leaves_the_folder_stops_the_run(corpus_of, text_encoder, tmp_path):
    corpus = corpus_of()
    (tmp_path / "audio").rename(tmp_path.parent / f"{tmp_path.name}-outside")
    (tmp_path / "audio").symlink_to(tmp_path.parent / f"{tmp_path.name}-outside")
    with pytest.raises(ManifestError, match="leads out of"):
        _steps(corpus, text_encoder)


def test_validation_reads_every_clip_once_trimmed(corpus_of, text_encoder):
    pool = corpus_of().validation["music"]
    batches = list(validation_batches(pool, "music", text_encoder, 2))
    assert [len(batch.ids) for batch in batches] == [2, 2, 1]
    assert {clip_id for batch in batches for clip_id in batch.ids} == {pool.clip(row).id for row in range(5)}
    for batch in batches:
        assert batch.micro_batch.context == "trimmed"
        assert 0 <= batch.waveforms.shape[1] - batch.num_samples.max() < 8000


def test_an_unreadable_validation_clip_is_left_out_and_named(corpus_of, text_encoder):
    pool = corpus_of().validation["music"]
    shortest_two = np.argsort(pool.num_samples)[:2]
    for row in shortest_two:
        pool.audio_source(int(row)).unlink()
    batches = list(validation_batches(pool, "music", text_encoder, 2))
    assert [len(batch.ids) for batch in batches] == [2, 1]
    assert [entry.id for entry in batches[0].quarantined] == [pool.clip(int(row)).id for row in shortest_two]
    for row in range(len(pool)):
        pool.audio_source(row).unlink(missing_ok=True)
    with pytest.raises(ManifestError, match="unreadable"):
        list(validation_batches(pool, "music", text_encoder, 2))


def test_an_unreadable_last_validation_batch_is_named_by_the_one_before(corpus_of, text_encoder):
    pool = corpus_of().validation["music"]
    longest = int(np.argsort(pool.num_samples)[-1])
    pool.audio_source(longest).unlink()
    batches = list(validation_batches(pool, "music", text_encoder, 2))
    assert [len(batch.ids) for batch in batches] == [2, 2]
    assert [entry.id for batch in batches for entry in batch.quarantined] == [pool.clip(longest).id]


def test_real_clips_load(real_data_dir, text_encoder):
    mixture = {domain: {"weight": w, "manifests": [f"{domain}.jsonl"]} for domain, w in WEIGHTS.items()}
    data = DataConfig(root=real_data_dir / "train", mixture=mixture, long_audio="drop")
    corpus = load_corpus(data, 0, text_encoder)
    batches = [batch for _, step in _steps(corpus, text_encoder, num_steps=4) for batch in step]
    assert all(not batch.quarantined and torch.isfinite(batch.waveforms).all() for batch in batches)
