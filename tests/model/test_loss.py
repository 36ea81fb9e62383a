"""The summed loss against transformers' own, in value and gradient."""

import copy

import pytest
import torch

from whisper_aut.constants import IGNORE_LABEL, WINDOW_FRAMES
from whisper_aut.model import loss as loss_module
from whisper_aut.model.loss import WhisperSummedLoss


@pytest.fixture
def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    """Decoder inputs and labels [3, 7]; a masked prompt in each row, padding in two."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randint(2, 300, (3, 7), generator=generator)
    labels = torch.randint(2, 300, (3, 7), generator=generator)
    labels[:, :2] = IGNORE_LABEL
    labels[1, 5:] = IGNORE_LABEL
    labels[2, 3:] = IGNORE_LABEL
    return inputs, labels


def features(num_frames: int, num_clips: int = 3) -> torch.Tensor:
    return torch.randn(num_clips, 80, num_frames, generator=torch.Generator().manual_seed(2))


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def test_is_transformers_mean_times_the_counted_tokens_in_value_and_gradient(small_whisper, tokens):
    inputs, labels = tokens
    mel = features(WINDOW_FRAMES)
    reference, ours = small_whisper(), small_whisper()
    mean = reference(input_features=mel, decoder_input_ids=inputs, labels=labels).loss
    count = int((labels != IGNORE_LABEL).sum())
    (mean * count).backward()
    total = WhisperSummedLoss(ours)(mel, inputs, labels)
    total.backward()

    assert count == 9
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, mean * count, rtol=1e-5, atol=1e-5)
    expected, found = gradients(reference), gradients(ours)
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_the_sum_over_a_batch_is_the_sum_over_its_clips(small_whisper, tokens):
    inputs, labels = tokens
    mel = features(100)
    module = WhisperSummedLoss(small_whisper())
    with torch.no_grad():
        whole = module(mel, inputs, labels)
        parts = [module(mel[i : i + 1], inputs[i : i + 1], labels[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(whole, torch.stack(parts).sum(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tokens_per_chunk", [1, 2, 4, 8])
def test_chunks_change_neither_value_nor_gradient(small_whisper, tokens, monkeypatch, tokens_per_chunk):
    inputs, labels = tokens
    whole, chunked = WhisperSummedLoss(small_whisper()), WhisperSummedLoss(small_whisper())
    expected = whole(features(100), inputs, labels)
    expected.backward()
    monkeypatch.setattr(loss_module, "TOKENS_PER_CHUNK", tokens_per_chunk)
    found = chunked(features(100), inputs, labels)
    found.backward()

    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)
    for name, gradient in gradients(whole).items():
        torch.testing.assert_close(gradients(chunked)[name], gradient, rtol=1e-4, atol=1e-5)


def test_chunks_keep_only_one_chunk_of_logits(small_whisper, monkeypatch):
    monkeypatch.setattr(loss_module, "TOKENS_PER_CHUNK", 16)
    module = WhisperSummedLoss(small_whisper())
    inputs = torch.full((8, 20), 5)
    sizes = []
    module.whisper.proj_out.register_forward_hook(lambda _module, _inputs, logits: sizes.append(tuple(logits.shape)))
    module(features(100, 8), inputs, inputs).backward()
    assert max(sizes) == (16, 300)
    assert len(sizes) == 2 * 160 // 16  # each chunk once in forward and once more in backward


def test_what_stands_under_masked_labels_does_not_count(small_whisper, tokens):
    inputs, labels = tokens
    module = WhisperSummedLoss(small_whisper())
    other = inputs.clone()
    other[1, 6], other[2, 4:] = 7, 7  # behind the last counted label: the decoder is causal
    with torch.no_grad():
        assert torch.equal(module(features(100), inputs, labels), module(features(100), other, labels))


def test_a_batch_without_counted_labels_is_zero(small_whisper, tokens):
    inputs, labels = tokens
    with torch.no_grad():
        total = WhisperSummedLoss(small_whisper())(features(100), inputs, torch.full_like(labels, IGNORE_LABEL))
    assert float(total) == 0.0


def test_gradient_checkpointing_gives_the_same_loss_and_gradient(small_whisper, tokens):
    inputs, labels = tokens
    plain = WhisperSummedLoss(small_whisper().train())
    saving = WhisperSummedLoss(small_whisper().train(), gradient_checkpointing=True)
    expected, found = plain(features(100), inputs, labels), saving(features(100), inputs, labels)
    expected.backward()
    found.backward()
    assert torch.equal(found, expected)
    for name, gradient in gradients(plain).items():
        torch.testing.assert_close(gradients(saving)[name], gradient, rtol=0, atol=0)


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_gradient_checkpointing_computes_every_layer_exactly_twice(small_whisper, tokens, stack):
    inputs, labels = tokens
    module = WhisperSummedLoss(small_whisper().train(), gradient_checkpointing=True)
    calls = []
    getattr(module.whisper.model, stack).layers[0].fc1.register_forward_hook(lambda *_: calls.append(1))
    total = module(features(100), inputs, labels)
    assert len(calls) == 1
    total.backward()
    assert len(calls) == 2


def test_bf16_weights_give_a_float32_loss_near_the_float32_one(small_whisper, tokens):
    inputs, labels = tokens
    whisper = small_whisper()
    rounded = copy.deepcopy(whisper).to(torch.bfloat16)
    with torch.no_grad():
        expected = WhisperSummedLoss(whisper)(features(100), inputs, labels)
        found = WhisperSummedLoss(rounded)(features(100).to(torch.bfloat16), inputs, labels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0)
