"""SHA256SUMS: what differs is named, what is sound is said to be, and `sha256sum` agrees."""

import shutil
import subprocess

import pytest

from whisper_aut.errors import EXIT_GATE_FAILED, CheckpointError, GateFailed
from whisper_aut.export.card import write_results
from whisper_aut.export.sums import compare_sums, read_sums, record_sums, verify_sums, write_sums


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "encoder").mkdir()
    for name in ("config.json", "encoder/model.safetensors", "name with spaces é.txt"):
        (tmp_path / name).write_text(f"content of {name}")
    write_sums(tmp_path)
    return tmp_path


def test_what_was_written_verifies_and_sha256sum_agrees(folder):
    assert verify_sums(folder) == 3
    if shutil.which("sha256sum"):
        assert subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=folder, check=False).returncode == 0


def test_each_file_that_differs_is_named(folder):
    (folder / "config.json").write_text("changed")
    (folder / "encoder" / "model.safetensors").unlink()
    (folder / "thesis.tex").write_text("not of the export")
    with pytest.raises(GateFailed) as caught:
        verify_sums(folder)
    assert caught.value.exit_code == EXIT_GATE_FAILED
    for line in ("missing: encoder/model.safetensors", "changed: config.json", "extra: thesis.tex"):
        assert line in str(caught.value)


def test_one_bit_is_enough(folder):
    path = folder / "encoder" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    assert compare_sums(folder).changed == ("encoder/model.safetensors",)


def test_a_link_counts_as_what_it_points_at_as_in_a_hubs_cache(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "config.json"
    elsewhere.write_bytes((folder / "config.json").read_bytes())
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(elsewhere)
    assert compare_sums(folder).sound
    elsewhere.write_text("{}")
    assert compare_sums(folder).changed == ("config.json",)
    elsewhere.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        compare_sums(folder)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        compare_sums(tmp_path / "nothing")


def test_what_a_hub_adds_is_not_extra(folder):
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "CACHEDIR.TAG").write_text("")
    assert compare_sums(folder).sound


def test_a_file_written_anew_on_purpose_gets_its_line_and_the_others_keep_theirs(folder):
    (folder / "config.json").write_text("damaged")
    (folder / "parity.json").write_text("{}")
    record_sums(folder, ["parity.json"])
    assert compare_sums(folder).lines() == ["changed: config.json"]


def test_a_folder_without_sums_stays_without(tmp_path):
    (tmp_path / "a").write_text("")
    record_sums(tmp_path, ["a"])
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with pytest.raises(CheckpointError, match="no SHA256SUMS"):
        verify_sums(tmp_path)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "encoder/../../outside"])
def test_a_path_that_leaves_the_folder_is_refused(folder, name):
    (folder / "SHA256SUMS").write_text("0" * 64 + f"  {name}\n")
    with pytest.raises(CheckpointError, match="leaves the folder"):
        read_sums(folder)


@pytest.mark.parametrize("line", ["abc  config.json", "0" * 64, "<html>", "0" * 64 + " config.json"])
def test_a_line_that_is_none_is_told_with_its_number(folder, line):
    sums = (folder / "SHA256SUMS").read_text()
    (folder / "SHA256SUMS").write_text(sums + line + "\n")
    with pytest.raises(CheckpointError, match=r"not a line of `sha256sum`") as caught:
        read_sums(folder)
    assert str(caught.value.where).endswith("SHA256SUMS:4")


def test_results_in_the_card_renew_its_sum_and_that_of_no_namesake(tmp_path):
    (tmp_path / "openai").mkdir()
    (tmp_path / "openai" / "README.md").write_text("another card")
    (tmp_path / "README.md").write_text("# Card\n<!-- results -->\nnone\n<!-- /results -->\n")
    write_sums(tmp_path)
    assert write_results(tmp_path, "| esc10 | 80 |")
    assert compare_sums(tmp_path).sound
    (tmp_path / "openai" / "README.md").write_text("changed")
    write_results(tmp_path, "| esc10 | 90 |")
    assert compare_sums(tmp_path).lines() == ["changed: openai/README.md"]
