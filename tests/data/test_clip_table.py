"""Large manifests through the cache: the same clips as in memory, read once, read anew when the file changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whisper_aut.config import DataConfig
from whisper_aut.data import manifest as manifest_module
from whisper_aut.data.corpus import load_corpus
from whisper_aut.data.manifest import load_manifest, read_manifest
from whisper_aut.data.table_cache import cache_folder
from whisper_aut.errors import ManifestError


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """Every manifest is large; the cache is a folder of the test's own."""
    monkeypatch.setenv("WHISPER_AUT_CACHE", str(tmp_path / "cache"))
    _cache_from(monkeypatch, 1)
    return tmp_path / "cache" / "manifests"


def _cache_from(monkeypatch, size):
    monkeypatch.setattr(manifest_module, "CACHED_FROM_BYTES", size)
    monkeypatch.setattr(manifest_module, "CACHED_FROM_ROWS", size)


def _rows(count, **changes):
    return [
        {
            "id": f"clip{n}", "audio": f"{n}.wav", "offset_sec": n / 8, "duration_sec": 1 + n % 7 / 3, "text": f"Ä {n}",
            "domain": "speech", "source": "ab"[n % 2], "language": ["en", None][n % 2],
        }
        | changes
        for n in range(count)
    ]  # fmt: skip


def _write(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_what_is_mapped_is_what_is_in_memory(cached, tmp_path, name, monkeypatch):
    path = _write(tmp_path / name, _rows(300))
    mapped, again = load_manifest(path), load_manifest(path)
    _cache_from(monkeypatch, 2**60)
    in_memory = load_manifest(path)
    assert isinstance(mapped.table.numbers["num_samples"], np.memmap)
    assert not isinstance(in_memory.table.numbers["num_samples"], np.memmap)
    for manifest in (mapped, again):
        assert [manifest.clip(row) for row in range(300)] == [in_memory.clip(row) for row in range(300)]
        assert manifest.fingerprint == in_memory.fingerprint
        assert [manifest.where(row) for row in range(300)] == [in_memory.where(row) for row in range(300)]
        for name in ("id_hash", "split", "num_samples"):
            (start, (part,)), (_, (whole,)) = next(manifest.table.chunks(name)), next(in_memory.table.chunks(name))
            assert start == 0 and (part == whole).all()


def test_a_manifest_is_read_once_and_again_when_it_changes(cached, tmp_path, capsys):
    path = _write(tmp_path / "a.jsonl", _rows(20))
    first = load_manifest(path)
    assert "reading" in capsys.readouterr().err
    load_manifest(path)
    assert capsys.readouterr().err == ""
    _write(path, _rows(20, text="Other."))
    os.utime(path, ns=(1, 1))
    changed = load_manifest(path)
    assert "reading" in capsys.readouterr().err
    assert changed.fingerprint != first.fingerprint and changed.clip(3).text == "Other."
    assert first.clip(3).text == "Ä 3"  # what was mapped stays
    assert len([entry for entry in cached.iterdir() if entry.is_dir()]) == 1


def test_a_broken_row_leaves_nothing_in_the_cache(cached, tmp_path):
    path = _write(tmp_path / "a.jsonl", [*_rows(5), {"id": "x"}])
    with pytest.raises(ManifestError, match="is missing") as caught:
        load_manifest(path)
    assert caught.value.where == f"{path}:6"
    assert not [entry for entry in cached.iterdir() if entry.is_dir()]
    _, problems = read_manifest(path)
    assert {problem.clip_id for problem in problems} == {"x"}
    assert not [entry for entry in cached.iterdir() if entry.is_dir()]


@pytest.mark.parametrize("damage", ["index.json", "clips.arrow", "num_samples"])
def test_a_damaged_table_is_made_anew(cached, tmp_path, damage, capsys):
    path = _write(tmp_path / "a.jsonl", _rows(20))
    load_manifest(path)
    (folder,) = (entry for entry in cached.iterdir() if entry.is_dir())
    os.truncate(folder / damage, 10)
    assert load_manifest(path).clip(19).id == "clip19"
    assert capsys.readouterr().err.count("reading") == 2


def test_a_process_killed_while_it_reads_leaves_no_table(cached, tmp_path):
    """Of thirty thousand rows the first are on the disk when the process ends itself at the last."""
    path = _write(tmp_path / "a.jsonl", _rows(30_000))
    script = f"""
import os, signal
from pathlib import Path
from whisper_aut.data import clip_table, manifest
manifest.CACHED_FROM_BYTES = 1
clip_table.TableWriter.finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
manifest.load_manifest(Path({str(path)!r}))
"""
    killed = subprocess.run([sys.executable, "-c", script], env=os.environ | {"WHISPER_AUT_CACHE": str(cached.parent)})
    assert killed.returncode == -9
    assert [entry.name for entry in cached.iterdir() if entry.is_dir()]  # what it had written
    assert len(load_manifest(path)) == 30_000
    assert len([entry for entry in cached.iterdir() if entry.is_dir()]) == 1


def test_a_cache_that_cannot_be_written_says_what_to_do(cached, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("WHISPER_AUT_CACHE", str(tmp_path / "file"))
    with pytest.raises(ManifestError, match="cannot be kept") as caught:
        load_manifest(_write(tmp_path / "a.jsonl", _rows(3)))
    assert "WHISPER_AUT_CACHE" in caught.value.remedy


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("WHISPER_AUT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "whisper-aut"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "whisper-aut"


def test_a_corpus_of_mapped_manifests_is_that_of_manifests_in_memory(cached, tmp_path, text_encoder, monkeypatch):
    rows = _rows(400)
    for n, row in enumerate(rows):
        row["split"] = ["train", "test", None][n % 3]
        row["duration_sec"] = 31.0 if n % 11 == 0 else row["duration_sec"]
    rows[5]["text"] = "one " * 500
    _write(tmp_path / "a.parquet", rows[:250])
    _write(tmp_path / "b.jsonl", rows[250:])
    mixture = {"speech": {"weight": 1.0, "manifests": ["a.parquet", "b.jsonl"]}}
    data = DataConfig(root=tmp_path, mixture=mixture, holdout_clips=9, long_audio="drop", long_text="drop")
    found = []
    for smallest in (1, 2**60):
        _cache_from(monkeypatch, smallest)
        corpus = load_corpus(data, 3, text_encoder)
        pools = corpus.train["speech"], corpus.validation["speech"]
        found.append(
            [corpus.composition(), corpus.mean_text_bytes(), corpus.dropped]
            + [[(pool.clip(row), int(pool.num_samples[row])) for row in range(len(pool))] for pool in pools]
        )
    assert found[0] == found[1]
    assert len(found[0][4]) == 9 and found[0][2]["speech"].long_text == 1


def test_fast_and_slow_parsing_of_json_lines_agree(tmp_path):
    """A block with anything odd in it is parsed line by line; the rest of the file is not."""
    rows = _rows(2000)
    plain = load_manifest(_write(tmp_path / "a.jsonl", rows))
    path = tmp_path / "b.jsonl"
    path.write_text("\n" + "".join(json.dumps(row) + "\n\n" for row in rows))  # blank lines: no fast way
    slow = load_manifest(path)
    assert [plain.clip(row) for row in range(2000)] == [slow.clip(row) for row in range(2000)]
    assert slow.where(3) == f"{path}:8"


def test_reading_ends_where_a_file_is_something_else(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("x\n" * 300_000)
    _, problems = read_manifest(path)
    assert len(problems) == 10_001 and "what follows was not read" in str(problems[-1])
    path.write_bytes(b"x" * 20_000_000)
    with pytest.raises(ManifestError, match="a line has more than 8 MiB"):
        read_manifest(path)
