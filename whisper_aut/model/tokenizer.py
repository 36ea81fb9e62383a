"""Whisper's tokenizer from wherever a form keeps it, and what generation must know of its tokens."""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisper_aut.errors import BaseModelError

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

TOKENIZER_JSON = "tokenizer.json"
# Of these, a multilingual Whisper has the first two as tasks; what else lies between is a language.
_TASKS = ("transcribe", "translate")
_LAST_ENGLISH_VOCABULARY = 51_864  # sizes above are multilingual, as openai-whisper tells them apart


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the tokens that configurations name."""

    end: int
    start: int


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in ``tokenizer.json``.

    Raises:
        BaseModelError: it is missing or damaged.
    """
    from tokenizers import Tokenizer
    from transformers import WhisperTokenizer

    path = folder / TOKENIZER_JSON
    if not path.is_file():
        raise BaseModelError("the folder has no tokenizer.json", where=str(folder), remedy="convert with the tokenizer")
    try:
        return WhisperTokenizer(tokenizer_object=Tokenizer.from_file(str(path)))
    except Exception as error:  # the Rust tokenizer raises bare Exception for a file it cannot parse
        raise BaseModelError(f"the tokenizer cannot be read: {error}", where=str(path)) from None


def openai_tokenizer(model_file: Path, vocab_size: int) -> PreTrainedTokenizerBase:
    """The tokenizer of an openai-whisper file, which has none in it: ``tokenizer.json`` beside it, else the vocabulary
    that the installed package openai-whisper brings.

    Raises:
        BaseModelError: neither is there, or it has another number of tokens than the model.
    """
    if (model_file.parent / TOKENIZER_JSON).is_file():
        return read_tokenizer(model_file.parent)
    package = importlib.util.find_spec("whisper")
    folders = list(package.submodule_search_locations or []) if package else []
    name = "gpt2" if vocab_size <= _LAST_ENGLISH_VOCABULARY else "multilingual"
    path = next((p for f in folders if (p := Path(f) / "assets" / f"{name}.tiktoken").is_file()), None)
    if path is None:
        raise BaseModelError(
            "an openai-whisper file has no tokenizer in it, and none was found",
            where=str(model_file),
            remedy="put Whisper's tokenizer.json beside the file, or pip install openai-whisper, which has it",
        )
    tokenizer = _of_tiktoken(path, vocab_size)
    if len(tokenizer) != vocab_size:
        raise BaseModelError(
            f"openai-whisper's vocabulary '{name}' gives {len(tokenizer)} tokens, the model has {vocab_size}",
            where=str(model_file),
            remedy="put the model's own tokenizer.json beside the file",
        )
    return tokenizer


def _of_tiktoken(path: Path, vocab_size: int) -> PreTrainedTokenizerBase:
    """Byte-level BPE from tiktoken's ranks: a token's merge is the pair that earlier ranks leave of its bytes."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import WhisperTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    lines = (line.split() for line in path.read_bytes().splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    letters = bytes_to_unicode()

    def text(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    pairs = (_last_pair(token, ranks) for token in sorted(ranks, key=lambda token: ranks[token]) if len(token) > 1)
    merges = [(text(left), text(right)) for left, right in pairs]
    tokenizer = Tokenizer(BPE({text(token): rank for token, rank in ranks.items()}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    num_stamps, num_others = 1501, 8
    num_languages = vocab_size - len(ranks) - num_stamps - num_others
    named = [
        "endoftext", "startoftranscript", *list(LANGUAGES)[:num_languages], "translate", "transcribe", "startoflm",
        "startofprev", "nospeech", "notimestamps",
    ]  # fmt: skip
    # In Hugging Face's tokenizers, time stamps are tokens but not special ones: they are text that can be kept.
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", normalized=False, special=True) for name in named])
    stamps = [f"<|{number * 0.02:.2f}|>" for number in range(num_stamps)]
    tokenizer.add_tokens([AddedToken(stamp, normalized=False, special=False) for stamp in stamps])
    return WhisperTokenizer(tokenizer_object=tokenizer)


def _last_pair(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(parts[i] + parts[i + 1], len(ranks)) for i in range(len(parts) - 1)]
        first = min(range(len(pairs)), key=lambda i: pairs[i])
        parts[first : first + 2] = [parts[first] + parts[first + 1]]
    return parts[0], parts[1]


def special_tokens(tokenizer: PreTrainedTokenizerBase, where: str) -> SpecialTokens:
    """Ids of the tokens that begin and end a transcript.

    Raises:
        BaseModelError: the tokenizer has none; it is not Whisper's.
    """
    added = tokenizer.get_added_vocab()
    try:
        return SpecialTokens(end=added["<|endoftext|>"], start=added["<|startoftranscript|>"])
    except KeyError as missing:
        raise BaseModelError(f"the model has no {missing}", where=where, remedy="give a whole Whisper") from None


def generation_settings(
    tokenizer: PreTrainedTokenizerBase,
    *,
    where: str,
    suppressed: Sequence[int] = (),
    suppressed_first: Sequence[int] = (),
    alignment_heads: Sequence[Sequence[int]] | None = None,
) -> GenerationConfig:
    """What ``generate`` of Hugging Face's Whisper asks for, from the tokenizer's own tokens.

    Args:
        tokenizer: Whisper's.
        where: named in an error.
        suppressed: ids that are never generated.
        suppressed_first: ids that no transcript begins with.
        alignment_heads: (layer, head) pairs for word time stamps; without them none can be asked for.
    """
    from transformers import GenerationConfig
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    found = special_tokens(tokenizer, where)
    added = tokenizer.get_added_vocab()
    is_multilingual = len(tokenizer) > _LAST_ENGLISH_VOCABULARY
    settings: dict[str, Any] = {
        "bos_token_id": found.end,
        "eos_token_id": found.end,
        "pad_token_id": found.end,
        "decoder_start_token_id": found.start,
        "is_multilingual": is_multilingual,
        "max_length": 448,
        "max_initial_timestamp_index": 50,
        "no_timestamps_token_id": added.get("<|notimestamps|>"),
        "prev_sot_token_id": added.get("<|startofprev|>"),
        "return_timestamps": False,
    }
    if suppressed:
        settings["suppress_tokens"] = list(suppressed)
    if suppressed_first:
        settings["begin_suppress_tokens"] = list(suppressed_first)
    if alignment_heads:
        settings["alignment_heads"] = [list(pair) for pair in alignment_heads]
    if is_multilingual:
        settings["lang_to_id"] = {f"<|{code}|>": added[f"<|{code}|>"] for code in LANGUAGES if f"<|{code}|>" in added}
        settings["task_to_id"] = {task: added[f"<|{task}|>"] for task in _TASKS}
    return GenerationConfig(**settings)
