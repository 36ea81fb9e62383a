"""What a watcher settles before it looks for a checkpoint."""

import json

import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.model.precision import choose_precision
from whisper_aut.watch import Suite, watch


@pytest.mark.parametrize("begun", ["float32", "bfloat16"])
def test_a_suite_that_has_begun_keeps_its_precision_whatever_is_faster_here(tmp_path, begun):
    (tmp_path / "watch.json").write_text(json.dumps({"precision": begun}))
    chosen = Suite([], precision="auto").choose_precision(tmp_path)
    assert (chosen.name, chosen.reason) == (begun, "that of the points before")
    asked = Suite([], precision="fp32").choose_precision(tmp_path)
    assert (asked.name, asked.reason) == ("float32", "asked for")


def test_a_suite_that_begins_takes_what_is_faster_here(tmp_path, capsys):
    chosen = Suite([], precision="auto").choose_precision(tmp_path)
    assert chosen == choose_precision("auto", "cpu")
    assert capsys.readouterr().err == f"watch: precision {chosen.name}: {chosen.reason}\n"


def test_a_device_that_is_not_there_is_refused_before_anything_is_waited_for(tmp_path):
    with pytest.raises(ProbeError, match="no device 'tpu'"):
        watch(tmp_path / "nothing", Suite([], device="tpu"), out_dir=tmp_path / "watch")
