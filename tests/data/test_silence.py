"""Clips in which nothing is heard: what counts as such, who says so, and what training does with them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from whisper_aut.config import SilentClips
from whisper_aut.data.channels import mixed
from whisper_aut.data.loader import validation_batches
from whisper_aut.data.manifest import load_manifest
from whisper_aut.data.manifest_report import validate_manifest
from whisper_aut.data.pool import Pool
from whisper_aut.data.quarantine import Quarantine, QuarantineEntry
from whisper_aut.data.silence import find_silence

N = 16_000
NOISE = np.random.default_rng(0).normal(0, 0.1, (3, N)).astype(np.float32)
LEFT, RIGHT, OTHER = NOISE
CASES = {
    "speech": ([LEFT], None, None),
    "dual mono": ([LEFT, LEFT], None, None),
    "left only": ([LEFT, 0 * LEFT], None, None),
    "unlike": ([LEFT, RIGHT], None, None),
    "mostly against": ([LEFT, RIGHT - 0.5 * LEFT], None, None),
    "quiet": ([0.02 * LEFT], None, None),
    "zeros": ([0 * LEFT], True, "digital silence"),
    "zeros twice": ([0 * LEFT, 0 * LEFT], True, "digital silence"),
    "constant": ([0 * LEFT + 0.25], True, "digital silence: every sample is 0.25"),
    "antiphase": ([LEFT, -LEFT], True, "channels cancel when they are mixed, altogether"),
    "almost antiphase": ([LEFT, -0.97 * LEFT], False, "channels cancel when they are mixed, by"),
    "antiphase with noise": ([LEFT, 0.01 * RIGHT - LEFT], False, "channels cancel"),
    "three that cancel": ([LEFT, RIGHT, -LEFT - RIGHT], None, "channels cancel"),
    "near silence": ([2e-4 * LEFT / np.abs(LEFT).max()], False, "near silence: its peak is -74 dB"),
    "near silence beside a constant": ([0.3 + 1e-4 * LEFT], False, "near silence"),
}


def _found(frames, channels=()):
    mono = mixed(frames, channels, "")
    return find_silence(frames, channels, mono, float(mono.min()), float(mono.max()))


@pytest.mark.parametrize("name", CASES)
def test_what_is_silent(name):
    channels, is_digital, what = CASES[name]
    found = _found(np.stack(channels, axis=1).astype(np.float32))
    if what is None:
        assert found is None
    else:
        assert found is not None and what in found.what
        assert is_digital is None or found.is_digital is is_digital


def test_channels_that_are_not_mixed_do_not_cancel():
    frames = np.stack([LEFT, -LEFT, RIGHT], axis=1)
    assert _found(frames, (0,)) is None
    assert _found(frames, (0, 2)) is None
    assert _found(frames, (0, 1)) is not None


@pytest.fixture
def manifest(tmp_path):
    """Rows for all cases, with their files."""
    rows = []
    for name, (channels, _, _) in CASES.items():
        soundfile.write(tmp_path / f"{name}.wav", np.stack(channels, axis=1), N, subtype="FLOAT")
        rows.append({"id": name, "audio": f"{name}.wav", "offset_sec": 0.0, "duration_sec": 1.0, "text": "One.",
                     "domain": "environment"})  # fmt: skip
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_validate_names_every_silent_clip_and_why(manifest):
    report = validate_manifest(manifest, check_audio=True)
    named = {problem.clip_id: problem.message for problem in report.problems}
    assert named.keys() == {name for name, (_, _, what) in CASES.items() if what}
    assert all(CASES[name][2] in message for name, message in named.items())
    assert not validate_manifest(manifest, check_audio=False).problems


@pytest.mark.parametrize("policy", ["keep", "warn", "quarantine"])
def test_what_the_loader_does(manifest, text_encoder, policy: SilentClips):
    loaded = load_manifest(manifest)
    rows = np.arange(len(loaded), dtype=np.uint32)
    pool = Pool("environment", (loaded,), rows, np.full(len(loaded), N, np.int32), policy)
    (batch,) = validation_batches(pool, "environment", text_encoder, len(loaded))
    silent = {name for name, (_, _, what) in CASES.items() if what}
    digital = {name for name, (_, is_digital, _) in CASES.items() if is_digital}
    left_out = {"keep": set(), "warn": digital, "quarantine": silent}[policy]
    kept_silent = {entry.id for entry in batch.silent}
    assert {entry.id for entry in batch.quarantined} - {"three that cancel"} == left_out - {"three that cancel"}
    assert set(batch.ids) == set(CASES) - {entry.id for entry in batch.quarantined}
    assert kept_silent == silent & set(batch.ids)
    assert all(entry.where.startswith(f"{manifest}:") and entry.reason for entry in (*batch.silent, *batch.quarantined))


def test_the_first_is_said_all_are_counted_and_named(tmp_path, capsys):
    quarantine = Quarantine(tmp_path / "quarantine.jsonl", 0.5)
    quarantine.record([], 8)
    assert not quarantine.silent_summary()
    for number in range(3):
        quarantine.record_silent([QuarantineEntry(f"c{number}", f"m:{number}", "the clip is near silence")])
    quarantine.record_silent([], write=True)
    said = capsys.readouterr().err
    assert said.count("warning") == 1 and "c0" in said and "data.silent_clips" in said
    assert [json.loads(line)["id"] for line in (tmp_path / "silent.jsonl").read_text().splitlines()] == [
        "c0",
        "c1",
        "c2",
    ]
    assert "3 of 8 clips nothing is heard" in quarantine.silent_summary() and not quarantine.summary()
    other = Quarantine(tmp_path / "other" / "quarantine.jsonl", 0.5)
    other.record_silent([QuarantineEntry("a", "m:1", "x")], write=False)  # another rank counts only
    assert other.num_silent == 1 and not (tmp_path / "other").exists()
