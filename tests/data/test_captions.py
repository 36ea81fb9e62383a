"""Token sequences against transformers' own template, masks, limits and special tokens in texts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_aut.constants import IGNORE_LABEL, MAX_TOKENS
from whisper_aut.data.captions import TextEncoder, load_tokenizer
from whisper_aut.errors import BaseModelError, ManifestError


def test_english_speech_equals_the_tokenizers_own_template(english, text_encoder):
    expected = english(" Hello there, world.")["input_ids"]
    encoded = text_encoder.encode("  Hello there, world. ", "speech")
    assert encoded.decoder_input_ids == expected[:-1]
    assert encoded.labels == [IGNORE_LABEL, *expected[2:]]


def test_prompt_comes_before_the_text_and_is_masked(english, text_encoder):
    encoded = text_encoder.encode("A dog barks.", "environment")
    prompt, text = (english(part, add_special_tokens=False)["input_ids"] for part in (" Sound:", " A dog barks."))
    assert encoded.decoder_input_ids[2:] == prompt + text
    assert encoded.labels == [IGNORE_LABEL] * (1 + len(prompt)) + [*text, text_encoder.end_id]
    assert len(encoded.labels) == len(encoded.decoder_input_ids)


def test_multilingual_start_tokens_name_language_and_task(multilingual):
    encoded = TextEncoder(multilingual, {}).encode("ja", "speech", "de")
    tokens = multilingual.convert_ids_to_tokens(encoded.decoder_input_ids)
    assert tokens == ["<|startoftranscript|>", "<|de|>", "<|transcribe|>", "<|notimestamps|>", "Ġ", "j", "a"]
    assert encoded.labels[:3] == [IGNORE_LABEL] * 3
    assert multilingual.convert_ids_to_tokens(encoded.labels[3:]) == ["Ġ", "j", "a", "<|endoftext|>"]


@pytest.mark.parametrize("language", ["klingon", "", "translate", "endoftext", "en|><|de"])
def test_unknown_language_is_refused(multilingual, language):
    with pytest.raises(ManifestError, match="knows no language"):
        TextEncoder(multilingual).encode("x", "speech", language)


@pytest.mark.parametrize("name", ["english", "multilingual"])
def test_special_tokens_spelled_out_in_a_text_stay_text(name, request):
    encoder = TextEncoder(request.getfixturevalue(name), {})
    encoded = encoder.encode("stop <|endoftext|><|startoftranscript|> go", "speech", "en")
    assert encoded.labels.count(encoder.end_id) == 1 and encoded.labels[-1] == encoder.end_id
    assert encoder.end_id not in encoded.decoder_input_ids
    assert encoded.decoder_input_ids.count(encoded.decoder_input_ids[0]) == 1


def test_448_tokens_fit_and_449_do_not(multilingual):
    encoder = TextEncoder(multilingual, {})  # one token a byte: 4 start tokens, space, text, end
    longest = "x" * (MAX_TOKENS - 6)
    assert encoder.num_tokens(longest, "speech") == MAX_TOKENS
    assert len(encoder.encode(longest, "speech").decoder_input_ids) == MAX_TOKENS - 1
    with pytest.raises(ManifestError, match="449 tokens"):
        encoder.encode(longest + "x", "speech")


def test_the_prompt_counts_towards_the_limit(multilingual):
    encoder = TextEncoder(multilingual, {"music": " Music:"})
    text = "x" * (MAX_TOKENS - 6)
    assert encoder.num_tokens(text, "music") == MAX_TOKENS + len(" Music:")
    assert encoder.max_sure_bytes("speech") - encoder.max_sure_bytes("music") == len(" Music:")


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=120))
def test_a_text_never_has_more_tokens_than_its_bytes_allow(text_encoder, text):
    num_spare = MAX_TOKENS - text_encoder.num_tokens(text, "environment")
    assert num_spare >= text_encoder.max_sure_bytes("environment") - len(text.encode())


def test_a_text_of_the_sure_length_just_fits(multilingual):
    encoder = TextEncoder(multilingual)
    for domain in ("speech", "environment", "music"):
        assert encoder.num_tokens("x" * encoder.max_sure_bytes(domain), domain) == MAX_TOKENS


def test_a_tokenizer_that_is_not_whispers_is_refused(tmp_path):
    with pytest.raises(BaseModelError, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BaseModelError, match="cannot be read"):
        load_tokenizer(tmp_path)
