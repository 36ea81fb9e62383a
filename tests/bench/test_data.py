"""Benchmarks of reading: both sides read the same, numbers are whole, and a missing reference is named."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from whisper_aut.bench import decode, manifest_size, shards
from whisper_aut.data.manifest import load_manifest
from whisper_aut.errors import EnvironmentProblem


def test_access_reads_the_same_bytes_from_shards_and_files(tmp_path):
    made = shards._made_shards(tmp_path, 12)
    files = shards._as_files(made, tmp_path / "files")
    assert [path.read_bytes() for path in files] == [source.read("").getvalue() for source in made]
    numbers = shards.measure_access(None, tmp_path, clips=12, reads=5, rounds=2)
    assert numbers["clips"] == 12 and "POSIX_FADV_DONTNEED" in numbers["cold"]
    for name in ("bytes, warm", "bytes, cold", "decoded, warm", "decoded, cold"):
        ratio = numbers[name]["ratio"]
        assert 0 < ratio["least"] <= ratio["median"] <= ratio["most"]
        assert any(line.startswith(name) for line in shards.table(numbers))


def test_generated_manifests_are_opened_and_planned_like_any_other(tmp_path):
    files = manifest_size.generate(20_000, tmp_path)
    assert {domain: len(load_manifest(path)) for domain, path in files.items()} == {
        "speech": 16_000, "environment": 2_000, "music": 2_000,
    }  # fmt: skip
    planned = manifest_size._child("plan", tmp_path, files)
    assert planned["padding, eight clips"] < planned["padding, random batches"]
    assert planned["next step, 64 rank(s), ms"] > 0


@pytest.mark.skipif(find_spec("torchcodec") is not None, reason="torchcodec is installed")
def test_decoding_without_its_reference_says_what_is_missing():
    with pytest.raises(EnvironmentProblem, match="torchcodec, which does not work here"):
        decode.measure_decoding(decode.DecodeBench(clips=4, rounds=1))


@pytest.mark.skipif(find_spec("torchcodec") is None, reason="torchcodec is not installed")
def test_decoding_compares_the_same_features(tmp_path):
    command = [sys.executable, "-P", "-m", "whisper_aut", "bench", "data", "decode", "--clips", "4", "--clip-sec", "1"]
    done = subprocess.run(
        [*command, "--rounds", "2", "--out", str(tmp_path / "d.json")], capture_output=True, text=True
    )
    if "torchcodec, which does not work here" in done.stderr:
        pytest.skip("FFmpeg's libraries are missing")
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "d.json").read_text())["numbers"]
    assert set(numbers["formats"]) == set(decode.FORMATS) and "datasets" in numbers["reference"]
    assert numbers["largest difference of a feature, WAV"] < 0.5  # two resamplers differ next to 8 kHz
    for found in numbers["formats"].values():
        assert found[decode.OURS]["ms_per_clip"] > 0 and found[decode.PADDED]["ratio"]["median"] > 0
