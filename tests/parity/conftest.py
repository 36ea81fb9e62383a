"""Real Whisper tiny.en exported in every form, and the reference to hold it against; made once for the session."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def exported(demo_weights: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.en in all forms whose writers are installed, with its decoder, in float32. Read only."""
    from importlib.util import find_spec

    from whisper_aut.export.encoder import ExportOptions, export_model
    from whisper_aut.export.forms.registry import FORMS

    forms = [form.name for form in FORMS.values() if all(find_spec(package) for package in form.packages)]
    folder = tmp_path_factory.mktemp("parity") / "export"
    return export_model("pypi:tiny.en", folder, ExportOptions(forms, "adapted", "float32"))


@pytest.fixture(scope="session")
def reference(exported: Path) -> Any:
    """The encoder that ``load_base`` gives, not the exported one, on speech."""
    pytest.importorskip("espeakng_loader", reason="speech is synthesised by the extra [demo]")
    from whisper_aut.model.base import load_base
    from whisper_aut.parity.audio import read_audio
    from whisper_aut.parity.reference import Reference

    encoder = load_base("pypi:tiny.en").model.model.encoder.requires_grad_(False)
    return Reference(encoder, read_audio([]), precision="float32", keeps_decoder=True)
