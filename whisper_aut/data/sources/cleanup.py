"""Named clean-ups of texts, which a source's YAML lists in order; every text ends as NFC on one line.

Nothing else is taken from a text unless a clean-up is named for it: marks, joiners, flags and signs are its words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

_PUNCTUATION_TAGS = {"<COMMA>": ",", "<PERIOD>": ".", "<QUESTIONMARK>": "?", "<EXCLAMATIONPOINT>": "!"}
_GARBAGE_TAG = re.compile(r"<(?:SIL|MUSIC|NOISE|OTHER)>", re.IGNORECASE)
_ANY_TAG = re.compile(r"\s*(<(?:COMMA|PERIOD|QUESTIONMARK|EXCLAMATIONPOINT)>)", re.IGNORECASE)
_CLOCK = r"(?:\d{1,2}:)?\d{1,2}:\d{2}(?:[.,]\d{1,3})?"
_TIMESTAMPS = re.compile(
    rf"<\|\d{{1,3}}\.\d{{1,3}}\|>"  # Whisper's own
    rf"|[\[(<]\s*{_CLOCK}(?:\s*(?:-->|-|–)\s*{_CLOCK})?\s*[\])>]"  # [00:01:02.5], (0:12 - 0:15)
    rf"|(?<!\S){_CLOCK}\s*-->\s*{_CLOCK}(?!\S)"  # of subtitles
)
_LONE_I = re.compile(r"\bi(?=$|[\s,.!?;:]|'(?:m|ll|d|ve|s)\b)")
_SENTENCE_START = re.compile(r"(?:^|[.!?]\s+)[\"'(]*\w")
_STRAIGHT = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "‚": "'"})
_ITALIC = re.compile(r"(?<!\w)_([^_\n]+)_(?!\w)")
_DAMAGE = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")  # but for white space
# Soft hyphens, marks of direction, spaces and joiners without width. Not ZWJ and ZWNJ, which spell words in several
# scripts, nor tags (flags of regions), nor signs that Unicode counts among these, such as U+06DD.
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
_ENDS = (".", "!", "?", "…", '."', '!"', '?"', ".'", "!'", "?'", ".)")


class DroppedError(Exception):
    """A text that says nothing of its audio; the reason is the only argument."""


def gigaspeech(text: str) -> str:
    """Tags to marks: ``AS IT'S CALLED <COMMA>`` to ``AS IT'S CALLED,``.

    Raises:
        DroppedError: the row is noise, music or silence, marked by <SIL>, <MUSIC>, <NOISE> or <OTHER>.
    """
    if (garbage := _GARBAGE_TAG.search(text)) is not None:
        raise DroppedError(f"the text is the garbage tag {garbage[0]}")
    return _ANY_TAG.sub(lambda found: _PUNCTUATION_TAGS[found[1].upper()], text)


def sentence_case(text: str) -> str:
    """Texts all in capitals or all in small letters: small, with capitals at the beginning of sentences and for I.

    Mixed texts stay as they are: their capitals mean something.
    """
    if not (text.isupper() or text.islower()):
        return text
    small = _LONE_I.sub("I", text.lower())
    return _SENTENCE_START.sub(lambda found: found[0][:-1] + found[0][-1].upper(), small)


def final_period(text: str) -> str:
    """A full stop at the end where there is no mark; a comma or semicolon there becomes one."""
    text = text.rstrip()
    return text if not text or text.endswith(_ENDS) else text.rstrip(",;:-– ") + "."


def first_capital(text: str) -> str:
    """The first letter large."""
    text = text.lstrip()
    return text[:1].upper() + text[1:]


def timestamps(text: str) -> str:
    """Without times: ``<|1.20|>``, ``[00:01:02]``, ``00:01,000 --> 00:02,000``."""
    return _TIMESTAMPS.sub(" ", text)


def unquote(text: str) -> str:
    """Without quotation marks around the whole text, and with doubled ones inside made single."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1].replace('""', ""):
        text = text[1:-1]
    return text.replace('""', '"')


def book(text: str) -> str:
    """As a transcript is written: straight quotation marks, and no underscores around what a book has in italics."""
    return _ITALIC.sub(r"\1", text.translate(_STRAIGHT))


def invisible(text: str) -> str:
    """Without characters that neither show nor spell: soft hyphens, marks of direction, spaces of no width."""
    return _INVISIBLE.sub("", text)


CLEANUPS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "gigaspeech": gigaspeech,
        "sentence_case": sentence_case,
        "final_period": final_period,
        "first_capital": first_capital,
        "timestamps": timestamps,
        "unquote": unquote,
        "book": book,
        "invisible": invisible,
    }
)


def damage_of(text: str) -> str:
    """Say which control character ``text`` holds, or half of a surrogate pair; empty where it holds none.

    Such a text is damaged, or was read in another encoding than it was written in.
    """
    found = _DAMAGE.search(text)
    if found is None:
        return ""
    if found[0] >= "\ud800":
        return "the text is not UTF-8: it holds half of a surrogate pair"
    return f"the text holds the control character U+{ord(found[0]):04X}: is it of another encoding?"


def plain(text: str) -> str:
    """Unicode NFC, no control characters, no byte-order marks, single spaces."""
    composed = unicodedata.normalize("NFC", text)
    if not composed.isprintable():
        composed = _DAMAGE.sub("", composed).replace("\ufeff", "")
    return " ".join(composed.split())


def clean_text(text: str, names: Iterable[str]) -> str:
    """``text`` after the named clean-ups in order; it may be empty.

    Raises:
        DroppedError: a clean-up found that the row is none.
    """
    text = plain(text)
    for name in names:
        text = CLEANUPS[name](text)
    return plain(text)
