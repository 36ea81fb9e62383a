"""Names of files as lists and disks have them: found where they are one name, named where they are not."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

NFC, NFD = (unicodedata.normalize(form, "Übung/café.wav") for form in ("NFC", "NFD"))
MIXED = f"{NFC.partition('/')[0]}/{NFD.partition('/')[2]}"
LONG = "n" * 251 + ".wav"


@pytest.fixture
def listed(make_source, build, rejects, data, disk):
    """Builds a list of names over files of other names; (audio by text, reasons)."""

    def run(files, names):
        for name in files:
            disk.audio(data / "small" / name)
        rows = [("file", "text"), *((name, f"Text {number}.") for number, name in enumerate(names))]
        disk.csv(data / "small" / "list.csv", rows)
        read = {"kind": "list", "format": "csv", "splits": {"train": [{"files": ["list.csv"]}]}}
        clip = {"id": "{file}", "audio": ["{file}"], "text": ["{text}"]}
        found = build(make_source(read=read, clip=clip))
        relative = {row["text"]: str(Path(row["audio"]).relative_to(data / "small")) for row in found}
        return relative, [reject["reason"] for reject in rejects("small")]

    return run


@pytest.mark.parametrize(
    "name",
    [" lead.wav", "trail .wav", "two  spaces.wav", "x%20y.wav", "st[1].wav", "a*.wav", "q:r.wav", "a\\b.wav", LONG],
)
def test_a_name_is_taken_as_it_is(listed, name):
    assert listed([name], [name]) == ({"Text 0.": name}, [])


@pytest.mark.parametrize(("written", "there"), [(NFC, NFD), (NFD, NFC), (MIXED, NFC), (MIXED, NFD)])
def test_another_normal_form_of_a_name_is_the_same_name(listed, written, there):
    assert listed([there], [written]) == ({"Text 0.": there}, [])


def test_of_two_files_whose_names_differ_in_normal_form_each_is_its_own(listed):
    assert listed([NFC, NFD], [NFC, NFD]) == ({"Text 0.": NFC, "Text 1.": NFD}, [])


@pytest.mark.parametrize(
    ("there", "written", "cause"),
    [
        ("Clip.WAV", "clip.wav", "'Clip.WAV' is there, which differs in capitals"),
        (" clip.wav", "clip.wav", "' clip.wav' is there, which differs in spaces"),
        ("a b.wav", "a%20b.wav", "'a b.wav' is there, which differs in %XX"),
        ("A b.wav", "a%20b.wav", "'A b.wav' is there, which differs in capitals, spaces or %XX"),
        ("sub/a.wav", "sub\\a.wav", "it is there with / where the name has \\"),
        ("Sub/a.wav", "sub/a.wav", "'Sub' is there, which differs in capitals"),
        ("other.wav", "n" * 300 + ".wav", "has 304 bytes, and names of files 255 at most"),
        ("other.wav", "gone.wav", "there is no file gone.wav"),
    ],
)
def test_a_name_that_is_written_otherwise_is_a_reject_that_says_how(listed, there, written, cause):
    found, (reason,) = listed(["good.wav", there], ["good.wav", written])
    assert list(found) == ["Text 0."] and cause in reason


def test_a_link_under_another_normal_form_leads_nowhere_either(listed, data, disk):
    disk.audio(data / "secret.wav")
    (data / "small").mkdir()
    (data / "small" / unicodedata.normalize("NFD", "é")).symlink_to(data)
    found, (reason,) = listed(["good.wav"], ["good.wav", "é/secret.wav"])
    assert list(found) == ["Text 0."] and "leads by a link outside" in reason


@pytest.mark.parametrize("name", ["l[1].csv", "é.csv", " list.csv"])
def test_a_list_with_such_a_name_is_found(make_source, build, data, disk, name):
    disk.audio(data / "small" / "a.wav")
    disk.csv(data / "small" / unicodedata.normalize("NFD", name), [("name", "text"), ("a", "A.")])
    read = {"kind": "list", "format": "csv", "splits": {"train": [{"files": [name]}]}}
    assert [row["text"] for row in build(make_source(read=read))] == ["A."]


@pytest.mark.parametrize(("folder", "files"), [("k", "."), ("k", "./"), (".", "k"), (".", "./k")])
def test_a_corpus_folder_may_be_the_data_folder(make_source, build, data, disk, folder, files):
    disk.audio(data / "k" / "a.wav")
    (data / "k" / "wav.scp").write_text("u1 a.wav\n" if folder == "k" else "u1 k/a.wav\n")
    (data / "k" / "text").write_text("u1 Hello.\n")
    read = {"kind": "kaldi", "splits": {"train": [{"files": [files]}]}}
    spec = make_source(read=read, folder=folder, domain="speech", clip={})
    assert [(row["text"], row["audio"]) for row in build(spec)] == [("Hello.", str(data / "k" / "a.wav"))]
