"""Captions from labels: varied, the same each time, never with a value that is not there."""

from __future__ import annotations

import pytest

from whisper_aut.data.sources.spec import Captions
from whisper_aut.data.sources.templates import NoCaptionError, caption


def _captions(templates, **fields) -> Captions:
    return Captions.model_validate({"fields": fields, "templates": templates})


THREE = ["{sounds}.", "The sound of {sounds}.", "One hears {sounds}."]


def test_wording_varies_over_clips_and_not_over_builds():
    captions = _captions(THREE, sounds={"column": "labels", "split": ","})
    said = [caption(captions, {"labels": "Rain,Wind"}, f"clip{index}", {}) for index in range(60)]
    assert set(said) == {"Rain and wind.", "The sound of rain and wind.", "One hears rain and wind."}
    assert said == [caption(captions, {"labels": "Rain,Wind"}, f"clip{index}", {}) for index in range(60)]
    assert said[1:4] == ["Rain and wind.", "The sound of rain and wind.", "One hears rain and wind."]


def test_a_template_is_used_only_where_all_its_fields_have_a_value():
    captions = _captions(["{a}, {b}.", "{a} with {b}.", "Just {a}."], a={"column": "a"}, b={"column": "b"})
    said = {caption(captions, {"a": "Drum", "b": ""}, f"clip{index}", {}) for index in range(20)}
    assert said == {"Just drum."}


def test_ids_are_named_and_unknown_ones_are_refused():
    captions = _captions(THREE, sounds={"column": "l", "split": ",", "alternatives": ", "})
    names = {"sounds": {"/m/1": "Bark, woof"}}
    said = {caption(captions, {"l": "/m/1"}, f"clip{index}", names).split()[-1].lower() for index in range(20)}
    assert said == {"bark.", "woof."}
    with pytest.raises(NoCaptionError, match="'/m/2' is in no table"):
        caption(captions, {"l": "/m/1,/m/2"}, "clip", names)


def test_no_value_at_all_is_no_caption():
    with pytest.raises(NoCaptionError, match="nothing to say"):
        caption(_captions(THREE, sounds={"column": "l", "skip": ["Music"]}), {"l": "Music"}, "clip", {})


def test_articles_fit_and_values_cannot_bring_fields_of_their_own():
    captions = _captions(["{a source} {what}."] * 3, source={"column": "s"}, what={"column": "w", "lower": False})
    assert caption(captions, {"s": "acoustic", "w": "{source}"}, "clip", {}) == "An acoustic {source}."


def test_pitches_are_named_as_notes():
    captions = _captions(["{p}."] * 3, p={"column": "p", "note": True})
    assert [caption(captions, {"p": pitch}, "c", {}) for pitch in (60, 61, 21, 108)] == [
        "C 4.", "C sharp 4.", "A 0.", "C 8.",
    ]  # fmt: skip
    with pytest.raises(NoCaptionError, match="MIDI"):
        caption(captions, {"p": 128}, "c", {})
