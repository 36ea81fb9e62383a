"""A clip's text as the decoder's input and target tokens: start tokens, masked prompt, text, end token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from whisper_aut.config import DomainConfig
from whisper_aut.constants import IGNORE_LABEL, MAX_TOKENS, Domain
from whisper_aut.errors import BaseModelError, ManifestError

DEFAULT_PROMPTS: Mapping[Domain, str | None] = MappingProxyType(
    {"speech": None, "environment": " Sound:", "music": " Music:"}
)

# The released vocabularies differ by one text token, so the id of <|endoftext|> tells them apart; both carry the
# language tokens, but only the multilingual models were trained with them.
_ENGLISH_ONLY_END_ID = 50256


def prompts_of(mixture: Mapping[Domain, DomainConfig]) -> dict[Domain, str | None]:
    """Each domain's prompt as a recipe has it; an empty one is none."""
    asked = {domain: config.prompt for domain, config in mixture.items()}
    return dict(DEFAULT_PROMPTS) | {domain: prompt or None for domain, prompt in asked.items() if prompt is not None}


@dataclass(frozen=True, slots=True)
class TokenisedText:
    """One clip's token ids; both lists have the same length L, at most ``MAX_TOKENS`` - 1.

    ``labels[i]`` is the token after ``decoder_input_ids[i]``, or ``IGNORE_LABEL`` up to the end of the prompt.
    """

    decoder_input_ids: list[int]
    labels: list[int]


class TextEncoder:
    """Turns texts into decoder tokens in Whisper's own order.

    Args:
        tokenizer: a fast Whisper tokenizer of transformers (``WhisperTokenizer``, ``PreTrainedTokenizerFast``).
        prompts: masked text before the target by domain; None or a missing domain means none.

    Raises:
        BaseModelError: the tokenizer lacks Whisper's special tokens.
    """

    def __init__(self, tokenizer: Any, prompts: Mapping[Domain, str | None] = DEFAULT_PROMPTS) -> None:
        self._tokenizer = tokenizer
        self.end_id = self._special("<|endoftext|>")
        self.multilingual = self.end_id != _ENGLISH_ONLY_END_ID
        self._start_id = self._special("<|startoftranscript|>")
        self._transcribe_id = self._special("<|transcribe|>") if self.multilingual else None
        self._no_timestamps_id = self._special("<|notimestamps|>")
        self._prompts = {domain: self._text_ids(prompt) for domain, prompt in prompts.items() if prompt}

    def encode(self, text: str, domain: Domain, language: str = "en") -> TokenisedText:
        """Tokens of ``text``, with everything up to and including the prompt masked in the labels.

        Special tokens spelled out inside ``text`` stay text.

        Raises:
            ManifestError: more than ``MAX_TOKENS`` tokens, prompt and end counted, or a language unknown to Whisper.
        """
        prefix, target = self.prefix(domain, language), self._target(text)
        sequence = prefix + target
        if len(sequence) > MAX_TOKENS:
            raise too_long_text(len(sequence))
        return TokenisedText(sequence[:-1], [IGNORE_LABEL] * (len(prefix) - 1) + target)

    def num_tokens(self, text: str, domain: Domain, language: str = "en") -> int:
        """Decoder tokens of the whole sequence: start tokens, prompt, text and end token."""
        return len(self.prefix(domain, language)) + len(self._target(text))

    def max_sure_bytes(self, domain: Domain) -> int:
        """Bytes in UTF-8 up to which a text fits the decoder whatever it says.

        A byte-level tokenizer never makes more tokens than there are bytes, so most texts need no tokenising.
        """
        num_start_tokens = 4 if self.multilingual else 2
        leading_space = end = 1
        return MAX_TOKENS - num_start_tokens - len(self._prompts.get(domain, ())) - leading_space - end

    def language_id(self, language: str) -> int | None:
        """Id of the language's start token; None for an English-only tokenizer, which has no use for one.

        Raises:
            ManifestError: Whisper does not know the language.
        """
        if not self.multilingual:
            return None
        token_id = self._find(f"<|{language}|>")
        # Languages lie between <|startoftranscript|> and <|translate|>, the first of the tasks.
        if token_id is None or not self._start_id < token_id < self._special("<|translate|>"):
            raise ManifestError(
                f"Whisper knows no language '{language}'",
                remedy="write Whisper's code for the language, such as en, de or yue",
            )
        return token_id

    def prefix(self, domain: Domain, language: str = "en") -> list[int]:
        """Ids of the start tokens and the prompt: what the decoder is given before it says anything.

        Raises:
            ManifestError: Whisper does not know the language.
        """
        middle: list[int] = []
        if self._transcribe_id is not None and (language_id := self.language_id(language)) is not None:
            middle = [language_id, self._transcribe_id]
        return [self._start_id, *middle, self._no_timestamps_id, *self._prompts.get(domain, ())]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens that a decoder said; special tokens are passed over."""
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text.strip()

    def _target(self, text: str) -> list[int]:
        return [*self._text_ids(" " + text.strip()), self.end_id]

    def _text_ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    def _find(self, token: str) -> int | None:
        token_id = self._tokenizer.convert_tokens_to_ids(token)
        # A tokenizer with an unknown token answers with that for what it does not know.
        known = token_id is not None and self._tokenizer.convert_ids_to_tokens(token_id) == token
        return int(token_id) if known else None

    def _special(self, token: str) -> int:
        token_id = self._find(token)
        if token_id is None:
            raise BaseModelError(f"the tokenizer has no token {token}", remedy="give the tokenizer of a Whisper model")
        return token_id


def too_long_text(num_tokens: int, *, clip_id: str = "", where: str | None = None) -> ManifestError:
    """The error for a text of ``num_tokens`` decoder tokens, which is over ``MAX_TOKENS``."""
    clip = f" of clip {clip_id}" if clip_id else ""
    return ManifestError(
        f"text{clip}: {num_tokens} tokens with prompt and end; the decoder has {MAX_TOKENS} positions",
        where=where,
        remedy="shorten the text, split the clip, or set data.long_text=drop",
    )


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer in ``folder``, which needs no more than a ``tokenizer.json``.

    Raises:
        BaseModelError: there is none, or it cannot be read.
    """
    from transformers import PreTrainedTokenizerFast

    file = folder / "tokenizer.json"
    if not file.is_file():
        raise BaseModelError(f"there is no tokenizer.json in {folder}", remedy="give the folder of a Whisper model")
    try:
        return PreTrainedTokenizerFast(tokenizer_file=str(file))
    except Exception as error:  # the Rust tokenizer raises bare Exception for a file it cannot parse
        raise BaseModelError(f"the tokenizer cannot be read: {error}", where=str(file)) from None
