"""No command writes over what it reads, and a place that cannot be written is said with a remedy that helps."""

from __future__ import annotations

import json
import os

import pytest

from whisper_aut.cli import main
from whisper_aut.data.outputs import check_distinct, check_output, writing
from whisper_aut.errors import ManifestError


def _run(capsys, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["whisper-aut", "manifest", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    shown = capsys.readouterr()
    return left.value.code, shown.out, shown.err


@pytest.fixture
def run(capsys, monkeypatch):
    return lambda *arguments: _run(capsys, monkeypatch, *arguments)


@pytest.fixture
def manifest(write_manifest):
    segments = json.dumps([{"start_sec": 0.0, "end_sec": 1.0, "text": "One."}])
    return write_manifest("a.jsonl", [{"id": "a", "segments": segments}, {"id": "b"}])


COMMANDS = {
    "merge": ["merge", "{in}", "{other}", "--out"],
    "filter": ["filter", "{in}", "--language", "en", "--out"],
    "cut": ["cut", "{in}", "--out"],
    "sample": ["sample", "{in}", "--out"],
}


def _filled(name, manifest, other):
    return [part.format(**{"in": manifest, "other": other}) for part in COMMANDS[name]]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("way", ["itself", "symbolic link", "hard link"])
def test_the_input_is_never_replaced(run, write_manifest, manifest, tmp_path, name, way):
    other = write_manifest("other.jsonl", [{"id": "c"}])
    out = manifest
    if way != "itself":
        out = tmp_path / ("link.html" if name == "sample" else "link.jsonl")
        os.link(manifest, out) if way == "hard link" else out.symlink_to(manifest)
    before = manifest.read_bytes()
    code, _, err = run(*_filled(name, manifest, other), out)
    assert code == 2 and "remedy: give another --out" in err
    assert manifest.read_bytes() == before


def test_the_list_of_ids_is_never_replaced(run, manifest, tmp_path):
    ids = tmp_path / "drop.jsonl"
    ids.write_text('{"id": "a"}\n')
    code, _, err = run("filter", manifest, "--drop-ids", ids, "--out", ids)
    assert code == 2 and "is read for it" in err and ids.read_text() == '{"id": "a"}\n'


def test_a_page_is_no_manifest(run, manifest, tmp_path):
    code, _, err = run("sample", manifest, "--out", tmp_path / "new.jsonl")
    assert code == 2 and "ends in .html" in err and not (tmp_path / "new.jsonl").exists()


def test_one_file_is_not_two(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    check_distinct([tmp_path / "a", tmp_path / "b", tmp_path / "none", tmp_path / "nothing"])
    check_output(tmp_path / "none", [tmp_path / "a", tmp_path / "none"])
    with pytest.raises(ManifestError, match="given twice, as"):
        check_distinct([tmp_path / "a", tmp_path / "b", tmp_path / "link"])
    with pytest.raises(ManifestError, match="given twice\n"):
        check_distinct([tmp_path / "b", tmp_path / "b"])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_place_that_cannot_be_written_is_said(run, write_manifest, manifest, tmp_path, name):
    other = write_manifest("other.jsonl", [{"id": "c"}])
    ending = "html" if name == "sample" else "parquet"
    folder = tmp_path / f"folder.{ending}"
    folder.mkdir()
    code, _, err = run(*_filled(name, manifest, other), folder)
    assert code == 2 and "this is a folder" in err and "make room" not in err and "Traceback" not in err
    code, _, err = run(*_filled(name, manifest, other), f"/proc/nope/x.{ending}")
    assert code == 2 and "check the folder" in err and "make room" not in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "remedy"),
    [(OSError(28, "No space left on device"), "make room"), (PermissionError(13, "denied"), "check the folder")],
)
def test_the_remedy_is_of_the_reason(tmp_path, error, remedy):
    with (
        pytest.raises(ManifestError, match="the page cannot be written") as raised,
        writing(tmp_path / "x", "the page"),
    ):
        raise error
    assert remedy in str(raised.value)
