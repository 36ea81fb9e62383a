"""The corpus of faults through everything that reads audio: the right length and sound, or a reason; never less.

The files are made by faults.py, which also says what is right.
"""

from __future__ import annotations

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from whisper_aut.data.audio import read_waveform
from whisper_aut.data.containers.ffmpeg import missing_command
from whisper_aut.data.loader import validation_batches
from whisper_aut.data.manifest import load_manifest
from whisper_aut.data.manifest_report import validate_manifest
from whisper_aut.data.pack import PackSettings, pack_manifests
from whisper_aut.data.pool import Pool
from whisper_aut.data.sources.build import BuildOptions, build_source
from whisper_aut.data.sources.spec import SourceSpec
from whisper_aut.errors import AudioError, ManifestError, SourceError
from whisper_aut.probe.embed import embed
from whisper_aut.probe.encoders.base import Pooling
from whisper_aut.probe.encoders.floors import logmel
from whisper_aut.probe.tasks.labelled import load_task

_spec = spec_from_file_location("audio_faults", Path(__file__).with_name("faults.py"))
assert _spec is not None and _spec.loader is not None
faults = module_from_spec(_spec)
sys.modules[_spec.name] = faults  # dataclasses look for their module there
_spec.loader.exec_module(faults)

FAULTS = faults.audio_faults()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes a fault's file, once, in a folder of its own; skips where FFmpeg is wanted and missing."""
    folder = tmp_path_factory.mktemp("faults")

    def make(fault) -> Path:
        if fault.by_ffmpeg and missing_command():
            pytest.skip(f"FFmpeg is not to be had: {missing_command()}")
        path = folder / fault.id / fault.name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            try:
                fault.make(path)
            except faults.NoFFmpegError as error:
                pytest.skip(str(error))
        return path

    return make


@pytest.fixture(params=FAULTS, ids=lambda fault: fault.name)
def fault(request):
    return request.param


def _row(fault, audio: Path, **more):
    seconds = 1.2 * faults.SECONDS if fault.seconds is None else round(read_length(audio, fault), 6)
    row = {"id": fault.id, "audio": str(audio), "offset_sec": 0.0, "duration_sec": seconds, "text": "A rising tone.",
           "domain": "speech"}  # fmt: skip
    return row | ({"channel": fault.channel} if fault.channel is not None else {}) | more


def read_length(audio: Path, fault) -> float:
    return len(read_waveform(audio, channels=(fault.channel,) if isinstance(fault.channel, int) else ())) / 16_000


def _manifest(fault, audio: Path, folder: Path) -> Path:
    path = folder / "m.jsonl"
    path.write_text(json.dumps(_row(fault, audio)) + "\n")
    return path


def _sounds_right(fault, waveform: np.ndarray) -> None:
    assert fault.seconds is not None
    assert len(waveform) / 16_000 == pytest.approx(fault.seconds, abs=0.11)
    if fault.sound is not None:
        assert faults.likeness(waveform, fault.sound) > 0.95


def test_build_has_the_right_length_or_says_why_not(made, tmp_path, fault):
    audio = made(fault)
    listed = {"file": audio.name, "text": "A rising tone.", "channel": fault.channel}
    (audio.parent / "list.jsonl").write_text(json.dumps(listed) + "\n")
    spec = SourceSpec.model_validate({
        "name": "faults", "title": "Faults", "domain": "speech", "license": "CC0-1.0", "commercial": "allowed",
        "homepage": "https://example.org", "hours": None, "folder": audio.parent.name, "get": "it is made by a test",
        "checked": "It is made by a test, so that nothing had to be looked up.",
        "read": {"kind": "list", "format": "jsonl", "splits": {"train": [{"files": ["list.jsonl"]}]}},
        "clip": {"id": "{file}", "audio": ["{file}"], "text": ["{text}"], "channel": "channel"},
    })  # fmt: skip
    options = BuildOptions(audio.parent.parent, tmp_path / "out")
    if fault.seconds is None:
        with pytest.raises(SourceError, match=fault.says):
            build_source(spec, options)
        return
    build_source(spec, options)
    (row,) = pq.read_table(tmp_path / "out" / "faults.parquet").to_pylist()
    assert row["duration_sec"] == pytest.approx(fault.seconds, abs=0.11)
    assert row["duration_sec"] == pytest.approx(read_length(audio, fault), abs=0.001)  # as whoever decodes it


def test_validate_reports_what_is_wrong_and_nothing_else(made, tmp_path, fault):
    report = validate_manifest(_manifest(fault, made(fault), tmp_path), check_audio=True)
    if fault.seconds is None:
        assert [problem.clip_id for problem in report.problems] == [fault.id]
    elif fault.says:
        assert [fault.says in problem.message for problem in report.problems] == [True]
    else:
        assert not report.problems


def test_packed_is_what_is_heard(made, tmp_path, fault):
    manifest = _manifest(fault, made(fault), tmp_path)
    if fault.seconds is None:
        with pytest.raises(ManifestError, match="none of 1 clips is readable"):
            pack_manifests([manifest], tmp_path / "shards", PackSettings(), num_workers=0)
        return
    pack_manifests([manifest], tmp_path / "shards", PackSettings(), num_workers=0)
    packed = load_manifest(tmp_path / "shards" / "manifest.parquet")
    assert packed.clip(0).channels == ()
    _sounds_right(fault, read_waveform(packed.audio_source(0)))


def test_the_loader_reads_it_or_takes_another(made, tmp_path, fault, text_encoder):
    audio = made(fault)
    rows = [_row(fault, audio)]
    good = tmp_path / "good.wav"
    good.write_bytes(faults.wav(faults.sweep(1.0)))
    rows.append(rows[0] | {"id": "good", "audio": "good.wav", "duration_sec": 1.0} | ({"channel": None}))
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = load_manifest(path)
    pool = Pool("speech", (manifest,), np.arange(2, dtype=np.uint32), manifest.table.numbers["num_samples"])
    (batch,) = validation_batches(pool, "speech", text_encoder, 2)
    if fault.replaced or fault.seconds is None:
        assert [entry.id for entry in batch.quarantined] == [fault.id] and batch.ids == ("good",)
        return
    place = batch.ids.index(fault.id)
    _sounds_right(fault, batch.waveforms[place, : batch.num_samples[place]].numpy())
    quiet = fault.says and fault.says != "differ"
    assert [entry.id for entry in batch.silent] == ([fault.id] if quiet else [])


def test_embedded_is_what_is_heard(made, tmp_path, fault):
    audio = made(fault)
    row = _row(fault, audio) | {"label": "tone", "fold": 1}
    (tmp_path / "clips.jsonl").write_text(json.dumps(row) + "\n")
    pooling = Pooling("real", "mean")
    encoder, task = logmel(), load_task(tmp_path)
    if fault.seconds is None:
        with pytest.raises(AudioError):
            embed(encoder, task, "trimmed", poolings=[pooling], cache_dir=tmp_path / "cache")
        return
    found = embed(encoder, task, "trimmed", poolings=[pooling], cache_dir=tmp_path / "cache").features(pooling)
    assert np.isfinite(found).all()
    if fault.sound is not None:
        reference = tmp_path / "reference.wav"
        reference.write_bytes(faults.wav(fault.sound))
        row = row | {"audio": str(reference), "duration_sec": len(fault.sound) / 16_000, "channel": None}
        (tmp_path / "clips.jsonl").write_text(json.dumps(row) + "\n")
        wanted = embed(encoder, load_task(tmp_path), "trimmed", poolings=[pooling], cache_dir=tmp_path / "cache")
        assert np.corrcoef(found.ravel(), wanted.features(pooling).ravel())[0, 1] > 0.8
