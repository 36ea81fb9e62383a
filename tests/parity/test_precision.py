"""Exports in half precision: weights to their last bit, states within the stated tolerance."""

import pytest

from whisper_aut.export.encoder import ExportOptions, export_model
from whisper_aut.parity.compare import TOLERANCES
from whisper_aut.parity.consumers import ALL
from whisper_aut.parity.run import run_parity


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_is_within_its_tolerance_of_the_float32_base(reference, tmp_path, precision):
    forms = ("hf", "encoder", "qwen2-audio")
    folder = export_model("pypi:tiny.en", tmp_path / "export", ExportOptions(forms, "none", precision))
    quick = [
        c for c in ALL if c.name in {"transformers WhisperModel", "transformers WhisperEncoder", "Qwen2AudioEncoder"}
    ]
    found = run_parity(folder, consumers=quick)
    assert found.precision == precision
    for row in found.rows:
        assert row.status == "same", row.reason
        assert row.distance is not None
        assert row.distance.rms <= TOLERANCES[precision].rms
