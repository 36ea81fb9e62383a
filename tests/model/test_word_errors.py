"""Word errors against counts made by hand, through Whisper's normaliser."""

import pytest
import regex

from whisper_aut.model.word_errors import WITHOUT_SPACES, WordCounter, WordErrors, word_counter


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


@pytest.mark.parametrize(
    ("language", "text", "num_words", "without_marks"),
    [
        ("hi", "किताब पढ़ना।", 2, "कतब पढ़ना"),
        ("bn", "বাংলা ভাষা", 2, "বল ভষ"),
        ("ta", "தமிழ் மொழி", 2, "தமழ மொழி"),
        ("ar", "كِتَابٌ جَدِيد", 2, "كتاب جديد"),
        ("he", "כִּתָב", 1, "כתב"),
        ("yo", "ẹ̀kọ́", 1, "ẹkọ"),
        ("tr", "İstanbul'da", 2, "Izmir'da"),
    ],
)
def test_marks_are_letters_of_their_words(counter, language, text, num_words, without_marks):
    assert counter.normaliser_of(language) == "marks"
    assert counter.count(text, text, language) == WordErrors(num_words, 0, 0, 0)
    assert counter.count(text, without_marks, language).num_errors > 0


@pytest.mark.parametrize(
    ("language", "text", "heard", "expected"),
    [
        ("th", "สวัสดี ครับ", "สวสด ครับ", WordErrors(10, 0, 2, 0)),
        ("km", "ខ្មែរ", "ខមែរ", WordErrors(5, 0, 1, 0)),
        ("my", "မြန်မာ", "မြန်မာ", WordErrors(6, 0, 0, 0)),
        ("lo", "ລາວ", "ລວ", WordErrors(3, 0, 1, 0)),
        ("ja", "がく か", "かくか", WordErrors(3, 1, 0, 0)),
        ("yue", "你好嗎?", "你好", WordErrors(3, 0, 1, 0)),
    ],
)
def test_scripts_without_spaces_are_counted_by_characters_marks_among_them(counter, language, text, heard, expected):
    assert counter.normaliser_of(language) == "characters"
    assert counter.count(text, heard, language) == expected
    # What Unicode says of these scripts: words end where a dictionary says, or anywhere between ideographs.
    letters = regex.findall(r"\p{L}", text)
    assert all(regex.match(r"[\p{Line_Break=SA}\p{Han}\p{Hiragana}\p{Katakana}]", letter) for letter in letters)


def test_every_language_without_spaces_is_one_of_whisper():
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    assert LANGUAGES.keys() >= WITHOUT_SPACES


@pytest.mark.parametrize("language", ["de", "fr", "ru", "el", "vi", "ko"])
def test_texts_without_loose_marks_come_out_as_whispers(counter, language):
    whispers = WordCounter(normaliser="whisper")
    for text in (
        "Schöne Grüße, l'été (ah)!",
        "Где [шум] же Ёлка?",
        "Καλημέρα",
        "Tiếng Việt",
        "한국어 텍스트",
        "e\u0301te",
    ):
        assert counter.normalised(text, language) == whispers.normalised(text, language)


def test_whispers_own_can_be_forced_and_is_what_transformers_does():
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer

    forced = WordCounter(normaliser="whisper")
    assert forced.count("किताब", "किताब", "hi").num_words == 3
    assert forced.count("สวัสดี", "สวสด", "th").num_errors == 0
    assert forced.normalised("किताब [x] (y)!", "hi") == BasicTextNormalizer()("किताब [x] (y)!").strip()
    assert forced.normalised("I'm", "en") == WordCounter().normalised("I'm", "en")


def test_what_shows_nothing_is_no_word(counter):
    assert counter.normalised("❤️ co\u00adop می\u200cروم \u0301 1️⃣", "de") == "coop میروم 1"


def test_which_normaliser_was_used_is_said_by_language(counter):
    said = counter.describe(["th", "en", "hi", "de", "th"])
    assert "de, hi: Whisper's basic normaliser with combining marks kept" in said
    assert "en: Whisper's English" in said and "th: " in said and "characters counted" in said
    assert "characters" in WordCounter(normaliser="characters").describe(["de"])
