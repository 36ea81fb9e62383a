"""Clean-ups of texts, by example."""

from __future__ import annotations

import pytest

from whisper_aut.data.sources.cleanup import DroppedError, clean_text


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
