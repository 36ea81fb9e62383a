"""Compiled layers compute what plain ones do; where they cannot be compiled, training goes on without."""

import shutil

import pytest
import torch

from whisper_aut.constants import IGNORE_LABEL
from whisper_aut.model.compiled import compile_layers
from whisper_aut.model.loss import WhisperSummedLoss

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")


@pytest.fixture
def module(small_whisper) -> WhisperSummedLoss:
    return WhisperSummedLoss(small_whisper().train())


def gradients(
    module: WhisperSummedLoss, num_frames: int, *, num_clips: int = 2
) -> tuple[float, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(num_frames)
    features = torch.randn(num_clips, 80, num_frames, generator=generator)
    tokens = torch.randint(2, 99, (num_clips, 8), generator=generator)
    labels = tokens.clone()
    labels[0, 5:] = IGNORE_LABEL
    module.zero_grad()
    loss = module(features, tokens, labels)
    loss.backward()
    return float(loss.detach()), {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


@needs_compiler
def test_loss_and_gradients_are_those_of_plain_layers_at_several_lengths(module, monkeypatch):
    monkeypatch.setattr("torch._inductor.config.cpp.simdlen", 1)  # code without vectors compiles in two thirds
    # The first is the shape that is tried; each other one takes the compilers a quarter of a minute.
    plain = {(1, 50): gradients(module, 50, num_clips=1), (2, 100): gradients(module, 100)}
    module.zero_grad()
    assert compile_layers(module, torch.float32, zero_stage=2)
    assert all(parameter.grad is None for parameter in module.parameters())  # trying leaves nothing behind
    assert all(layer._compiled_call_impl is not None for layer in module.whisper.model.encoder.layers)
    for (num_clips, num_frames), (loss, expected) in plain.items():
        found_loss, found = gradients(module, num_frames, num_clips=num_clips)
        assert found_loss == pytest.approx(loss, rel=1e-5)
        assert set(found) == set(expected)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: n + m)


def test_a_compiler_that_fails_is_a_warning_and_training_goes_on(module, monkeypatch, capsys):
    expected = gradients(module, 100)[0]
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("CXX", "/nowhere/g++")
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/nowhere/g++",))
    torch._dynamo.reset()
    assert not compile_layers(module, torch.float32, zero_stage=1)
    assert "warning: training without torch.compile: " in capsys.readouterr().err
    assert gradients(module, 100)[0] == expected


def test_under_zero_3_layers_are_not_compiled_and_it_is_said(module, capsys):
    assert not compile_layers(module, torch.float32, zero_stage=3)
    assert "ZeRO-3 gathers weights in hooks" in capsys.readouterr().err
    assert all(layer._compiled_call_impl is None for layer in module.whisper.model.encoder.layers)
