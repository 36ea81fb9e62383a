"""Each consumer, the real package: it gets real tiny.en's encoder, and a fault in a file is told by name."""

import importlib.metadata
import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from whisper_aut.parity.compare import TOLERANCES
from whisper_aut.parity.consumers import ALL
from whisper_aut.parity.run import run_consumer

_spec = importlib.util.spec_from_file_location("faults_of_the_test", Path(__file__).with_name("faults.py"))
assert _spec and _spec.loader
_faults = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_faults)
TOLERANCE = TOLERANCES["float32"]
# What only writes text, or runs the same check of the file on another length, adds nothing to a fault in a key.
QUICK = [c for c in ALL if not any(word in c.name for word in ("pipeline", "transcribe", "batch", "trimmed", "30 s"))]


def needs(consumer) -> None:
    """Skips where a package of the consumer, or the writer of its form, is not installed."""
    for package in (*consumer.packages, *(["onnx", "onnxscript"] if consumer.form == "onnx" else [])):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{package} is not installed; install the extra [parity]")


def by_form(consumer) -> str:
    return f"{consumer.name} [{consumer.form}]"


@pytest.mark.parametrize("consumer", ALL, ids=by_form)
def test_it_gets_the_encoder(consumer, exported, reference):
    needs(consumer)
    row = run_consumer(consumer, exported, reference, TOLERANCE)
    assert row.status == "same", row.reason
    assert row.distance.largest <= TOLERANCE.largest
    if "pipeline" in consumer.name or "transcribe" in consumer.name:
        assert "leave a message" in row.note.lower()


@pytest.mark.parametrize("fault", _faults.FAULTS)
@pytest.mark.parametrize("consumer", QUICK, ids=by_form)
def test_a_fault_in_the_file_is_told_by_key_or_difference(consumer, fault, small_exported, small_reference, tmp_path):
    needs(consumer)
    broken = tmp_path / "broken"
    # Links, since the files are large and a fault writes its file anew; onnx refuses links.
    others = [name for name in ("openai", "onnx", "ctranslate2", "qwen2-audio") if name != consumer.form]
    copy = shutil.copy2 if consumer.form == "onnx" else os.link
    shutil.copytree(small_exported, broken, copy_function=copy, ignore=shutil.ignore_patterns(*others))
    _faults.break_form(broken, consumer.form, fault)
    row = run_consumer(consumer, broken, small_reference, TOLERANCE)
    assert row.status == "different"
    told = {
        "renamed": ("layers.1.", "blocks.1.", "layer_1/"),
        "dropped": ("layers.1.", "blocks.1.", "layer_1/"),
        "added": ("surprise", "layers.9.", "layer_9/"),
        "exchanged": ("layers.1.", "blocks.1.", "layer_1/", "difference is"),
    }[fault]
    assert any(part in row.reason for part in told), row.reason
