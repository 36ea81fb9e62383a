"""Errors say what, where and how to mend it, also after a journey between processes."""

import copy
import multiprocessing
import pickle

import pytest

from whisper_aut import errors
from whisper_aut.errors import (
    AudioError,
    GateFailed,
    Interrupted,
    LoaderLost,
    ManifestError,
    RankLost,
    WhisperAutError,
)

ALL = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, WhisperAutError)
]  # fmt: skip


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("fields", [{}, {"where": "a.jsonl:7"}, {"where": "clip x", "remedy": "mend it"}])
@pytest.mark.parametrize("carry", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_pickling_and_copying_keep_kind_and_every_field(kind, fields, carry):
    error = kind("12 of 9 clips", **fields)
    found = carry(error)
    assert type(found) is kind
    assert (found.what, found.where, found.remedy) == (error.what, error.where, error.remedy)
    assert str(found) == str(error)


def _fail(clip: str) -> None:
    raise AudioError(f"clip {clip} is silent", where="m.jsonl:3", remedy="remove it")


def test_a_worker_process_raises_it_whole_in_its_parent():
    with multiprocessing.get_context("fork").Pool(1) as pool, pytest.raises(AudioError) as caught:
        pool.apply(_fail, ("c7",))
    assert caught.value.lines() == ["clip c7 is silent", "  where: m.jsonl:3", "  remedy: remove it"]


def test_the_message_has_one_thought_a_line_and_no_empty_ones():
    assert str(ManifestError("bad row")) == "bad row"
    assert str(ManifestError("bad row", remedy="mend it")) == "bad row\n  remedy: mend it"
    assert str(ManifestError("bad row", where="a:1", remedy="b")) == "bad row\n  where: a:1\n  remedy: b"


def test_exit_codes_are_those_of_the_manual():
    codes = {kind: kind.exit_code for kind in ALL}
    assert codes.pop(GateFailed) == 3
    assert codes.pop(Interrupted) == 75
    assert codes.pop(RankLost) == codes.pop(LoaderLost) == 1
    assert set(codes.values()) == {2}
