import os

import numpy as np
import pytest
import torch
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from whisper_aut.constants import HOP_LENGTH, WINDOW_FRAMES, WINDOW_SAMPLES, real_positions
from whisper_aut.data.audio import read_waveform
from whisper_aut.data.features import LogMel
from whisper_aut.errors import ProbeError
from whisper_aut.model.base import LoadedEncoder
from whisper_aut.probe import embed as embed_module
from whisper_aut.probe.embed import cache_key, embed, num_cut
from whisper_aut.probe.tasks.labelled import load_task


@pytest.fixture(scope="module")
def encoder() -> LoadedEncoder:
    """A real Whisper encoder, small and untrained."""
    torch.manual_seed(0)
    config = WhisperConfig(num_mel_bins=80, d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=64)
    return LoadedEncoder(module=WhisperEncoder(config).eval(), name="small", weights_sha256="a" * 64)


@pytest.fixture
def task(rows, write_task):
    for number, row in enumerate(rows):  # 0.3 to 1.8 s: several lengths, several clips of each
        row["duration_sec"] = 0.3 + 0.1 * number
    return load_task(write_task(rows))


@pytest.mark.parametrize("context", ["full", "trimmed"])
def test_both_poolings_equal_a_plain_reference(encoder, task, tmp_path, context):
    found = embed(encoder, task, context, cache_dir=tmp_path)
    log_mel = LogMel(80)
    for row, clip in enumerate(task.clips):
        waveform = read_waveform(clip.audio)
        frames = WINDOW_FRAMES if context == "full" else -(-len(waveform) // (50 * HOP_LENGTH)) * 50
        padded = torch.zeros(1, frames * HOP_LENGTH)
        padded[0, : len(waveform)] = torch.from_numpy(waveform)
        with torch.no_grad():
            if context == "full":
                states = encoder.module(log_mel(padded)).last_hidden_state[0]
            else:
                states = embed_module.encode(encoder.module, log_mel(padded))[0]
        assert len(states) == frames // 2
        real = states[: -(-len(waveform) // 320)]
        np.testing.assert_allclose(found.all_positions[row], states.mean(0), atol=1e-5)
        np.testing.assert_allclose(found.real_positions[row], real.mean(0), atol=1e-5)


@pytest.mark.parametrize("context", ["full", "trimmed"])
def test_a_clips_vector_does_not_depend_on_the_clips_beside_it(encoder, task, tmp_path, monkeypatch, context):
    together = embed(encoder, task, context, cache_dir=tmp_path / "together")
    monkeypatch.setitem(embed_module.BATCH_FRAMES, "cpu", 1)  # every clip alone
    alone = embed(encoder, task, context, cache_dir=tmp_path / "alone")
    np.testing.assert_allclose(together.all_positions, alone.all_positions, atol=1e-5)
    np.testing.assert_allclose(together.real_positions, alone.real_positions, atol=1e-5)


def test_batches_hold_clips_of_one_length_and_every_clip_once(task):
    batches = list(embed_module._batches(task, "trimmed", batch_frames=400))
    assert sorted(row for rows, _, _ in batches for row in rows) == list(range(len(task.clips)))
    assert max(len(rows) for rows, _, _ in batches) > 1
    for rows, waveforms, num_samples in batches:
        assert len(rows) * waveforms.shape[1] // HOP_LENGTH <= 400
        for waveform, count in zip(waveforms, num_samples, strict=True):
            assert 0 <= waveforms.shape[1] - count < 50 * HOP_LENGTH
            assert not waveform[count:].any() and waveform[:count].any()


def test_of_a_long_clip_the_first_window_is_embedded_and_it_is_counted(encoder, rows, write_task, tmp_path):
    rows[0]["duration_sec"] = 31.0
    task = load_task(write_task(rows))
    assert num_cut(task) == 1
    (waveform,) = [w for row, w in embed_module._decoded(task) if row == 0]
    assert len(waveform) == WINDOW_SAMPLES and real_positions(len(waveform)) == 1500
    found = embed(encoder, task, "trimmed", cache_dir=tmp_path)
    np.testing.assert_allclose(found.all_positions[0], found.real_positions[0], atol=1e-6)


def test_bfloat16_stays_close_to_float32(encoder, task, tmp_path):
    exact = embed(encoder, task, "trimmed", cache_dir=tmp_path, precision="float32").real_positions
    rough = embed(encoder, task, "trimmed", cache_dir=tmp_path, precision="bfloat16").real_positions
    assert not np.array_equal(exact, rough)
    assert np.abs(exact - rough).max() < 0.05 * np.abs(exact).max()


def test_values_that_are_not_finite_name_the_clip_and_reach_no_cache(encoder, task, tmp_path):
    broken = WhisperEncoder(encoder.module.config).eval()
    broken.load_state_dict(encoder.module.state_dict())
    torch.nn.init.constant_(broken.layer_norm.bias, float("nan"))
    damaged = LoadedEncoder(module=broken, name="broken", weights_sha256="b" * 64)
    with pytest.raises(ProbeError, match=rf"16 of 16 clips, the first is clip {task.clips[0].id}"):
        embed(damaged, task, "trimmed", cache_dir=tmp_path)
    assert not list(tmp_path.glob("*.npz"))


def test_the_second_call_reads_the_cache_and_gives_the_same(encoder, task, tmp_path, monkeypatch, capsys):
    first = embed(encoder, task, "trimmed", cache_dir=tmp_path / "cache")
    monkeypatch.setattr(embed_module, "_compute", None)  # computing again would fail
    second = embed(encoder, task, "trimmed", cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(first.real_positions, second.real_positions)
    np.testing.assert_array_equal(first.all_positions, second.all_positions)
    assert "from the cache" in capsys.readouterr().err
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npz"]


@pytest.mark.parametrize("damage", ["cut short", "pickled object", "other shape", "no zip"])
def test_a_damaged_cache_is_said_and_computed_again(encoder, task, tmp_path, capsys, damage):
    first = embed(encoder, task, "trimmed", cache_dir=tmp_path)
    (path,) = tmp_path.glob("*.npz")
    if damage == "cut short":
        os.truncate(path, path.stat().st_size // 2)
    elif damage == "pickled object":
        np.savez(path, all_positions=np.array([{}], dtype=object), real_positions=first.real_positions)
    elif damage == "other shape":
        np.savez(path, all_positions=first.all_positions[1:], real_positions=first.real_positions)
    else:
        path.write_bytes(b"text")
    again = embed(encoder, task, "trimmed", cache_dir=tmp_path)
    assert "damaged" in capsys.readouterr().err
    np.testing.assert_array_equal(first.real_positions, again.real_positions)


def test_the_cache_key_follows_all_that_a_vector_depends_on(monkeypatch):
    keys = {
        cache_key("w", "c", "full", "float32"),
        cache_key("v", "c", "full", "float32"),
        cache_key("w", "d", "full", "float32"),
        cache_key("w", "c", "trimmed", "float32"),
        cache_key("w", "c", "full", "bfloat16"),
    }
    monkeypatch.setattr(embed_module, "POOLING_VERSION", embed_module.POOLING_VERSION + 1)
    keys.add(cache_key("w", "c", "full", "float32"))
    monkeypatch.setattr(embed_module, "LAYER", "another")
    keys.add(cache_key("w", "c", "full", "float32"))
    assert len(keys) == 7


def test_a_cache_that_cannot_be_written_is_a_users_error(encoder, task, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ProbeError, match="cache cannot be written"):
        embed(encoder, task, "trimmed", cache_dir=tmp_path / "file" / "cache")
