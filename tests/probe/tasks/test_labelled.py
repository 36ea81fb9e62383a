import json
import shutil
import unicodedata
from pathlib import Path

import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.tasks.labelled import load_task


def test_a_task_is_read_in_order_with_defaults(rows, write_task):
    for row in rows:
        del row["group"], row["license"]
    rows[0]["note"] = "an unknown column"
    task = load_task(write_task(rows))
    assert task.name == "tones"
    assert task.classes == ["high", "low"]
    assert [clip.id for clip in task.clips] == [row["id"] for row in rows]
    assert {clip.license for clip in task.clips} == {"unknown"}
    assert {clip.offset_sec for clip in task.clips} == {0.0}
    assert len({clip.group for clip in task.clips}) == len(rows)


def test_segments_of_one_file_without_a_group_are_one_recording(rows, write_task):
    for number, row in enumerate(rows[:2]):
        row.update(audio="audio/long.wav", offset_sec=0.1 * number)
        del row["group"]
    first, second = load_task(write_task(rows)).clips[:2]
    assert first.group == second.group


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""),
        ("id", 7),
        ("label", None),
        ("audio", 3),
        ("fold", "1"),
        ("fold", True),
        ("fold", 1.0),
        ("fold", "dev"),
        ("label", []),
        ("label", ["a", "a"]),
        ("label", ["a", ""]),
        ("label", ["a", 1]),
        ("duration_sec", 0),
        ("duration_sec", float("nan")),
        ("duration_sec", float("inf")),
        ("duration_sec", "1.0"),
        ("offset_sec", -0.5),
        ("offset_sec", True),
        ("group", 5),
    ],
)
def test_a_wrong_field_is_named_with_file_and_line(rows, write_task, field, value):
    rows[2][field] = value
    with pytest.raises(ProbeError) as caught:
        load_task(write_task(rows))
    message = str(caught.value)
    assert f"'{field}'" in message
    assert "clips.jsonl:3" in message
    assert field == "id" or rows[2]["id"] in message


@pytest.mark.parametrize("field", ["id", "audio", "duration_sec", "label", "fold"])
def test_a_missing_field_is_named(rows, write_task, field):
    del rows[1][field]
    with pytest.raises(ProbeError, match=rf"'{field}' is missing[\s\S]*clips.jsonl:2"):
        load_task(write_task(rows))


@pytest.mark.parametrize("line", ["{", "[1]", '"text"'])
def test_a_line_that_is_no_object_is_named(rows, write_task, line):
    folder = write_task(rows)
    manifest = folder / "clips.jsonl"
    manifest.write_text(manifest.read_text() + "\n" + line + "\n")
    with pytest.raises(ProbeError, match=rf"clips.jsonl:{len(rows) + 2}"):
        load_task(folder)


def test_missing_files_are_counted_and_the_first_is_named(rows, write_task):
    folder = write_task(rows)
    for row in rows[3:6]:
        (folder / row["audio"]).unlink()
    with pytest.raises(ProbeError, match=rf"3 of {len(rows)} audio files.*{rows[3]['id']}\.wav[\s\S]*clips.jsonl:4"):
        load_task(folder)


def test_a_missing_manifest_says_what_a_task_is(tmp_path):
    with pytest.raises(ProbeError, match=r"folder with clips\.jsonl"):
        load_task(tmp_path)


def test_an_empty_manifest_is_refused(write_task):
    with pytest.raises(ProbeError, match="no clips"):
        load_task(write_task([]))


def test_an_id_that_stands_twice_is_refused(rows, write_task):
    rows[5]["id"] = rows[1]["id"]
    with pytest.raises(ProbeError, match=r"stands twice, first at .*clips.jsonl:2[\s\S]*clips.jsonl:6"):
        load_task(write_task(rows))


def test_audio_that_stands_twice_is_refused(rows, write_task):
    rows[4].update(audio=rows[0]["audio"], duration_sec=rows[0]["duration_sec"])
    with pytest.raises(ProbeError, match=rf"same audio stands twice, first as clip {rows[0]['id']}"):
        load_task(write_task(rows))


@pytest.mark.parametrize("audio", ["../secret.wav", "audio/../../secret.wav", "https://example.org/a.wav"])
def test_audio_may_not_lead_out_of_the_folder(rows, write_task, audio):
    rows[0]["audio"] = audio
    with pytest.raises(ProbeError, match=r"'audio'[\s\S]*clips.jsonl:1"):
        load_task(write_task(rows))


def test_a_link_may_not_lead_out_of_the_folder(rows, write_task, tmp_path):
    folder = write_task(rows)
    outside = tmp_path / "outside.wav"
    shutil.move(folder / rows[0]["audio"], outside)
    (folder / rows[0]["audio"]).symlink_to(outside)
    with pytest.raises(ProbeError, match="leads out of the task's folder"):
        load_task(folder)


def test_a_link_in_a_circle_is_audio_that_is_missing(rows, write_task):
    folder = write_task(rows)
    audio = folder / rows[0]["audio"]
    audio.unlink()
    audio.symlink_to(audio)
    with pytest.raises(ProbeError, match=rows[0]["id"]):
        load_task(folder)


def test_the_hash_follows_what_a_result_depends_on_and_nothing_else(rows, write_task, tmp_path):
    folder = write_task(rows)
    original = load_task(folder).clips_sha256
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    assert load_task(copy).clips_sha256 == original
    with (copy / rows[0]["audio"]).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    assert load_task(copy).clips_sha256 != original
    for field, value in [("label", "other"), ("fold", 4), ("group", rows[1]["group"]), ("duration_sec", 0.3)]:
        changed = [dict(row) for row in rows]
        changed[0][field] = value
        assert load_task(write_task(changed)).clips_sha256 != original, field


def test_the_hash_of_ungrouped_clips_does_not_depend_on_the_folder(rows, write_task, tmp_path):
    for row in rows:
        del row["group"]
    folder = write_task(rows)
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert load_task(folder).clips_sha256 == load_task(tmp_path / "elsewhere").clips_sha256


def test_parts_and_several_labels_are_read(rows, write_task):
    for row in rows:
        row["label"] = [row["label"]]
    rows[0].update(fold="valid", label=["low", "high"])
    task = load_task(write_task(rows))
    assert task.clips[0].fold == "valid" and task.clips[0].labels == ("low", "high")
    assert task.metric == "mAP" and task.clips[1].label == "high"


def test_lists_and_texts_are_not_mixed(rows, write_task):
    rows[3]["label"] = ["high"]
    with pytest.raises(ProbeError, match=r"label of clip .* is a list, that of clip .* is one text") as error:
        load_task(write_task(rows))
    assert ":4" in (error.value.where or "")


def test_a_file_in_place_of_the_folder_is_a_users_error(rows, write_task):
    folder = write_task(rows)
    with pytest.raises(ProbeError, match="a folder, not a file") as error:
        load_task(folder / "clips.jsonl")
    assert str(folder) in (error.value.remedy or "")


def test_missing_files_are_named_up_to_three(rows, write_task):
    folder = write_task(rows)
    for row in rows[:4]:
        (folder / row["audio"]).unlink()
    with pytest.raises(ProbeError, match=r"4 of 16 .*high-1-0\.wav, .*high-1-1\.wav, .*low-1-0\.wav, …"):
        load_task(folder)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_task_in_another_encoding_or_with_a_mark_is_the_same_task(rows, write_task, encoding):
    folder = write_task(rows)
    before = load_task(folder)
    text = (folder / "clips.jsonl").read_text("utf-8")
    (folder / "clips.jsonl").write_bytes(text.replace("\n", "\r\n\r\n").encode(encoding))
    after = load_task(folder)
    assert after.clips_sha256 == before.clips_sha256
    assert [clip.where.partition(":")[2] for clip in after.clips[:2]] == [
        "1, clip " + rows[0]["id"],
        "3, clip " + rows[1]["id"],
    ]


@pytest.mark.parametrize("line", ['{"id": "x", "id": "y"}', "[1]", "{} {}", '{"id": "x",}', "\0"])
def test_a_line_that_is_no_clip_is_named(rows, write_task, line):
    folder = write_task(rows[:1])
    with (folder / "clips.jsonl").open("a") as file:
        file.write("\n" + line + "\n")
    with pytest.raises(ProbeError, match=r"no clip: [\s\S]*clips.jsonl:3"):
        load_task(folder)


def test_audio_under_another_normal_form_is_found(rows, write_task):
    folder = write_task(rows)
    audio = folder / rows[0]["audio"]
    audio.rename(audio.with_name(unicodedata.normalize("NFD", "café.wav")))
    rows[0]["audio"] = str(Path(rows[0]["audio"]).with_name("café.wav"))
    (folder / "clips.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    assert load_task(folder).clips[0].audio == audio.with_name(unicodedata.normalize("NFD", "café.wav"))


@pytest.mark.parametrize(("name", "cause"), [("{}", ""), ("n" * 300, "names of files 255 at most")])
def test_audio_that_is_not_there_is_named_with_the_cause(rows, write_task, name, cause):
    folder = write_task(rows)
    rows[0]["audio"] = str(Path(rows[0]["audio"]).with_name(name.format(Path(rows[0]["audio"]).name.upper())))
    (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ProbeError, match=cause or "which differs in capitals"):
        load_task(folder)


def test_labels_that_differ_in_little_are_classes_of_their_own_with_a_warning(rows, write_task, capsys):
    for row, label in zip(rows, ("a", "a ", "A", "b", "b", "e\u0301", "\u00e9"), strict=False):
        row["label"] = label
    task = load_task(write_task(rows))
    assert {"a", "a ", "A"} <= set(task.classes)
    (note, *others) = task.notes
    assert "'A', 'a', 'a ' count as 3 classes" in note
    assert "warning: tones: labels 'A', 'a', 'a '" in capsys.readouterr().err
    assert not others or "count as 2 classes" in others[0]


def test_labels_that_are_different_have_no_warning(rows, write_task, capsys):
    assert load_task(write_task(rows)).notes == () and capsys.readouterr().err == ""
