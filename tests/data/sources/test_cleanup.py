"""Clean-ups of texts, by example."""

from __future__ import annotations

import pytest

from whisper_aut.data.sources.cleanup import DroppedError, clean_text, damage_of


@pytest.mark.parametrize(
    ("names", "text", "cleaned"),
    [
        ([], "  two\n lines\t and\u00a0spaces ", "two lines and spaces"),
        ([], "Cafe\u0301 \ufeffx\x00y", "Café xy"),
        ([], "ख्\u200dख", "ख्\u200dख"),
        (["gigaspeech"], "WELL <COMMA> YES <PERIOD>", "WELL, YES."),
        (["gigaspeech", "sentence_case"], "I AM <PERIOD> ARE YOU <QUESTIONMARK>", "I am. Are you?"),
        (["sentence_case"], "AND I'LL SAY I'M HERE I THINK", "And I'll say I'm here I think"),
        (["sentence_case"], "this is what i said", "This is what I said"),
        (["sentence_case"], "The BBC said so", "The BBC said so"),
        (["sentence_case"], "12 34", "12 34"),
        (["final_period"], "A dog barks", "A dog barks."),
        (["final_period"], "A dog barks,", "A dog barks."),
        (["final_period"], "Does it?", "Does it?"),
        (["final_period"], "'Yes.'", "'Yes.'"),
        (["first_capital"], "a dog", "A dog"),
        (["timestamps"], "<|0.00|> Hello<|1.20|> [00:01:02.500] there (0:12 - 0:15)", "Hello there"),
        (["timestamps"], "00:00:01,000 --> 00:00:02,500 Hi", "Hi"),
        (["timestamps"], "at 10:30 we left", "at 10:30 we left"),
        (["unquote"], '"She said ""no"""', 'She said "no"'),
        (["unquote"], '"One" and "two"', '"One" and "two"'),
        (["book"], "“Don’t _you_ dare,” snake_case_name", "\"Don't you dare,\" snake_case_name"),
    ],
)  # fmt: skip
def test_a_text_becomes(names, text, cleaned):
    assert clean_text(text, names) == cleaned


@pytest.mark.parametrize("tag", ["<SIL>", "<MUSIC>", "<NOISE>", "<OTHER>", "<music>"])
def test_garbage_drops_the_row(tag):
    with pytest.raises(DroppedError, match=tag):
        clean_text(tag, ["gigaspeech"])


@pytest.mark.parametrize(
    "text",
    [
        "flag \U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f end",  # of Scotland
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f",
        "x\u06ddy \u0600\u070f",
        "می\u200cروم क्\u200dष สวัสดี किताब",
        "co\u00adop A\u200eB\u200fC \u202bעברית\u202c a\u2060b\u200bc",
        "\ufb01ne \u00bd \uff12 \ue000",
    ],
)
def test_nothing_is_taken_from_a_text_for_which_no_clean_up_is_named(text):
    assert clean_text(text, []) == text


def test_what_neither_shows_nor_spells_goes_where_that_is_named():
    text = "co\u00adop A\u200eB\u200fC \u202bעברית\u202c a\u2060b\u200bc\ufeff"
    assert clean_text(text, ["invisible"]) == "coop ABC עברית abc"
    kept = "می\u200cروم \U0001f468\u200d\U0001f469 x\u06ddy \U0001f3f4\U000e0067\U000e007f"
    assert clean_text(kept, ["invisible"]) == kept


@pytest.mark.parametrize(
    ("text", "code"), [("a\0b", "0000"), ("don\x92t", "0092"), ("\x1b[0m", "001B"), ("a\x7f", "007F")]
)
def test_damage_is_named(text, code):
    assert f"U+{code}" in damage_of(text)


def test_white_space_is_no_damage():
    assert not damage_of("a\tb\nc\x0bd\x0ce\x85f\x1cg\u2028h")
    assert "surrogate" in damage_of("\ud800")
