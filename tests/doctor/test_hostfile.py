"""Hostfiles as DeepSpeed reads them; a mistake is named by file and line."""

import pytest

from whisper_aut.doctor.hostfile import Host, read_hostfile
from whisper_aut.errors import HostfileError


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        path = tmp_path / "hosts"
        path.write_text(text)
        return path

    return write


def test_machines_in_the_order_of_the_file_without_comments_and_blank_lines(write):
    path = write("# a cluster\n\nnode-2.local   slots=8   # the first\n  10.0.0.7\tslots=16\r\n")
    assert read_hostfile(path) == [Host("node-2.local", 8), Host("10.0.0.7", 16)]


def test_deepspeed_reads_the_same_from_it(write):
    runner = pytest.importorskip("deepspeed.launcher.runner")
    path = write("# a cluster\n\nnode-2.local   slots=8   # the first\n  10.0.0.7\tslots=16\n")
    found = runner.fetch_hostfile(str(path))
    assert list(found.items()) == [(host.name, host.slots) for host in read_hostfile(path)]


@pytest.mark.parametrize(
    "line",
    ["node-1", "node-1 slots=0", "node-1 slots=x", "node-1 slots=-1", "node 1 slots=2", "node-1 slots=2 slots=2",
     "-oProxyCommand=x slots=1", "a;rm slots=1", "$(x) slots=1", "`x` slots=1", "a\x1b[31m slots=1", "node-1 slots=٣"],
)  # fmt: skip
def test_a_line_that_says_something_else_is_named(write, line):
    with pytest.raises(HostfileError) as caught:
        read_hostfile(write(f"node-0 slots=1\n\n{line}\n"))
    assert caught.value.where is not None and caught.value.where.endswith("hosts:3")
    assert repr(line) in caught.value.what
    assert "\x1b" not in str(caught.value)


def test_a_machine_that_stands_there_twice_is_named_with_both_lines(write):
    with pytest.raises(HostfileError, match=r"a stands here twice, first in line 1\n  where: .*hosts:3"):
        read_hostfile(write("a slots=1\nb slots=1\na slots=2\n"))


@pytest.mark.parametrize("text", ["", "# nobody\n\n"])
def test_a_hostfile_without_a_machine_is_refused(write, text):
    with pytest.raises(HostfileError, match="names no machine"):
        read_hostfile(write(text))


def test_a_hostfile_that_is_missing_a_folder_or_no_text_is_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "nowhere", tmp_path, tmp_path / "binary"):
        with pytest.raises(HostfileError, match="cannot be read"):
            read_hostfile(path)
