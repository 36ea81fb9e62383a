"""Our tasks in X-ARES' layout, and X-ARES' own runner on them, held against our protocols."""

import io
import json
import shutil
import sys
import tarfile

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from transformers import WhisperModel

from whisper_aut.data.audio import read_waveform
from whisper_aut.errors import EnvironmentProblem, ProbeError
from whisper_aut.probe.bridges.xares import xares_encoder
from whisper_aut.probe.bridges.xares_task import decode_with_soundfile, write_tars, xares_settings
from whisper_aut.probe.compare import task_arrays
from whisper_aut.probe.embed import embed
from whisper_aut.probe.encoders.load import load_probed
from whisper_aut.probe.protocols import PROTOCOLS
from whisper_aut.probe.splits import outer_splits
from whisper_aut.probe.tasks.labelled import load_task

NOT_INSTALLED = "X-ARES is not installed: the extra [bridges]"


@pytest.fixture
def soundfile_decoding(monkeypatch):
    monkeypatch.setattr(torchaudio, "load", torchaudio.load)  # put back afterwards
    decode_with_soundfile()


def xares_folds(task, encoder, env_dir) -> tuple[list[float], list[float]]:
    """Accuracy by fold of X-ARES' kNN, and of its MLP."""
    module = pytest.importorskip("xares.task", reason=NOT_INSTALLED)
    scores: tuple[list[float], list[float]] = ([], [])

    class Watched(module.XaresTask):
        def train_and_eval_knn(self, train_url, eval_url):
            score, weight = super().train_and_eval_knn(train_url, eval_url)
            scores[0].append(score)
            return score, weight

        def evaluate_mlp(self, eval_url, load_ckpt=False):
            score, weight = super().evaluate_mlp(eval_url, load_ckpt)
            scores[1].append(score)
            return score, weight

    config = xares_settings(task, encoder, env_dir)
    config.torch_num_threads = 1
    config.num_encoder_workers = 0
    (mlp, weight), (knn, _) = Watched(config).run()
    assert weight == len(task.clips)
    assert (knn, mlp) == pytest.approx(tuple(np.mean(one) for one in scores))
    return scores


def our_knn_folds(task, spec, cache_dir) -> list[float]:
    protocol, arrays = PROTOCOLS["xares-knn"], task_arrays(task)
    embeddings = embed(load_probed(spec), task, "full", poolings=[protocol.pooling], cache_dir=cache_dir)
    predicted = protocol.predict(embeddings.features(protocol.pooling), arrays, 0).answers[0]
    right = predicted == arrays.class_ids
    return [float(right[split.test].mean()) for split in outer_splits(arrays.folds, arrays.groups)]


def test_every_fold_is_a_tar_of_the_very_samples_that_we_embed(write_task, rows, tmp_path):
    rows[0] |= {"offset_sec": 0.1, "duration_sec": 0.2}
    task = load_task(write_task(rows))
    folder = write_tars(task, tmp_path / "env")
    assert (folder / ".audio_tar_ready").is_file()
    found = {}
    for fold in (1, 2, 3, 4):
        with tarfile.open(folder / f"wds-audio-fold-{fold}-000000.tar") as tar:
            names = tar.getnames()
            for wav, row in zip(names[::2], names[1::2], strict=True):
                assert wav.removesuffix(".wav") == row.removesuffix(".json")
                samples, rate = soundfile.read(io.BytesIO(tar.extractfile(wav).read()), dtype="float32")
                assert rate == 16_000
                found[int(wav[:7])] = (fold, json.loads(tar.extractfile(row).read())["class"], samples)
    for number, clip in enumerate(task.clips):
        fold, class_id, samples = found[number]
        expected = read_waveform(clip.audio, offset_sec=clip.offset_sec, duration_sec=clip.duration_sec)
        assert (fold, task.classes[class_id]) == (clip.fold, clip.label)
        assert np.array_equal(samples, expected)


def test_what_is_written_is_not_written_again_and_other_clips_get_another_folder(write_task, rows, tmp_path):
    folder = write_tars(load_task(write_task(rows)), tmp_path / "env")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert write_tars(load_task(write_task(rows)), tmp_path / "env") == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    rows[0]["label"], rows[2]["label"] = rows[2]["label"], rows[0]["label"]
    assert write_tars(load_task(write_task(rows)), tmp_path / "env") != folder


def test_a_folder_that_cannot_be_written_is_a_users_error(write_task, rows, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ProbeError, match="cannot be written"):
        write_tars(load_task(write_task(rows)), tmp_path / "file")


def test_without_x_ares_the_error_says_what_to_install(write_task, rows, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "xares", None)
    monkeypatch.setitem(sys.modules, "xares.task", None)
    with pytest.raises(EnvironmentProblem, match="needs the package xares") as error:
        xares_settings(load_task(write_task(rows)), torch.nn.Identity(), tmp_path)
    assert "whisper-aut[bridges]" in error.value.remedy


def test_torchaudio_reads_without_ffmpeg(soundfile_decoding, tmp_path):
    soundfile.write(tmp_path / "two.wav", np.array([[0.5, -0.5]] * 10, dtype=np.float32), 8000, subtype="FLOAT")
    samples, rate = torchaudio.load(str(tmp_path / "two.wav"))
    assert (samples.shape, samples.dtype, rate) == ((2, 10), torch.float32, 8000)
    assert samples[:, 0].tolist() == [0.5, -0.5]


def test_x_ares_own_runner_gives_the_neighbours_that_ours_gives(
    write_task, rows, small_whisper, tmp_path, soundfile_decoding
):
    WhisperModel(small_whisper().config).save_pretrained(tmp_path / "encoder")
    task = load_task(write_task(rows))
    write_tars(task, tmp_path / "env")
    encoder = xares_encoder(str(tmp_path / "encoder"))()
    neighbours, heads = xares_folds(task, encoder, tmp_path / "env")
    assert neighbours == pytest.approx(our_knn_folds(task, str(tmp_path / "encoder"), tmp_path / "cache"))
    assert len(heads) == 4 and all(0 <= score <= 1 for score in heads)


def test_another_seed_does_not_get_the_first_ones_score(write_task, rows, small_whisper, tmp_path):
    pytest.importorskip("xares.task", reason=NOT_INSTALLED)
    WhisperModel(small_whisper().config).save_pretrained(tmp_path / "encoder")
    task, encoder = load_task(write_task(rows)), xares_encoder(str(tmp_path / "encoder"))()
    configs = [xares_settings(task, encoder, tmp_path / "env", seed=seed) for seed in (42, 43)]
    assert [config.seed for config in configs] == [42, 43]
    assert configs[0].ckpt_dir_name != configs[1].ckpt_dir_name


@pytest.mark.integration
def test_on_real_clips_and_weights_both_find_the_same_neighbours(
    real_data_dir, demo_weights, tmp_path, soundfile_decoding
):
    """Twelve clips of each of four classes of ESC-10, two folds; nothing in kNN is random."""
    pytest.importorskip("xares.task", reason=NOT_INSTALLED)
    source = real_data_dir / "probe" / "esc10"
    lines = [json.loads(line) for line in (source / "clips.jsonl").read_text().splitlines()]
    chosen = [
        row
        for label in sorted({row["label"] for row in lines})[:4]
        for fold in (1, 2)
        for row in [one for one in lines if (one["label"], one["fold"]) == (label, fold)][:6]
    ]
    folder = tmp_path / "esc4"
    (folder / "audio").mkdir(parents=True)
    for row in chosen:
        shutil.copy(source / row["audio"], folder / row["audio"])
    (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chosen))
    task = load_task(folder)
    write_tars(task, tmp_path / "env")
    neighbours, heads = xares_folds(task, xares_encoder("pypi:tiny.en")(), tmp_path / "env")
    assert neighbours == pytest.approx(our_knn_folds(task, "pypi:tiny.en", tmp_path / "cache"))
    assert min(neighbours) > 0.4 and min(heads) > 0.25  # chance: 0.25


def test_a_fixed_split_is_a_users_error(write_task, rows, tmp_path):
    parts = [row | {"fold": "test" if number % 2 else "train"} for number, row in enumerate(rows)]
    with pytest.raises(ProbeError, match="a fixed split"):
        xares_settings(load_task(write_task(parts)), torch.nn.Identity(), tmp_path)
