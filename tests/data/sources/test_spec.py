"""Reading a source's YAML: mistakes are named with file, line, key and the nearest known key."""

from __future__ import annotations

import pytest

from whisper_aut.data.sources.spec import load_source
from whisper_aut.errors import SourceError

GOOD = """\
name: mine
title: Mine
domain: environment
license: CC0-1.0
commercial: allowed
homepage: https://example.org
hours: 1
folder: mine
get: it is here
checked: It was made for this test, so that nothing had to be looked up anywhere.
read:
  kind: list
  format: csv
  splits:
    train: [{files: [clips.csv]}]
clip:
  id: "{name}"
  audio: ["{name}.wav"]
"""


@pytest.fixture
def mistake(tmp_path):
    """The message for the good YAML with one text replaced."""

    def mistake(old: str, new: str) -> str:
        assert old in GOOD
        path = tmp_path / "mine.yaml"
        path.write_text(GOOD.replace(old, new))
        with pytest.raises(SourceError) as raised:
            load_source(str(path))
        return str(raised.value)

    return mistake


def test_a_source_of_ones_own_is_read_by_its_path(tmp_path):
    (tmp_path / "mine.yaml").write_text(GOOD)
    assert load_source(str(tmp_path / "mine.yaml")).clip.audio == ["{name}.wav"]


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("license:", "licence:", 4, "did you mean 'license'?"),
        ("  format:", "  formt:", 13, "read.formt: unknown key; did you mean 'format'?"),
        ("{files:", "{fils:", 15, "read.splits.train.0.fils: unknown key; did you mean 'files'?"),
        ("format: csv", "format: cvs", 13, "found 'cvs'"),
        ("kind: list", "kind: lists", 12, "did you mean 'list'?"),
        ("domain: environment", "domain: sounds", 3, "found 'sounds'"),
        ("name: mine", "name: ../mine", 1, "found '../mine'"),
        ('  audio: ["{name}.wav"]\n', "", 1, "clip.audio is missing"),
        ("hours: 1", "hours: 1\nclean: [sentense_case]", 8, "did you mean 'sentence_case'?"),
        ("hours: 1", "hours: 1\nlong_audio: head\nderive: [{name: x, column: y, match: abc}]", 9, "one group"),
        ("hours: 1", "hours: 1\nclip_: 3", 8, "did you mean 'clip'?"),
    ],
)
def test_a_mistake_names_line_key_and_what_is_known(mistake, old, new, line, message):
    said = mistake(old, new)
    assert message in said and f"mine.yaml:{line}:" in said, said


def test_a_missing_key_is_named(mistake):
    assert "commercial: is missing" in mistake("commercial: allowed\n", "")


def test_a_template_of_a_field_that_is_not_there(mistake):
    captions = (
        "captions:\n  fields: {sounds: {column: labels}}\n  templates: ['{sound}.', '{sounds}', 'x {sounds}']\nhours: 1"
    )
    assert "names {sound}; fields: sounds" in mistake("hours: 1", captions)


def test_captions_and_texts_exclude_each_other(mistake):
    captions = "captions:\n  fields: {s: {column: l}}\n  templates: ['{s}.', '{s}', 'x {s}']\n"
    said = mistake('  audio: ["{name}.wav"]\n', "  audio: ['{name}.wav']\n  text: ['{t}']\n" + captions)
    assert "not from both" in said


def test_a_transcript_is_never_cut(mistake):
    assert "under a whole transcript" in mistake("domain: environment", "domain: speech\nlong_audio: head")


def test_what_is_no_yaml_is_named_with_its_line(mistake):
    said = mistake("title: Mine", "title: [Mine")
    assert "not YAML" in said and "mine.yaml:3" in said


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(SourceError, match="did you mean 'librispeech'"):
        load_source("librispech")


def test_a_name_is_no_way_to_other_files():
    with pytest.raises(SourceError, match="there is no source"):
        load_source("../demo")


def test_tags_that_make_objects_are_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text("name: !!python/object/apply:os.system [echo]\n")
    with pytest.raises(SourceError, match="not YAML"):
        load_source(str(tmp_path / "mine.yaml"))
