"""The audit at the end of a build: on the screen, in the page, and files of equal content."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import soundfile

from whisper_aut.cli import main
from whisper_aut.data.sources import content
from whisper_aut.data.sources.build import BuildOptions, build_source
from whisper_aut.data.sources.content import head_print, same_content
from whisper_aut.data.sources.summary import write_summary


def test_files_of_equal_content_are_found_and_none_else(tmp_path):
    rng = np.random.default_rng(0)
    body = rng.bytes(40_000)
    files = {
        "a": body,
        "same": body,
        "again": body,
        "other end": body[:-1] + bytes([body[-1] ^ 1]),
        "other middle": body[:20_001] + b"!!!!" + body[20_005:],
        "elsewhere": body[:9_000] + b"!!!!" + body[9_004:],  # neither at the ends nor in the middle
        "longer": body + b"!",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    groups: dict[int | None, list[str]] = {}
    for name in files:
        groups.setdefault(head_print(str(tmp_path / name)), []).append(str(tmp_path / name))
    found = same_content(groups.values(), len(files))
    assert (found["groups"], found["files"], found["unread"]) == (1, 3, 0)
    assert found["examples"] == [" = ".join(str(tmp_path / name) for name in ("a", "same", "again"))]


def test_a_budget_is_kept_and_what_is_over_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "_MIN_BUDGET_BYTES", 50_000)
    monkeypatch.setattr(content, "_BUDGET_BYTES_A_FILE", 0)
    for name in "abcd":
        (tmp_path / name).write_bytes(bytes([ord(name) // 99]) * 20_000)
    groups = [
        [str(tmp_path / "a"), str(tmp_path / "b")],
        [str(tmp_path / "c"), str(tmp_path / "d")],
        [str(tmp_path / "gone")] * 2,
    ]
    found = same_content(groups, 4)
    assert (found["groups"], found["unread"]) == (1, 2)


def test_a_file_that_cannot_be_read_has_no_print(tmp_path):
    assert head_print(str(tmp_path / "gone")) is None


@pytest.fixture
def corpus(make_source, data, disk):
    """Speech: clips of 1 to 12 s, a copy, a silent one, one with too much text, a placeholder, a broken file."""
    rows = [("file", "text")]
    for number in range(1, 13):
        disk.audio(data / "small" / f"c{number}.wav", float(number))
        rows.append((f"c{number}", f"This is number {number}."))
    shutil.copy(data / "small" / "c3.wav", data / "small" / "copy.wav")
    soundfile.write(data / "small" / "quiet.wav", np.zeros(16_000), 16_000)
    content = bytearray((data / "small" / "c9.wav").read_bytes())
    (data / "small" / "cut.wav").write_bytes(content[: len(content) // 2])
    rows += [("copy", "Copied."), ("quiet", "word " * 40), ("c1", "nan"), ("gone", "Not there.")]
    disk.csv(data / "small" / "list.csv", rows)
    read = {"kind": "list", "format": "csv", "splits": {"train": [{"files": ["list.csv"]}]}}
    clip = {"id": "{file}-{text}", "audio": ["{file}.wav"], "text": ["{text}"]}
    return make_source(read=read, clip=clip, domain="speech")


def test_a_build_ends_with_an_audit(corpus, data, tmp_path):
    summary = build_source(corpus, BuildOptions(data, tmp_path / "out"))
    audit = summary["audit"]
    assert summary["clips"] == 15 and summary["rejected"] == {"there is no file": 1}
    assert [value for value, _ in audit["shortest"]] == [1, 1, 1, 2, 3, 3, 4, 5, 6, 7]
    assert audit["longest"][0] == [12, "small-c12-This is number 12."] and audit["quietest"] == []
    assert (audit["spoken"], audit["impossible"], audit["placeholders"]) == (15, 1, 1)
    assert audit["same_content"]["groups"] == 1 and audit["same_content"]["files"] == 2
    assert "c3.wav = " in audit["same_content"]["examples"][0]
    again = build_source(corpus, BuildOptions(data, tmp_path / "out"))
    assert again["was_there"] and again["audit"] == audit
    write_summary(tmp_path / "out")
    page = (tmp_path / "out" / "summary.html").read_text()
    for shown in (
        "shortest",
        "longest",
        "files of equal content: 2",
        "1 of 15 clips of speech",
        "texts that are none: 1",
    ):
        assert shown in page
    assert "quietest" not in page


def test_the_audit_is_the_same_with_any_number_of_processes(corpus, data, tmp_path):
    audits = [build_source(corpus, BuildOptions(data, tmp_path / str(n), num_workers=n))["audit"] for n in (1, 2)]
    assert audits[0] == audits[1]


def test_audio_that_is_decoded_says_how_loud_it_is_and_whether_it_can_be(corpus, data, tmp_path, disk):
    spec = corpus.model_copy(update={"clip": corpus.clip.model_copy(update={"duration_sec": None})})
    with (data / "small" / "list.csv").open("a") as file:
        file.write("cut,Half of it.\n")
    summary = build_source(spec, BuildOptions(data, tmp_path / "out", check_audio=True))
    assert summary["audit"]["quietest"][0][0] == -200 and summary["audit"]["quietest"][0][1].startswith("small-quiet")
    assert summary["audit"]["quietest"][1][0] == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)), abs=0.1)


def test_the_screen_shows_the_audit(data, tmp_path, disk, monkeypatch, capsys):
    disk.audio(data / "mine" / "a.wav")
    disk.csv(data / "mine" / "clips.csv", [("name", "text"), ("a", "A."), ("gone", "B.")])
    (tmp_path / "mine.yaml").write_text(
        "name: mine\ntitle: Mine\ndomain: environment\nlicense: CC0-1.0\ncommercial: allowed\nhomepage: https://e.org\n"
        "hours: 1\nfolder: mine\nget: it is there\nchecked: made for this test, so that nothing has to be looked up\n"
        "read: {kind: list, format: csv, splits: {train: [{files: [clips.csv]}]}}\n"
        'clip: {id: "{name}", audio: ["{name}.wav"]}\n'
    )
    command = [
        "manifest",
        "build",
        tmp_path / "mine.yaml",
        "--data-root",
        data,
        "--out",
        tmp_path / "out",
        "--check-audio",
    ]
    monkeypatch.setattr("sys.argv", ["whisper-aut", *map(str, command)])
    with pytest.raises(SystemExit) as left:
        main()
    shown = capsys.readouterr().out
    assert left.value.code == 0 and "mine: 2 in, 1 out, 1 rejected" in shown
    assert "rejected: 1: there is no file" in shown and "shortest: 1.00 s mine-a" in shown and "quietest: -1" in shown


def test_a_summary_beside_one_of_an_earlier_release(corpus, data, tmp_path):
    build_source(corpus, BuildOptions(data, tmp_path / "out"))
    state = tmp_path / "out" / ".build" / "small" / "state.json"
    known = json.loads(state.read_text())
    del known["summary"]["audit"]
    state.write_text(json.dumps(known))
    assert write_summary(tmp_path / "out")["clips"] == 15
