"""Building: the same outcome with any number of processes and after any kill; what is wrong is named, row by row."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from whisper_aut.data.manifest import load_manifest
from whisper_aut.data.sources import parts, rows
from whisper_aut.data.sources.build import BuildOptions, build_source
from whisper_aut.errors import SourceError

YAML = {
    "name": "many", "title": "Many", "domain": "speech", "license": "CC0-1.0", "commercial": "allowed",
    "homepage": "https://example.org", "hours": None, "folder": "many", "get": "it is made by a test",
    "checked": "It is made by a test, so that nothing had to be looked up.",
    "read": {"kind": "nemo", "splits": {"train": [{"files": ["clips.jsonl"]}]}},
}  # fmt: skip


@pytest.fixture
def many(data, tmp_path, disk):
    """A NeMo manifest of many rows over few files, with rejects and double ids among them, and its YAML."""

    def make(num_rows: int) -> Path:
        for index in range(16):
            disk.audio(data / "many" / "audio" / f"{index}.wav", 20.0)
        listed = []
        for index in range(num_rows):
            row = {"audio_filepath": f"audio/{index % 16}.wav", "offset": index // 16 * 1e-3, "text": f"row {index}"}
            row["duration"] = 0.01 if index % 97 == 0 else 1.5
            listed.append(json.dumps(row) if index % 101 else '{"audio_filepath": ')
            if index % 1009 == 5:
                listed.append(listed[-1])
        disk.jsonl(data / "many" / "clips.jsonl", listed)
        path = tmp_path / "many.yaml"
        path.write_text(yaml.safe_dump(YAML))
        return path

    return make


def _command(yaml_file: Path, data: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "whisper_aut", "manifest", "build", str(yaml_file), "--data-root", str(data),
            "--out", str(out), *more]  # fmt: skip


def _outcome(out: Path) -> dict[str, bytes]:
    return {
        name: (out / name).read_bytes() for name in ("many.parquet", "rejects.jsonl", "summary.json", "summary.html")
    }


def test_a_build_that_is_killed_goes_on_and_ends_as_an_unbroken_one(many, data, tmp_path):
    yaml_file = many(36_000)
    subprocess.run(_command(yaml_file, data, tmp_path / "unbroken"), check=True, capture_output=True)
    killed, finished_before = 0, 0
    folder = tmp_path / "out" / ".build" / "many" / "parts"
    for wanted in (1, 3, 6):  # finished batches, of 9
        process = subprocess.Popen(
            _command(yaml_file, data, tmp_path / "out", "--num-workers", "2"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        while process.poll() is None and len(list(folder.glob("*.parquet"))) < wanted:
            time.sleep(0.002)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
            finished_before = len(list(folder.glob("*.parquet")))
    assert killed == 3 and finished_before >= 6
    assert not (tmp_path / "out" / "many.parquet").exists()
    done = subprocess.run(_command(yaml_file, data, tmp_path / "out"), check=True, capture_output=True, text=True)
    assert "batches were finished before" in done.stderr
    assert _outcome(tmp_path / "out") == _outcome(tmp_path / "unbroken")
    assert not list((tmp_path / "out").rglob("*.partial")) or killed
    manifest = load_manifest(tmp_path / "out" / "many.parquet")
    rejected = (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()
    assert len(manifest) + len(rejected) == 36_000 + 36


def test_a_worker_that_is_killed_ends_the_build_with_a_message_and_the_next_one_goes_on(many, data, tmp_path):
    yaml_file = many(36_000)
    process = subprocess.Popen(
        _command(yaml_file, data, tmp_path / "out", "--num-workers", "2"),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    folder = tmp_path / "out" / ".build" / "many" / "parts"
    while process.poll() is None and not list(folder.glob("*.parquet")):
        time.sleep(0.002)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(workers[0]), signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode == 1 and "a process of the build was killed" in err and "Traceback" not in err
    subprocess.run(_command(yaml_file, data, tmp_path / "out"), check=True, capture_output=True)
    assert len(load_manifest(tmp_path / "out" / "many.parquet")) > 30_000


def test_workers_end_with_a_build_that_is_killed(many, data, tmp_path):
    process = subprocess.Popen(
        _command(many(36_000), data, tmp_path / "out", "--num-workers", "2"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    folder = tmp_path / "out" / ".build" / "many" / "parts"
    while process.poll() is None and not list(folder.glob("*.parquet")):
        time.sleep(0.002)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    while any(Path(f"/proc/{pid}").exists() and "Z" not in _state(pid) for pid in children):
        time.sleep(0.05)  # the test's own time limit is patience: an orphan would keep it here


def _state(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_the_number_of_processes_changes_nothing(small, data, tmp_path, monkeypatch):
    spec = small(23)
    monkeypatch.setattr(rows, "BATCH_ROWS", 4)
    for num_workers in (1, 2):
        build_source(spec, BuildOptions(data, tmp_path / str(num_workers), num_workers=num_workers))
    one, two = ((tmp_path / str(n) / "small.parquet").read_bytes() for n in (1, 2))
    assert one == two


def test_a_manifest_that_stands_is_left_as_it_is(small, build, tmp_path, data):
    spec = small()
    build(spec)
    written = (tmp_path / "out" / "small.parquet").stat().st_mtime_ns
    assert build_source(spec, BuildOptions(data, tmp_path / "out"))["was_there"]
    assert (tmp_path / "out" / "small.parquet").stat().st_mtime_ns == written


def test_a_list_that_changed_is_built_anew(small, build):
    assert len(build(small(3))) == 3
    assert len(build(small(4))) == 4


def test_an_unfinished_build_of_something_else_is_not_thrown_away(small, build, data, tmp_path):
    spec = small()
    state = parts.Parts(tmp_path / "out", "small", counted=False)
    with state.locked():
        state.begin({"fingerprint": "of another build", "source": "small"}, anew=True)
    with pytest.raises(SourceError, match="unfinished build") as raised:
        build(spec)
    assert "--fresh" in str(raised.value)
    assert len(build(spec, fresh=True)) == 3


def test_two_builds_of_a_source_at_once_are_refused(small, build, tmp_path):
    with (
        parts.Parts(tmp_path / "out", "small", counted=False).locked(),
        pytest.raises(SourceError, match="another build"),
    ):
        build(small())


def test_a_double_id_is_rejected_with_where_the_first_stands(small, build, rejects, data):
    spec = small(rows=[("a", "One."), ("b", "Two."), ("a", "Three.")])
    assert [row["text"] for row in build(spec)] == ["One.", "Two."]
    (reject,) = rejects("small")
    assert reject["where"] == f"{data}/small/clips.csv:4"
    assert reject["reason"] == f"is the id of {data}/small/clips.csv:2 too"


def test_the_manifest_is_one_that_training_reads(small, build, tmp_path):
    build(small())
    manifest = load_manifest(tmp_path / "out" / "small.parquet")
    assert manifest.audio_source(0).is_file() and manifest.clip(0).license == "CC0-1.0"
    metadata = pq.read_metadata(tmp_path / "out" / "small.parquet").row_group(0)
    columns = {metadata.column(index).path_in_schema: metadata.column(index) for index in range(10)}
    assert (columns["source"].compression == "ZSTD" and "PLAIN_DICTIONARY" in str(columns["source"].encodings)) or (
        "RLE_DICTIONARY" in str(columns["source"].encodings)
    )


def test_jsonl_says_the_same(small, data, tmp_path, build):
    spec = small()
    build_source(spec, BuildOptions(data, tmp_path / "jsonl", form="jsonl"))
    lines = (tmp_path / "jsonl" / "small.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == build(spec)


def test_tokens_are_counted_and_texts_that_do_not_fit_are_rejected(small, build, rejects, tokenizer_folder):
    spec = small(rows=[("a", "A dog barks."), ("b", "strange words " * 300)])
    (row,) = build(spec, tokenizer_dir=tokenizer_folder)
    assert row["num_tokens"] == 10
    assert "the decoder has 448 positions" in rejects("small")[0]["reason"]


def test_a_limit_reads_the_first_rows_of_each_split(small, build):
    assert len(build(small(7), limit=2)) == 2


def test_where_no_clip_is_left_the_reason_is_said(small, build, data):
    spec = small()
    for path in (data / "small").glob("*.wav"):
        path.unlink()
    with pytest.raises(SourceError, match="no clip is left: 3 rejected, most because: there is no file"):
        build(spec)


def test_a_corpus_that_is_not_there(small, build, data):
    spec = small()
    shutil.rmtree(data / "small")
    with pytest.raises(SourceError, match="Small is not at") as raised:
        build(spec)
    assert "it is made by a test" in str(raised.value)


def test_a_folder_that_cannot_be_made(small, data):
    with pytest.raises(SourceError, match="folder cannot be made: No such file") as raised:
        build_source(small(), BuildOptions(data, Path("/proc/b")))
    assert "check the folder" in str(raised.value) and "make room" not in str(raised.value)


def test_a_split_that_a_source_has_not(small, build):
    with pytest.raises(SourceError, match="no split 'validation'"):
        build(small(), splits=["validation"])


def test_a_broken_batch_leaves_nothing_half(small, build, monkeypatch, tmp_path):
    def fails(*_, **__):
        raise OSError(28, "No space left on device")

    spec = small()
    monkeypatch.setattr(parts.pq, "write_table", fails)
    with pytest.raises(SourceError, match="No space left on device"):
        build(spec)
    assert not list((tmp_path / "out").rglob("*.parquet")) and not list((tmp_path / "out").rglob("*.partial"))
    monkeypatch.undo()
    assert len(build(spec)) == 3
