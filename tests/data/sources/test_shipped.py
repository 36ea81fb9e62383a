"""The sources that come with the package: each loads, says its licence and what was verified, and has captions."""

from __future__ import annotations

import re

import pytest

from whisper_aut.data.sources.clips import whisper_languages
from whisper_aut.data.sources.readers import needed_columns
from whisper_aut.data.sources.spec import Captions, load_source, shipped_sources
from whisper_aut.data.sources.templates import caption

PAPER = {"gigaspeech", "peoples_speech", "common_voice_en", "mls_english", "libriheavy", "librispeech", "audioset",
         "audiocaps", "clotho", "wavcaps", "fsd50k", "nsynth", "musiccaps", "musicbench", "lp_musiccaps",
         "fma"}  # fmt: skip


def test_all_the_corpora_are_there():
    assert set(shipped_sources()) == PAPER


@pytest.mark.parametrize("name", shipped_sources())
def test_a_source_says_what_it_is_and_what_was_verified(name):
    spec = load_source(name)
    assert spec.name == name
    assert spec.license and spec.homepage.startswith("https://") and spec.get
    assert re.search(
        r"[Nn]ot verified|[Nn]ot looked up|no archive|remembered|There is no official|was not checked", spec.checked
    )
    assert spec.language in whisper_languages()
    assert "train" in spec.read.splits
    assert needed_columns(spec)


@pytest.mark.parametrize("name", [name for name in shipped_sources() if load_source(name).captions])
def test_every_template_of_a_source_can_be_said(name):
    captions = load_source(name).captions
    values = {"pitch": "60", "velocity": "25", "qualities_str": ["dark", "reverb"]}
    columns = {field.column: values.get(field.column, "Guitar") for field in captions.fields.values()}
    names = {key: {"Guitar": "Guitar"} for key, field in captions.fields.items() if field.names}
    for template in captions.templates:
        alone = Captions.model_construct(fields=captions.fields, templates=[template])
        said = caption(alone, columns, "a clip", names)
        assert said[0].isupper() and said.endswith(".") and not re.search(r"[{}_]|  |\ba [aeiou]", said), said


def test_what_forbids_commercial_use_says_so_in_its_licence():
    for name in shipped_sources():
        spec = load_source(name)
        non_commercial = re.search(r"(?i)non-commercial|academic|-NC\b(?!,)", spec.license) is not None
        assert non_commercial or spec.commercial != "forbidden", name
        assert spec.commercial in {"forbidden", "by clip"} or not non_commercial, name
