"""Exports in half precision: weights to their last bit, states within the stated tolerance.

Of a small random model, since processors without units for half precision compute in it a hundred times slower; the
states of real weights in half precision are compared on short clips by tests/test_encoder.py.
"""

import pytest

from whisper_aut.export.encoder import ExportOptions, export_model
from whisper_aut.parity.compare import TOLERANCES
from whisper_aut.parity.consumers import ALL
from whisper_aut.parity.run import run_parity


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_is_within_its_tolerance_of_the_float32_base(small_model, tmp_path, precision):
    forms = ("hf", "encoder", "qwen2-audio")
    folder = export_model(str(small_model), tmp_path / "export", ExportOptions(forms, "none", precision))
    named = {"transformers WhisperModel", "transformers WhisperEncoder", "Qwen2AudioEncoder", "Ultravox' prefix"}
    found = run_parity(folder, consumers=[consumer for consumer in ALL if consumer.name in named])
    assert found.precision == precision
    assert (
        len(found.rows) == 5
    )  # the prefix twice: without a decoder, too, the whole folder is taken as well as the encoder's
    for row in found.rows:
        assert row.status == "same", row.reason
        assert row.distance is not None
        assert row.distance.rms <= TOLERANCES[precision].rms
