"""Word errors against counts made by hand, through Whisper's normaliser."""

import pytest

from whisper_aut.model.word_errors import WordCounter, WordErrors, word_counter


@pytest.fixture(scope="module")
def counter():
    return WordCounter()


@pytest.mark.parametrize(
    ("reference", "heard", "expected"),
    [
        ("Press three to hear the message.", "press 3 to hear the message", WordErrors(6, 0, 0, 0)),
        ("I'm sorry, that's not valid.", "I am sorry that is not valid", WordErrors(7, 0, 0, 0)),
        ("the cat sat", "the dog sat", WordErrors(3, 1, 0, 0)),
        ("the cat sat", "the sat", WordErrors(3, 0, 1, 0)),
        ("the cat sat", "the cat sat sat sat", WordErrors(3, 0, 0, 2)),
        ("[beep]", "beep beep", WordErrors(0, 0, 0, 2)),
        ("[beep]", "", WordErrors(0, 0, 0, 0)),
        ("word", "", WordErrors(1, 0, 1, 0)),
    ],
)
def test_errors_are_counted_after_normalising(counter, reference, heard, expected):
    assert counter.count(reference, heard) == expected
    assert expected.num_errors == expected.substitutions + expected.deletions + expected.insertions


def test_languages_without_spaces_are_counted_by_character(counter):
    assert counter.count("你好吗", "你好", "zh") == WordErrors(3, 0, 1, 0)
    assert counter.count("Schöne Grüße!", "schöne grüße", "de") == WordErrors(2, 0, 0, 0)


def test_spelling_comes_with_the_base_and_is_said():
    class Tokenizer:
        english_spelling_normalizer = {"colour": "color"}  # noqa: RUF012

    with_spelling, without = word_counter(Tokenizer()), word_counter(object())
    assert with_spelling.count("the colour", "the color").num_errors == 0
    assert without.count("the colour", "the color").num_errors == 1
    assert "1 words" in with_spelling.description and "no normalizer.json" in without.description


def test_the_normaliser_is_that_of_transformers(counter):
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    for text in ("Twenty-one dollars, please.", "Dr. O'Neill won't.", "<noise> um, yes"):
        assert counter.normalised(text) == EnglishTextNormalizer({})(text).strip()
