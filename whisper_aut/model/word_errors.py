"""Word errors between what was said and what a decoder wrote, after Whisper's own text normaliser."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jiwer

# Scripts that write no spaces: OpenAI counts their characters as words (Radford et al. 2022, appendix C).
_WITHOUT_SPACES = frozenset({"zh", "yue", "ja", "th", "lo", "my"})


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
    """Counts word errors as Whisper's authors do: English through their English normaliser, others through the basic.

    Args:
        spelling: British to American words, as in the ``normalizer.json`` of OpenAI's models on the hub. Without it
            the two spellings of a word count as different words; nothing else changes.
    """

    def __init__(self, spelling: Mapping[str, str] | None = None) -> None:
        from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

        self._english: Any = EnglishTextNormalizer(dict(spelling or {}))
        self._basic: Any = BasicTextNormalizer()
        self._split: Any = BasicTextNormalizer(split_letters=True)
        self.description = "Whisper's normaliser, " + (
            f"spelling of {len(spelling)} words, SHA-256 {_digest(spelling)[:16]}"
            if spelling
            else "British and American spelling apart (the base has no normalizer.json)"
        )

    def normalised(self, text: str, language: str = "en") -> str:
        """The text as it is compared."""
        if language == "en":
            normaliser = self._english
        else:
            normaliser = self._split if language in _WITHOUT_SPACES else self._basic
        return str(normaliser(text)).strip()

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


def word_counter(tokenizer: Any) -> WordCounter:
    """The counter with the spelling that came with a base's tokenizer, where one came."""
    return WordCounter(getattr(tokenizer, "english_spelling_normalizer", None))


def _digest(spelling: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(spelling), sort_keys=True, ensure_ascii=False).encode()).hexdigest()
