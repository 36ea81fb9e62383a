"""Greedy decoding against ``generate`` of transformers, token for token, on real speech with real weights."""

import json

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from whisper_aut.constants import HOP_LENGTH, MAX_TOKENS, context_frames
from whisper_aut.data.audio import read_waveform
from whisper_aut.data.captions import TextEncoder
from whisper_aut.data.features import LogMel
from whisper_aut.model.encode import encode
from whisper_aut.model.greedy import DecodingRules, decoding_rules, greedy


@pytest.fixture(scope="module")
def prompts(real_data_dir):
    """(samples, text) of a few spoken prompts, words and sounds, of very different lengths."""
    rows = [json.loads(line) for line in (real_data_dir / "train" / "speech.jsonl").open(encoding="utf-8")]
    spoken = [row for row in rows if row["source"] == "asterisk_prompts" and row["duration_sec"] < 20]
    chosen = [*spoken[::110], rows[0]]
    return [(read_waveform(real_data_dir / "train" / row["audio"]), row["text"]) for row in chosen]


def states_of(base, waveform, context):
    padded = torch.zeros(1, context_frames(len(waveform), context) * HOP_LENGTH)
    padded[0, : len(waveform)] = torch.from_numpy(waveform)
    with torch.no_grad():
        return encode(base.model.model.encoder, LogMel(base.model.config.num_mel_bins)(padded))


def start_of(base):
    return TextEncoder(base.tokenizer).prefix("speech")


def test_the_rules_are_those_that_ctranslate2_keeps(tiny_en):
    rules = decoding_rules(tiny_en.model)
    assert rules.end_id == 50256 and rules.suppressed_first == (220, 50256)
    assert len(rules.suppressed) > 80 and 50257 in rules.suppressed


def test_full_context_equals_transformers_token_for_token(tiny_en, prompts):
    rules, start = decoding_rules(tiny_en.model), start_of(tiny_en)
    tiny_en.model.generation_config.is_multilingual = False
    tiny_en.model.generation_config.no_timestamps_token_id = start[-1]
    states = torch.cat([states_of(tiny_en, waveform, "full") for waveform, _ in prompts])
    found = greedy(tiny_en.model, states, torch.tensor([start] * len(states)), rules)
    for one, tokens in zip(states, found, strict=True):
        expected = tiny_en.model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=one[None]),
            num_beams=1, do_sample=False, max_length=MAX_TOKENS,
        )[0].tolist()  # fmt: skip
        text = expected[len(start) :] if expected[: len(start)] == start else expected
        assert tokens == [token for token in text if token != rules.end_id]


def test_full_context_equals_transformers_from_its_own_features(tiny_en, prompts):
    """The whole way of a user of transformers: its feature extractor, its encoder, its decoding."""
    from transformers import WhisperFeatureExtractor

    rules, start = decoding_rules(tiny_en.model), start_of(tiny_en)
    tiny_en.model.generation_config.is_multilingual = False
    tiny_en.model.generation_config.no_timestamps_token_id = start[-1]
    extractor = WhisperFeatureExtractor(feature_size=80)
    for waveform, _ in prompts[:3]:
        mel = extractor(waveform, sampling_rate=16_000, return_tensors="pt").input_features
        expected = tiny_en.model.generate(mel, num_beams=1, do_sample=False, max_length=MAX_TOKENS)[0].tolist()
        found = greedy(tiny_en.model, states_of(tiny_en, waveform, "full"), torch.tensor([start]), rules)[0]
        text = expected[len(start) :] if expected[: len(start)] == start else expected
        assert found == [token for token in text if token != rules.end_id]


def test_trimmed_context_equals_decoding_without_kept_keys(tiny_en, prompts):
    """The unadapted tiny.en repeats itself for ever on some trimmed clips, so that a limit ends both."""
    rules, start = decoding_rules(tiny_en.model), start_of(tiny_en)
    for waveform, _ in prompts[:3]:
        states = states_of(tiny_en, waveform, "trimmed")
        found = greedy(tiny_en.model, states, torch.tensor([start]), rules, max_tokens=30)[0]
        again: list[int] = []
        while len(again) < 28:  # the whole text through the decoder for every token
            with torch.no_grad():
                hidden = tiny_en.model.model.decoder(
                    input_ids=torch.tensor([[*start, *again]]), encoder_hidden_states=states, use_cache=False
                ).last_hidden_state
                logits = tiny_en.model.proj_out(hidden[0, -1])
            logits[list(rules.suppressed)] = float("-inf")
            if not again:
                logits[list(rules.suppressed_first)] = float("-inf")
            token = int(logits.argmax())
            if token == rules.end_id:
                break
            again.append(token)
        assert found == again


def test_the_words_are_heard(tiny_en, prompts):
    rules, start = decoding_rules(tiny_en.model), start_of(tiny_en)
    waveform, text = max(prompts[:-1], key=lambda prompt: len(prompt[1]))
    found = greedy(tiny_en.model, states_of(tiny_en, waveform, "full"), torch.tensor([start]), rules)[0]
    heard, said = TextEncoder(tiny_en.tokenizer).decode(found).lower().split(), text.lower().split()
    assert len(set(heard) & set(said)) >= len(set(said)) // 2


def test_a_batch_says_what_its_clips_say_alone(tiny_en, prompts):
    rules, start = decoding_rules(tiny_en.model), start_of(tiny_en)
    states = torch.cat([states_of(tiny_en, waveform, "full") for waveform, _ in prompts[:4]])
    together = greedy(tiny_en.model, states, torch.tensor([start] * 4), rules)
    kept_in = greedy(tiny_en.model, states, torch.tensor([start] * 4), rules, all_done=lambda done: done)
    alone = [greedy(tiny_en.model, one[None], torch.tensor([start]), rules)[0] for one in states]
    assert together == alone and kept_in == alone


def test_what_is_suppressed_is_never_said_and_the_limit_holds(small_whisper):
    whisper = small_whisper()
    states = torch.randn(2, 25, 16, generator=torch.Generator().manual_seed(1))
    free = DecodingRules((), (), end_id=299)
    said = greedy(whisper, states, torch.tensor([[1, 2]] * 2), free, max_tokens=12)
    assert all(len(text) <= 10 for text in said)
    banned = tuple({token for text in said for token in text})
    other = greedy(whisper, states, torch.tensor([[1, 2]] * 2), DecodingRules(banned, (), 299), max_tokens=12)
    assert not {token for text in other for token in text} & set(banned)
    with pytest.raises(ValueError, match="tokens of prefix"):
        greedy(whisper, states, torch.tensor([[1] * 12] * 2), free, max_tokens=12)


def test_ranks_end_together(small_whisper):
    """A rank whose clips have ended goes on until the others have."""
    whisper = small_whisper()
    states = torch.randn(1, 25, 16, generator=torch.Generator().manual_seed(1))
    first = greedy(whisper, states, torch.tensor([[1, 2]]), DecodingRules((), (), 299), max_tokens=4)[0][0]
    calls = []

    def others_need_five(done: bool) -> bool:
        calls.append(done)
        return len(calls) == 5

    said = greedy(
        whisper, states, torch.tensor([[1, 2]]), DecodingRules((), (), end_id=first), all_done=others_need_five
    )
    assert said == [[]] and calls == [True] * 5
