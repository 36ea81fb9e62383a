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
from whisper_aut.probe.embed import cache_key, embed, num_cut, pool
from whisper_aut.probe.encoders.base import Pooling
from whisper_aut.probe.encoders.floors import mfcc
from whisper_aut.probe.encoders.whisper import WhisperProbed
from whisper_aut.probe.tasks.labelled import load_task

ALL, REAL = Pooling("mean", "all"), Pooling("mean", "real")
BOTH = [ALL, REAL]


@pytest.fixture(scope="module")
def module() -> WhisperEncoder:
    """A real Whisper encoder, small and untrained."""
    torch.manual_seed(0)
    config = WhisperConfig(num_mel_bins=80, d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=64)
    return WhisperEncoder(config).eval()


@pytest.fixture(scope="module")
def encoder(module) -> WhisperProbed:
    return WhisperProbed(LoadedEncoder(module=module, name="small", weights_sha256="a" * 64))


@pytest.fixture
def task(rows, write_task):
    for number, row in enumerate(rows):  # 0.3 to 1.8 s: several lengths, several clips of each
        row["duration_sec"] = 0.3 + 0.1 * number
    return load_task(write_task(rows))


@pytest.mark.parametrize("context", ["full", "trimmed"])
def test_all_layers_and_poolings_equal_a_plain_reference(encoder, module, task, tmp_path, context):
    poolings = [Pooling(statistic, where) for statistic in ("mean", "mean+std", "max") for where in ("all", "real")]
    found = embed(encoder, task, context, poolings=poolings, layers="all", cache_dir=tmp_path)
    log_mel = LogMel(80)
    for row, clip in enumerate(task.clips):
        waveform = read_waveform(clip.audio)
        frames = WINDOW_FRAMES if context == "full" else -(-len(waveform) // (50 * HOP_LENGTH)) * 50
        padded = torch.zeros(1, frames * HOP_LENGTH)
        padded[0, : len(waveform)] = torch.from_numpy(waveform)
        with torch.no_grad():
            if context == "full":
                layers = module(log_mel(padded), output_hidden_states=True).hidden_states
            else:
                layers = list(layers_of_a_shorter_input(module, log_mel(padded)))
        assert len(layers) == encoder.num_layers == 3
        for number, (state,) in enumerate(layers):
            assert len(state) == frames // 2
            for where, kept in {"all": state, "real": state[: -(-len(waveform) // 320)]}.items():
                mean, std, most = kept.mean(0), kept.std(0, unbiased=False), kept.amax(0)
                for statistic, expected in {"mean": mean, "mean+std": torch.cat([mean, std]), "max": most}.items():
                    ours = found.features(Pooling(statistic, where), number)[row]
                    np.testing.assert_allclose(ours, expected, atol=2e-5)


def layers_of_a_shorter_input(module, features):
    """The layers of a shorter input by Hugging Face's own blocks, step by step."""
    hidden = torch.nn.functional.gelu(module.conv1(features))
    hidden = torch.nn.functional.gelu(module.conv2(hidden)).transpose(1, 2)
    hidden = hidden + module.embed_positions.weight[: hidden.shape[1]]
    for block in module.layers:
        yield hidden
        hidden = block(hidden, None)
    yield module.layer_norm(hidden)


@pytest.mark.parametrize("context", ["full", "trimmed"])
def test_a_clips_vector_does_not_depend_on_the_clips_beside_it(encoder, task, tmp_path, monkeypatch, context):
    together = embed(encoder, task, context, poolings=BOTH, cache_dir=tmp_path / "together")
    monkeypatch.setitem(embed_module.BATCH_FRAMES, "cpu", 1)  # every clip alone
    alone = embed(encoder, task, context, poolings=BOTH, cache_dir=tmp_path / "alone")
    for pooling in BOTH:
        np.testing.assert_allclose(together.features(pooling), alone.features(pooling), atol=1e-5)


def test_batches_hold_clips_of_one_length_and_every_clip_once(encoder, task):
    batches = list(embed_module._batches(encoder, task, "trimmed", batch_frames=400))
    assert sorted(row for rows, _, _ in batches for row in rows) == list(range(len(task.clips)))
    assert max(len(rows) for rows, _, _ in batches) > 1
    for rows, waveforms, num_samples in batches:
        assert len(rows) * waveforms.shape[1] // HOP_LENGTH <= 400
        for waveform, count in zip(waveforms, num_samples, strict=True):
            assert 0 <= waveforms.shape[1] - count < 50 * HOP_LENGTH
            assert not waveform[count:].any() and waveform[:count].any()


def test_clips_that_wait_for_their_like_never_fill_the_memory(encoder, task):
    # No two clips share a length where nothing is rounded; all would wait to the end.
    encoder_by_the_sample = WhisperProbed.__new__(WhisperProbed)
    encoder_by_the_sample.padded_samples = lambda num_samples, context: num_samples
    batches = list(embed_module._batches(encoder_by_the_sample, task, "trimmed", batch_frames=4))
    waiting = [len(rows) for rows, _, _ in batches]
    assert sorted(row for rows, _, _ in batches for row in rows) == list(range(len(task.clips)))
    assert max(waiting) == 1 and batches[0][0] != [len(task.clips) - 1]


def test_of_a_long_clip_the_first_window_is_embedded_and_it_is_counted(encoder, rows, write_task, tmp_path):
    rows[0]["duration_sec"] = 31.0
    task = load_task(write_task(rows))
    assert num_cut(task, encoder.window_sec) == 1 and num_cut(task, 0.5) == len(task.clips) // 2 + 1
    (waveform,) = [w for row, w in embed_module._decoded(encoder, task) if row == 0]
    assert len(waveform) == WINDOW_SAMPLES and real_positions(len(waveform)) == 1500
    found = embed(encoder, task, "trimmed", poolings=BOTH, cache_dir=tmp_path)
    np.testing.assert_allclose(found.features(ALL)[0], found.features(REAL)[0], atol=1e-6)


def test_bfloat16_stays_close_to_float32(encoder, task, tmp_path):
    exact, rough = (
        embed(encoder, task, "trimmed", poolings=[REAL], cache_dir=tmp_path, precision=precision).features(REAL)
        for precision in ("float32", "bfloat16")
    )
    assert not np.array_equal(exact, rough)
    assert np.abs(exact - rough).max() < 0.05 * np.abs(exact).max()


def test_values_that_are_not_finite_name_the_clip_and_reach_no_cache(module, task, tmp_path):
    broken = WhisperEncoder(module.config).eval()
    broken.load_state_dict(module.state_dict())
    torch.nn.init.constant_(broken.layer_norm.bias, float("nan"))
    damaged = WhisperProbed(LoadedEncoder(module=broken, name="broken", weights_sha256="b" * 64))
    with pytest.raises(ProbeError, match=rf"16 of 16 clips, the first is clip {task.clips[0].id}"):
        embed(damaged, task, "trimmed", poolings=BOTH, cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_the_second_call_reads_the_cache_and_gives_the_same(encoder, task, tmp_path, monkeypatch, capsys):
    first = embed(encoder, task, "trimmed", poolings=BOTH, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(embed_module, "_compute", None)  # computing again would fail
    second = embed(encoder, task, "trimmed", poolings=BOTH, cache_dir=tmp_path / "cache")
    for pooling in BOTH:
        assert isinstance(second.stored[pooling], np.memmap)
        np.testing.assert_array_equal(first.features(pooling), second.features(pooling))
    assert "from the cache" in capsys.readouterr().err
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"] * 2


def test_what_the_cache_lacks_is_computed_and_the_rest_is_read(encoder, task, tmp_path):
    embed(encoder, task, "trimmed", poolings=[REAL], cache_dir=tmp_path / "cache")
    (stored,) = (tmp_path / "cache").iterdir()
    before = stored.stat().st_mtime_ns
    found = embed(encoder, task, "trimmed", poolings=BOTH, cache_dir=tmp_path / "cache")
    assert set(found.stored) == set(BOTH)
    assert stored.stat().st_mtime_ns == before and len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut short", "pickled object", "other shape", "not finite", "no array"])
def test_a_damaged_cache_is_said_and_computed_again(encoder, task, tmp_path, capsys, damage):
    first = embed(encoder, task, "trimmed", poolings=[REAL], cache_dir=tmp_path / "cache").features(REAL)
    (path,) = (tmp_path / "cache").glob("*.npy")
    if damage == "cut short":
        os.truncate(path, path.stat().st_size // 2)
    elif damage == "pickled object":
        np.save(path, np.array([{}], dtype=object))
    elif damage == "other shape":
        np.save(path, first[1:, None])
    elif damage == "not finite":
        np.save(path, np.where(np.arange(len(first))[:, None, None] == 7, np.float32("nan"), first[:, None]))
    else:
        path.write_bytes(b"text")
    again = embed(encoder, task, "trimmed", poolings=[REAL], cache_dir=tmp_path / "cache")
    assert "damaged" in capsys.readouterr().err
    np.testing.assert_array_equal(first, again.features(REAL))


def test_the_cache_key_follows_all_that_a_vector_depends_on(monkeypatch):
    settings = [
        ("w", "c", "full", "float32", ALL, "last"),
        ("v", "c", "full", "float32", ALL, "last"),
        ("w", "d", "full", "float32", ALL, "last"),
        ("w", "c", "trimmed", "float32", ALL, "last"),
        ("w", "c", "full", "bfloat16", ALL, "last"),
        ("w", "c", "full", "float32", REAL, "last"),
        ("w", "c", "full", "float32", Pooling("max", "all"), "last"),
        ("w", "c", "full", "float32", ALL, "all"),
    ]
    keys = {cache_key(*one) for one in settings}
    monkeypatch.setattr(embed_module, "POOLING_VERSION", embed_module.POOLING_VERSION + 1)
    keys.add(cache_key(*settings[0]))
    assert len(keys) == len(settings) + 1


def test_floors_hear_what_their_statistic_says_whatever_is_asked(task, tmp_path):
    found = embed(mfcc(), task, "trimmed", poolings=[REAL], cache_dir=tmp_path)
    assert found.features(REAL).shape == (len(task.clips), 40)
    assert found.features(REAL, layer=7).shape == (len(task.clips), 40)  # one layer: nothing to choose


def test_an_encoder_that_cannot_trim_is_embedded_once(task, tmp_path, encoder, capsys):
    fixed = WhisperProbed(LoadedEncoder(module=encoder._module, name="fixed", weights_sha256="c" * 64))
    fixed.trims = False
    full, trimmed = (
        embed(fixed, task, context, poolings=[REAL], cache_dir=tmp_path).features(REAL)
        for context in ("full", "trimmed")
    )
    np.testing.assert_array_equal(full, trimmed)
    assert "trimmed: 16 clips from the cache" in capsys.readouterr().err


def test_positions_that_do_not_count_may_hold_anything():
    states = torch.arange(12.0).reshape(1, 4, 3)
    real = torch.tensor([[True, True, False, False]])
    dirty = states.clone()
    dirty[0, 2:] = torch.tensor(float("nan"))
    for statistic in ("mean", "mean+std", "max"):
        pooling = Pooling(statistic, "real")
        assert torch.equal(pool(states, real, pooling, statistic), pool(dirty, real, pooling, statistic))


def test_a_cache_that_cannot_be_written_is_a_users_error(encoder, task, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ProbeError, match="cache cannot be written"):
        embed(encoder, task, "trimmed", poolings=[REAL], cache_dir=tmp_path / "file" / "cache")
