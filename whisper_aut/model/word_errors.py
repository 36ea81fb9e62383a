"""Word errors between what was said and what a decoder wrote, after Whisper's text normaliser, or one that keeps marks.

Whisper's normaliser for other languages than English puts a space where a combining mark stands: three "words" of Hindi
"किताब", and Thai "สวัสดี" equals "สวสด". Here a mark (Unicode category M) that NFKC does not compose with its letter is
part of the word. Texts without such marks, as most in Latin, Greek and Cyrillic are, come out as Whisper's do.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jiwer

Normaliser = Literal["auto", "english", "marks", "characters", "whisper"]
NORMALISERS: tuple[Normaliser, ...] = get_args(Normaliser)

# Languages whose scripts put no space between words: their letters are ideographs or kana, or of line-breaking class SA
# (Unicode annex 14). Errors are counted in characters there, as OpenAI counts (Radford et al. 2022, appendix C); Khmer
# is not in their list, and is written so.
WITHOUT_SPACES = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km"})
_WHISPER_SPLITS = WITHOUT_SPACES - {"km"}
_NAMES = {
    "english": "Whisper's English normaliser",
    "marks": "Whisper's basic normaliser with combining marks kept, words",
    "characters": "Whisper's basic normaliser with combining marks kept, characters counted in place of words",
    "whisper": "Whisper's own normalisers, in which combining marks become spaces",
}


@dataclass(frozen=True)
class WordErrors:
    """How a text differs from its reference, by the shortest way from one to the other.

    Attributes:
        num_words: of the reference.
        substitutions, deletions, insertions: words of each kind of error.
    """

    num_words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def num_errors(self) -> int:
        """All errors; may be more than the words of the reference."""
        return self.substitutions + self.deletions + self.insertions


class WordCounter:
    """Counts word errors, by language in the way that suits it; characters where a script has no spaces.

    Args:
        spelling: British to American words, as in the ``normalizer.json`` of OpenAI's models on the hub. Without it
            the two spellings of a word count as different words; nothing else changes.
        normaliser: ``auto`` takes ``english`` for English, ``characters`` for languages without spaces, ``marks`` for
            all others; any of these, or ``whisper`` (as OpenAI counts, marks lost), is taken for every language.
    """

    def __init__(self, spelling: Mapping[str, str] | None = None, normaliser: Normaliser = "auto") -> None:
        from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

        self._chosen = normaliser
        self._english: Any = EnglishTextNormalizer(dict(spelling or {}))
        self._basic: Any = BasicTextNormalizer()
        self._split: Any = BasicTextNormalizer(split_letters=True)
        self._marks: Any = BasicTextNormalizer()
        self._marks.clean = _without_symbols
        self.description = "Whisper's normaliser, " + (
            f"spelling of {len(spelling)} words, SHA-256 {_digest(spelling)[:16]}"
            if spelling
            else "British and American spelling apart (the base has no normalizer.json)"
        )

    def normaliser_of(self, language: str) -> Normaliser:
        """Return the name of the normaliser for texts of a language (Whisper's code)."""
        if self._chosen != "auto":
            return self._chosen
        if language == "en":
            return "english"
        return "characters" if language in WITHOUT_SPACES else "marks"

    def describe(self, languages: Iterable[str]) -> str:
        """Return in words which normaliser texts of these languages go through."""
        by_name: dict[str, list[str]] = {}
        for language in sorted(set(languages)):
            by_name.setdefault(self.normaliser_of(language), []).append(language)
        used = "; ".join(f"{', '.join(found)}: {_NAMES[name]}" for name, found in by_name.items())
        return f"{self.description}; {used}" if used else self.description

    def normalised(self, text: str, language: str = "en") -> str:
        """The text as it is compared: what spaces separate counts as one word."""
        kind = self.normaliser_of(language)
        if kind == "whisper":
            kind = "english" if language == "en" else kind
        if kind == "english":
            return str(self._english(text)).strip()
        if kind == "whisper":
            return str((self._split if language in _WHISPER_SPLITS else self._basic)(text)).strip()
        found = str(self._marks(text)).strip()
        return " ".join(found.replace(" ", "")) if kind == "characters" else found

    def count(self, reference: str, heard: str, language: str = "en") -> WordErrors:
        """Errors of ``heard`` against ``reference``, both normalised first.

        A reference of which the normaliser leaves nothing (such as a remark in brackets) has no words; what is heard
        there counts as insertions.
        """
        found = jiwer.process_words(self.normalised(reference, language), self.normalised(heard, language))
        return WordErrors(
            num_words=found.hits + found.substitutions + found.deletions,
            substitutions=found.substitutions,
            deletions=found.deletions,
            insertions=found.insertions,
        )


def word_counter(tokenizer: Any, normaliser: Normaliser = "auto") -> WordCounter:
    """The counter with the spelling that came with a base's tokenizer, where one came."""
    return WordCounter(getattr(tokenizer, "english_spelling_normalizer", None), normaliser)


def _without_symbols(text: str) -> str:
    """Spaces for punctuation and symbols, as Whisper's; marks stay with the letter before them.

    Dropped are characters that show nothing by themselves (joiners, marks of direction, selectors of emoji), marks
    behind no letter or around it, and the dot that a small ``İ`` leaves behind.
    """
    kept: list[str] = []
    for char in unicodedata.normalize("NFKC", text).replace("i\u0307", "i"):
        category = unicodedata.category(char)
        if category[0] in "SP":
            kept.append(" ")
        elif category in ("Mn", "Mc"):
            if kept and not kept[-1].isspace() and not "\ufe00" <= char <= "\ufe0f":
                kept.append(char)
        elif category not in ("Cf", "Me"):
            kept.append(char)
    return "".join(kept)


def _digest(spelling: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(spelling), sort_keys=True, ensure_ascii=False).encode()).hexdigest()
