import unicodedata
from pathlib import Path

import pytest

from whisper_aut.files import existing_form, is_regular_file, missing_hint, whole_file, write_whole

NFC, NFD = (unicodedata.normalize(form, "ü/é.wav") for form in ("NFC", "NFD"))


def test_a_file_takes_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "result.json"
    with whole_file(path) as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "result.txt"
    write_whole(path, "größer")
    with pytest.raises(RuntimeError), whole_file(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text("utf-8") == "größer"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_is_found_in_the_normal_form_of_the_disk(tmp_path):
    (tmp_path / NFD).parent.mkdir()
    (tmp_path / NFD).touch()
    assert existing_form(f"{tmp_path}/{NFC}") == f"{tmp_path}/{NFD}"
    assert existing_form(f"{tmp_path}/ü/gone.wav") == f"{tmp_path}/{NFD.partition('/')[0]}/gone.wav"
    assert existing_form("/nowhere/é") == "/nowhere/é" and existing_form("a.wav") == "a.wav"


def test_no_hint_is_given_where_nothing_is_known(tmp_path):
    (tmp_path / "other.wav").touch()
    for path in (tmp_path / "a.wav", tmp_path / "gone" / "a.wav", Path("/"), Path("a.wav"), tmp_path / "a\0b"):
        assert missing_hint(path) == ""
    assert not is_regular_file(tmp_path) and not is_regular_file("n" * 300) and is_regular_file(tmp_path / "other.wav")
