"""Packing into shards: what is in them, the same bytes whatever happened on the way, and checks that find damage."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from whisper_aut.data.audio import read_waveform
from whisper_aut.data.encode import encode
from whisper_aut.data.manifest import load_manifest
from whisper_aut.data.pack import PackSettings, pack_manifests
from whisper_aut.data.pack_source import shard_key
from whisper_aut.data.shard_check import check_shards
from whisper_aut.errors import EnvironmentProblem, ManifestError

SMALL = PackSettings("flac", 0.1)


def _noise(seed: int, duration_sec: float, rate: int = 16_000) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(duration_sec * rate)).astype(np.float32)


def _write_clips(folder: Path, rows: list[dict], *, name: str = "clips.jsonl") -> Path:
    """A manifest of noise, 0.5 s and a little more; a row may name its own audio."""
    folder.mkdir(exist_ok=True)
    with (folder / name).open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            duration_sec = 0.5 + 0.01 * number
            filled = {
                "id": f"clip-{number}", "audio": f"{number}.wav", "offset_sec": 0.0, "duration_sec": duration_sec,
                "text": f"Text {number}.", "domain": "speech",
            } | row  # fmt: skip
            if "audio" not in row:
                soundfile.write(folder / filled["audio"], _noise(number, duration_sec), 16_000, subtype="FLOAT")
            file.write(json.dumps(filled, ensure_ascii=False) + "\n")
    return folder / name


def _files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def clips(tmp_path):
    return _write_clips(tmp_path / "in", [{} for _ in range(24)])


@pytest.mark.parametrize("audio_format", ["flac", "opus"])
def test_every_clip_comes_back(clips, tmp_path, audio_format):
    summary = pack_manifests([clips], tmp_path / "out", PackSettings(audio_format, 0.1), num_workers=0)
    before, after = load_manifest(clips), load_manifest(tmp_path / "out" / "manifest.parquet")
    assert summary["clips"] == len(after) == 24 and summary["rejected"] == 0
    assert summary["shards"] == (len(list((tmp_path / "out").glob("*.tar")))) > (2 if audio_format == "flac" else 0)
    for row in range(24):
        old, new = before.clip(row), after.clip(row)
        assert (new.id, new.text, new.domain, new.source) == (old.id, old.text, old.domain, "clips")
        assert new.offset_sec == 0.0 and new.duration_sec == pytest.approx(old.duration_sec, abs=1e-4)
        wave = read_waveform(after.audio_source(row), duration_sec=new.duration_sec)
        expected = read_waveform(before.audio_source(row), duration_sec=old.duration_sec)
        assert len(wave) == len(expected) == round(new.duration_sec * 16_000)
        if audio_format == "flac":
            np.testing.assert_allclose(wave, expected, atol=1 / 32_768)
        else:
            assert np.corrcoef(wave, expected)[0, 1] > 0.8  # noise is what Opus keeps least
    for shard in (tmp_path / "out").glob("*.tar"):
        assert shard.stat().st_size <= 100_000
    assert not check_shards(tmp_path / "out").problems


def test_segments_are_cut_resampled_and_made_mono(tmp_path):
    (tmp_path / "in").mkdir()
    stereo = np.stack([_noise(1, 3.0, 44_100), _noise(2, 3.0, 44_100)], axis=1)
    soundfile.write(tmp_path / "in" / "long.wav", stereo, 44_100, subtype="FLOAT")
    row = {"audio": "long.wav", "offset_sec": 1.0, "duration_sec": 1.25}
    manifest = _write_clips(tmp_path / "in", [row, row | {"id": "b", "offset_sec": 0.5, "duration_sec": 2.0}])
    pack_manifests([manifest], tmp_path / "out", SMALL, num_workers=0)
    packed = load_manifest(tmp_path / "out" / "manifest.parquet")
    assert [packed.clip(row).duration_sec for row in range(2)] == [1.25, 2.0]
    expected = read_waveform(tmp_path / "in" / "long.wav", offset_sec=1.0, duration_sec=1.25)
    np.testing.assert_allclose(read_waveform(packed.audio_source(0)), expected, atol=1 / 32_768)


def test_audio_over_full_scale_is_made_softer_and_not_cut_off(tmp_path):
    (tmp_path / "in").mkdir()
    loud = 4 * _noise(0, 1.0)
    soundfile.write(tmp_path / "in" / "loud.wav", loud, 16_000, subtype="FLOAT")
    manifest = _write_clips(tmp_path / "in", [{"audio": "loud.wav", "duration_sec": 1.0}])
    assert pack_manifests([manifest], tmp_path / "out", SMALL, num_workers=0)["made_softer"] == 1
    wave = read_waveform(load_manifest(tmp_path / "out" / "manifest.parquet").audio_source(0))
    np.testing.assert_allclose(wave, loud / np.abs(loud).max(), atol=1 / 32_768)


def test_columns_that_nobody_knows_are_kept_from_jsonl_and_parquet(tmp_path):
    extra = [{"labels": ["dog", "bark"], "snr": 3}, {"snr": 2.5, "deep": {"a": 1}}, {"labels": [], "mixed": 1}]
    extra.append({"mixed": "x"})
    jsonl = _write_clips(tmp_path / "in", extra)
    pack_manifests([jsonl], tmp_path / "out", SMALL, num_workers=0)
    rows = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    assert [row["labels"] for row in rows] == [["dog", "bark"], None, [], None]
    assert [row["snr"] for row in rows] == [3.0, 2.5, None, None]
    assert [row["deep"] for row in rows] == [None, '{"a": 1}', None, None]
    assert [row["mixed"] for row in rows] == [None, None, "1", '"x"']
    assert [row["original_audio"] for row in rows] == ["0.wav", "1.wav", "2.wav", "3.wav"]
    # Packed once more, from Parquet and shards: nothing of it changes.
    again = tmp_path / "again"
    pack_manifests([tmp_path / "out" / "manifest.parquet"], again, SMALL, num_workers=0)
    assert pq.read_table(again / "manifest.parquet").to_pylist() == rows
    assert (again / "shard-000000.tar").read_bytes() == (tmp_path / "out" / "shard-000000.tar").read_bytes()


@pytest.mark.parametrize("audio_format", ["flac", "opus"])
def test_the_number_of_workers_changes_no_byte(clips, tmp_path, audio_format):
    settings = PackSettings(audio_format, 0.05)
    for num_workers in (0, 1, 3):
        pack_manifests([clips], tmp_path / str(num_workers), settings, num_workers=num_workers)
    assert _files(tmp_path / "0") == _files(tmp_path / "1") == _files(tmp_path / "3")


def test_opus_is_the_same_at_another_time(tmp_path):
    first = encode(_noise(0, 2.0), "opus").data
    time.sleep(1.1)  # libsndfile's serial numbers come from the clock
    assert encode(_noise(0, 2.0), "opus").data == first
    (tmp_path / "a.opus").write_bytes(first)
    assert len(read_waveform(tmp_path / "a.opus")) == 32_000


def _pack_command(clips, out, *options):
    command = [sys.executable, "-P", "-m", "whisper_aut", "manifest", "pack", str(clips), "--out", str(out)]
    return [*command, "--shard-mb", "0.1", *options]


def _num_finished(out) -> int:
    return len(list((out / ".packing").glob("*.parquet")))


def test_killed_at_random_moments_it_goes_on_and_ends_with_the_same_bytes(tmp_path):
    rows = [{} for _ in range(200)]
    rows[7]["audio"] = rows[90]["audio"] = "missing.wav"
    clips = _write_clips(tmp_path / "in", rows)
    pack_manifests([clips], tmp_path / "whole", SMALL, num_workers=0)
    out, stopped_at = tmp_path / "out", list[int]()
    for trial in range(7):
        begun_with = _num_finished(out)
        process = subprocess.Popen(
            _pack_command(clips, out, "--num-workers", str(trial % 2)), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        # Starting Python takes longer than packing a shard: the random wait counts from the first shard of this run.
        while process.poll() is None and _num_finished(out) <= begun_with:
            time.sleep(0.002)
        time.sleep(random.Random(trial).uniform(0, 0.08))
        process.kill()
        process.wait()
        stopped_at.append(_num_finished(out))
    subprocess.run(_pack_command(clips, out), check=True, capture_output=True)
    assert sorted(set(stopped_at)) == stopped_at, "every run goes on from where the last one was killed"
    assert _files(out) == _files(tmp_path / "whole")
    assert [json.loads(line)["id"] for line in (out / "rejects.jsonl").open()] == ["clip-7", "clip-90"]


def test_killed_between_any_two_files_it_goes_on(clips, tmp_path):
    """Every order in which files can be missing that a kill leaves behind: the last ones written are gone."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    pack_manifests([clips], whole, SMALL, num_workers=0)
    expected = _files(whole)
    pack_manifests([clips], out, SMALL, num_workers=0)
    (out / "SHA256SUMS").unlink()  # all else is there, but no table of finished shards
    (out / ".shard-000001.tar.77.partial").write_bytes(b"half")
    pack_manifests([clips], out, SMALL, num_workers=0)
    assert _files(out) == expected
    (out / ".packing").mkdir()  # finished, and killed while it tidied up
    assert pack_manifests([clips], out, SMALL, num_workers=0)["clips"] == 24
    assert _files(out) == expected


def test_killed_workers_do_not_stay_behind(tmp_path):
    clips = _write_clips(tmp_path / "in", [{} for _ in range(400)])
    process = subprocess.Popen(
        _pack_command(clips, tmp_path / "out", "--num-workers", "2"), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    children: list[int] = []
    deadline_sec = time.monotonic() + 60
    while len(children) < 2 and process.poll() is None and time.monotonic() < deadline_sec:
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        children = [int(child) for child in listed]
        time.sleep(0.02)
    assert len(children) >= 2, "the workers were never seen"
    time.sleep(1.0)  # let them get to work
    process.kill()
    process.wait()
    while any(_runs(child) for child in children) and time.monotonic() < deadline_sec:
        time.sleep(0.05)
    assert not any(_runs(child) for child in children)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_unreadable_clips_are_listed_and_too_many_stop_it(tmp_path):
    rows = [{} for _ in range(120)]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "text.wav").write_text("not audio")
    for number in range(0, 120, 20):
        rows[number]["audio"] = "text.wav"
    clips = _write_clips(tmp_path / "in", rows)
    with pytest.raises(ManifestError, match=r"clips are unreadable, more than --max-reject-rate=0.02"):
        pack_manifests([clips], tmp_path / "out", SMALL, num_workers=0)
    summary = pack_manifests([clips], tmp_path / "out", SMALL, num_workers=0, max_reject_rate=0.2)
    assert summary["rejected"] == 6 and summary["clips"] == 114
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").open()]
    assert [entry["id"] for entry in rejects] == [f"clip-{number}" for number in range(0, 120, 20)]
    assert "not readable audio" in rejects[0]["reason"] and rejects[1]["where"].endswith("clips.jsonl:21")
    unbroken = tmp_path / "unbroken"
    pack_manifests([clips], unbroken, SMALL, num_workers=0, max_reject_rate=0.2)
    assert _files(unbroken) == _files(tmp_path / "out")


def test_a_clip_that_a_link_leads_out_is_a_reject(tmp_path):
    clips = _write_clips(tmp_path / "in", [{}, {"audio": "out.wav"}, {"audio": "circle.wav"}])
    (tmp_path / "in" / "out.wav").symlink_to(tmp_path / "elsewhere.wav")
    (tmp_path / "in" / "circle.wav").symlink_to(tmp_path / "in" / "circle.wav")
    summary = pack_manifests([clips], tmp_path / "out", SMALL, num_workers=0, max_reject_rate=1.0)
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").open()]
    assert summary["clips"] == 1 and "leads out" in rejects[0]["reason"] and "cannot be opened" in rejects[1]["reason"]


def test_a_folder_without_a_finished_shard_is_begun_anew(tmp_path):
    clips = _write_clips(tmp_path / "in", [{"audio": "none.wav"}])
    with pytest.raises(ManifestError, match="none of 1 clips is readable"):
        pack_manifests([clips], tmp_path / "out", SMALL, num_workers=0)
    mended = _write_clips(tmp_path / "in", [{}])
    assert pack_manifests([mended], tmp_path / "out", SMALL, num_workers=0)["clips"] == 1
    assert not check_shards(tmp_path / "out").problems


def test_the_rate_holds_for_few_clips_too(tmp_path):
    clips = _write_clips(tmp_path / "in", [{"audio": "none.wav"} if number % 3 else {} for number in range(23)])
    with pytest.raises(ManifestError, match=r"15 of 23 clips are unreadable, more than --max-reject-rate=0.02"):
        pack_manifests([clips], tmp_path / "out", SMALL, num_workers=0)
    assert not (tmp_path / "out" / "manifest.parquet").exists()
    assert pack_manifests([clips], tmp_path / "out", SMALL, num_workers=0, max_reject_rate=0.7)["rejected"] == 15


def test_nothing_readable_is_an_error(tmp_path):
    clips = _write_clips(tmp_path / "in", [{"audio": "none.wav"}] * 1)
    with pytest.raises(ManifestError, match="none of 1 clips is readable"):
        pack_manifests([clips], tmp_path / "out", SMALL, num_workers=0)


def test_a_folder_of_something_else_is_refused(clips, tmp_path):
    pack_manifests([clips], tmp_path / "out", SMALL, num_workers=0)
    assert pack_manifests([clips], tmp_path / "out", SMALL, num_workers=0)["clips"] == 24  # done is done
    with pytest.raises(ManifestError, match="begun with different shard_mb"):
        pack_manifests([clips], tmp_path / "out", PackSettings("flac", 0.2), num_workers=0)
    with pytest.raises(ManifestError, match="begun with different audio_format"):
        pack_manifests([clips], tmp_path / "out", PackSettings("opus", 0.1), num_workers=0)
    clips.write_text(clips.read_text().replace("Text 3", "Text three"))
    with pytest.raises(ManifestError, match="begun with different manifests"):
        pack_manifests([clips], tmp_path / "out", SMALL, num_workers=0)
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "a.tar").touch()
    with pytest.raises(ManifestError, match="holds other shards"):
        pack_manifests([clips], tmp_path / "others", SMALL, num_workers=0)


def test_two_manifests_go_into_one_folder_if_domain_and_ids_allow(tmp_path):
    first = _write_clips(tmp_path / "a", [{}, {"note": "x"}], name="first.jsonl")
    second = _write_clips(tmp_path / "b", [{"id": "other-0"}, {"id": "other-1"}], name="second.jsonl")
    pack_manifests([first, second], tmp_path / "out", SMALL, num_workers=0)
    rows = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    assert [(row["source"], row["note"]) for row in rows] == [
        ("first", None), ("first", "x"), ("second", None), ("second", None),
    ]  # fmt: skip
    doubled = _write_clips(tmp_path / "c", [{}])
    with pytest.raises(ManifestError, match="is the id of"):
        pack_manifests([first, doubled], tmp_path / "bad", SMALL, num_workers=0)
    music = _write_clips(tmp_path / "d", [{"domain": "music", "id": "m"}])
    with pytest.raises(ManifestError, match="several domains"):
        pack_manifests([first, music], tmp_path / "bad", SMALL, num_workers=0)


def test_a_full_disk_is_said_and_leaves_no_half_shard(clips, tmp_path):
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); "
        "from whisper_aut.cli import main; main()"
    )
    command = [sys.executable, "-P", "-c", limited, *_pack_command(clips, tmp_path / "out")[4:], "--num-workers", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "shards cannot be written: File too large" in done.stderr, done.stderr
    assert "free space" in done.stderr and "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("*.tar")) and not list((tmp_path / "out").glob(".*.partial"))
    pack_manifests([clips], tmp_path / "out", SMALL, num_workers=0)
    pack_manifests([clips], tmp_path / "whole", SMALL, num_workers=0)
    assert _files(tmp_path / "out") == _files(tmp_path / "whole")


def test_only_one_process_packs_into_a_folder(clips, tmp_path):
    import fcntl

    (tmp_path / "out").mkdir()
    held = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(ManifestError, match="another process packs"):
        pack_manifests([clips], tmp_path / "out", SMALL, num_workers=0)
    os.close(held)


def test_a_worker_that_is_killed_is_explained(clips, tmp_path, monkeypatch):
    import whisper_aut.data.pack_workers as workers

    monkeypatch.setattr(workers, "_start", _die)
    with pytest.raises(EnvironmentProblem, match="was killed"):
        pack_manifests([clips], tmp_path / "out", SMALL, num_workers=1)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_keys_hold_no_dot_or_slash_and_are_unique():
    ids = ["a.b", "a/b", "a%2Eb", "a b", "ä", "A.b", "..", "x" * 300, "x" * 299 + "y"]
    keys = [shard_key(clip_id) for clip_id in ids]
    assert len(set(keys)) == len(ids)
    for key in keys:
        assert key.isascii() and len(key) <= 94 and not set(key) & set("./ \\")


@pytest.fixture
def packed(clips, tmp_path):
    pack_manifests([clips], tmp_path / "out", SMALL, num_workers=0)
    return tmp_path / "out"


def test_checks_find_a_changed_bit_a_missing_shard_and_one_too_many(packed):
    shard = packed / "shard-000001.tar"
    content = bytearray(shard.read_bytes())
    content[5_000] ^= 1
    shard.write_bytes(content)
    assert any("shard-000001.tar: its SHA-256" in problem for problem in check_shards(packed).problems)
    shard.unlink()
    problems = check_shards(packed).problems
    assert any("cannot be read: No such file" in problem for problem in problems)
    assert any("audio:" in problem and "(clip " in problem for problem in problems)
    (packed / "shard-999999.tar").touch()
    assert any("is not in SHA256SUMS" in problem for problem in check_shards(packed).problems)


def test_checks_find_offsets_that_point_elsewhere(packed):
    table = pq.read_table(packed / "manifest.parquet")
    audio = table["audio"].to_pylist()
    audio[0], audio[1] = audio[1], audio[0]
    audio[2] = audio[2].replace("#", "#1024").rpartition(":")[0] + ":512"
    table = table.set_column(table.column_names.index("audio"), "audio", pa.array(audio))
    pq.write_table(table, packed / "manifest.parquet")
    problems = [problem for problem in check_shards(packed).problems if "audio:" in problem]
    assert len(problems) == 3 and "the member is of 'clip-1'" in problems[0]


def test_a_row_that_is_wrong_does_not_hide_the_others(packed):
    table = pq.read_table(packed / "manifest.parquet")
    audio = table["audio"].to_pylist()
    audio[0], audio[1] = "../x.tar#512:1", audio[2]
    table = table.set_column(table.column_names.index("audio"), "audio", pa.array(audio))
    pq.write_table(table, packed / "manifest.parquet")
    problems = [problem for problem in check_shards(packed).problems if "audio:" in problem]
    assert len(problems) == 2 and "climbs" in problems[0] and "the member is of" in problems[1]


def test_verify_shards_on_the_command_line(packed):
    command = [sys.executable, "-P", "-m", "whisper_aut", "manifest", "verify-shards", str(packed)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(done.stdout)["problems"] == 0
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=packed, check=True)
    (packed / "SHA256SUMS").unlink()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "sums of the shards cannot be read" in done.stderr


def test_a_shard_is_a_plain_tar(packed):
    with tarfile.open(packed / "shard-000000.tar") as tar:
        names = tar.getnames()
        assert names[:3] == ["clip-0.flac", "clip-0.txt", "clip-0.json"]
        assert {(info.mtime, info.uid, info.gid) for info in tar} == {(0, 0, 0)}
        told = json.load(tar.extractfile("clip-0.json"))
    assert told["id"] == "clip-0" and told["original_audio"] == "0.wav" and "audio" not in told
    assert {path.suffix for path in packed.iterdir()} == {".tar", ".parquet", ".json", ""}
