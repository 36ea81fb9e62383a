"""Fetching from a real server on this machine: whole, resumed, wrong, refused, offline."""

import dataclasses
import hashlib
import io
import shutil
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.tasks import fetch as fetch_module
from whisper_aut.probe.tasks import unpack as unpack_module
from whisper_aut.probe.tasks.benchmark import Archive
from whisper_aut.probe.tasks.esc50 import ESC50
from whisper_aut.probe.tasks.fetch import fetch
from whisper_aut.probe.tasks.vocalsound import VOCALSOUND

CSV = "filename,fold,target,category,esc10,src_file,take\n1-1-A-0.wav,1,0,dog,True,1,A\n"


class Server:
    """Files by path, what was asked for, and how it misbehaves."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges: list[str | None] = []  # of every request
        self.cut_after: list[int] = []  # bytes after which the next answers break off
        self.knows_ranges = True
        self.status = 0  # answered to everything where it is not 0
        self.address = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = state.files.get(self.path.partition("?")[0])
            wanted = self.headers.get("Range")
            state.ranges.append(wanted)
            if state.status or content is None:
                self.send_error(state.status or 404)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and state.knows_ranges else 0
            if start >= len(content) and start:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            body = content[start:]
            if state.cut_after:
                body = body[: state.cut_after.pop(0)]
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield state
    running.shutdown()
    running.server_close()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def packed() -> bytes:
    noise = bytes(hashlib.sha256(str(n).encode()).digest()[0] for n in range(5000))
    return zipped({"ESC-50-master/meta/esc50.csv": CSV.encode(), "ESC-50-master/audio/1-1-A-0.wav": noise})


@pytest.fixture
def benchmark(server, packed):
    server.files["/master.zip"] = packed
    digest = hashlib.md5(packed).hexdigest()
    archive = Archive(f"{server.address}/master.zip?download=1", f"md5:{digest}")
    return dataclasses.replace(ESC50, archives=(archive,))


def test_a_benchmark_is_fetched_verified_unpacked_and_found(benchmark, server, tmp_path, capsys):
    folder = fetch(benchmark, tmp_path / "data")
    assert folder == tmp_path / "data" / "esc50" / "ESC-50-master"
    assert (folder / "meta" / "esc50.csv").read_text() == CSV
    assert sorted(path.name for path in folder.parent.iterdir()) == [".master.zip.done", "ESC-50-master"]
    assert server.ranges == [None]
    assert fetch(benchmark, tmp_path / "data") == folder  # nothing is asked for again
    assert server.ranges == [None] and "is there already" in capsys.readouterr().err


def test_archives_are_kept_where_it_is_asked_for(benchmark, packed, tmp_path):
    fetch(benchmark, tmp_path, keep_archives=True)
    assert (tmp_path / "esc50" / "master.zip").read_bytes() == packed


def test_a_transfer_that_breaks_off_goes_on_where_it_was(benchmark, server, packed, tmp_path):
    server.cut_after = [1000, 700]
    fetch(benchmark, tmp_path)
    assert server.ranges == [None, "bytes=1000-", "bytes=1700-"]


def test_another_process_goes_on_with_what_one_left(benchmark, server, packed, tmp_path):
    (tmp_path / "esc50").mkdir()
    (tmp_path / "esc50" / "master.zip.partial").write_bytes(packed[:1234])
    fetch(benchmark, tmp_path)
    assert server.ranges == ["bytes=1234-"]


def test_a_server_that_knows_no_ranges_sends_all_again(benchmark, server, packed, tmp_path):
    server.knows_ranges = False
    (tmp_path / "esc50").mkdir()
    (tmp_path / "esc50" / "master.zip.partial").write_bytes(packed[:1234])
    fetch(benchmark, tmp_path)
    assert server.ranges == ["bytes=1234-"]


def test_a_partial_file_that_is_whole_is_only_verified(benchmark, server, packed, tmp_path):
    (tmp_path / "esc50").mkdir()
    (tmp_path / "esc50" / "master.zip.partial").write_bytes(packed)
    assert fetch(benchmark, tmp_path).is_dir()


def test_a_file_put_there_by_hand_is_taken_without_the_network(benchmark, server, packed, tmp_path):
    (tmp_path / "esc50").mkdir()
    (tmp_path / "esc50" / "master.zip").write_bytes(packed)
    fetch(benchmark, tmp_path)
    assert server.ranges == []


def test_a_wrong_checksum_is_refused_before_anything_is_opened(benchmark, server, packed, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "unpack", None)  # opening would fail
    server.files["/master.zip"] = packed[:-1] + b"x"
    with pytest.raises(
        ProbeError, match=r"master\.zip is not the file that was pinned: its md5 is .*expected"
    ) as caught:
        fetch(benchmark, tmp_path)
    assert [path.name for path in (tmp_path / "esc50").iterdir()] == ["master.zip.unverified"]
    assert "unverified" in str(caught.value.where)


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_says_what_which_address_and_how_by_hand(benchmark, server, tmp_path, status):
    server.status = status
    with pytest.raises(ProbeError, match=f"the server answers {status}") as caught:
        fetch(benchmark, tmp_path)
    assert caught.value.exit_code == 2
    assert caught.value.where == f"{server.address}/master.zip?download=1"
    assert str(tmp_path / "esc50" / "master.zip") in str(caught.value.remedy)
    assert len(server.ranges) == 1


def test_offline_and_servers_in_trouble_are_users_errors(benchmark, server, tmp_path):
    server.status = 503
    with pytest.raises(ProbeError, match="503"):
        fetch(benchmark, tmp_path)
    assert len(server.ranges) == fetch_module.NUM_ATTEMPTS
    closed = dataclasses.replace(benchmark, archives=(Archive("http://127.0.0.1:1/master.zip", "md5:" + "0" * 32),))
    with pytest.raises(ProbeError, match=r"master\.zip of ESC-50 cannot be fetched: .*refused"):
        fetch(closed, tmp_path)


def test_what_cannot_be_fetched_is_sent_to_its_owner(tmp_path):
    with pytest.raises(ProbeError, match="VocalSound cannot be fetched") as caught:
        fetch(VOCALSOUND, tmp_path)
    assert "vs_release_16k.zip" in str(caught.value.remedy) and str(tmp_path / "vocalsound") in str(caught.value.remedy)


def test_too_little_room_is_said_before_the_transfer(benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(ProbeError, match="GB are free"):
        fetch(benchmark, tmp_path)
    assert not list(tmp_path.rglob("*.partial"))


def test_an_archive_of_another_layout_says_which_is_read(benchmark, server, tmp_path):
    content = zipped({"other/file": b"x"})
    server.files["/master.zip"] = content
    archive = dataclasses.replace(benchmark.archives[0], checksum=f"sha256:{hashlib.sha256(content).hexdigest()}")
    with pytest.raises(ProbeError, match=r"does not hold meta/esc50\.csv"):
        fetch(dataclasses.replace(benchmark, archives=(archive,)), tmp_path)


def test_after_a_failed_second_archive_the_first_is_not_fetched_again(benchmark, server, packed, tmp_path):
    first = benchmark.archives[0]
    content = zipped({"second/file": b"x"})
    second = Archive(f"{server.address}/second.zip", f"sha1:{hashlib.sha1(content).hexdigest()}", into="more")
    both = dataclasses.replace(benchmark, archives=(first, second), marker="../more/second/file")
    with pytest.raises(ProbeError, match="404"):
        fetch(both, tmp_path)
    server.files["/second.zip"] = content
    server.ranges.clear()
    fetch(both, tmp_path)
    assert server.ranges == [None]
    assert (tmp_path / "esc50" / "more" / "second" / "file").read_bytes() == b"x"


@pytest.fixture
def volumes(server, tmp_path):
    """A zip archive in volumes, made by Info-ZIP, on the server."""
    if shutil.which("zip") is None:
        pytest.skip("the program zip is not installed")
    import subprocess

    source = tmp_path / "source"
    (source / "meta").mkdir(parents=True)
    (source / "meta" / "esc50.csv").write_text(CSV)
    for number in range(16):  # Info-ZIP joins wrongly what fills a whole volume: members are smaller than that
        noise = b"".join(hashlib.sha256(f"{number} {n}".encode()).digest() for n in range(300))
        (source / f"noise{number}").write_bytes(noise)
    subprocess.run(["zip", "-q", "-r", "-s", "64k", "../whole.zip", "."], cwd=source, check=True)
    archives = []
    for path in sorted(tmp_path.glob("whole.z*")):
        server.files[f"/{path.name}"] = path.read_bytes()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        archives.append(Archive(f"{server.address}/{path.name}", f"sha256:{digest}"))
    last = next(archive for archive in archives if archive.file == "whole.zip")
    return dataclasses.replace(last, volumes=tuple(archive for archive in archives if archive is not last))


def test_an_archive_in_volumes_is_joined(benchmark, volumes, tmp_path):
    assert len(volumes.volumes) == 2
    folder = fetch(dataclasses.replace(benchmark, archives=(volumes,)), tmp_path / "data")
    assert (folder / "meta" / "esc50.csv").read_text() == CSV
    assert len(list(folder.glob("noise*"))) == 16
    assert not list(folder.glob("whole*"))


def test_without_the_program_that_joins_volumes_nothing_is_lost(benchmark, volumes, tmp_path, monkeypatch):
    monkeypatch.setattr(unpack_module.shutil, "which", lambda _: None)
    with pytest.raises(ProbeError, match="'zip', which joins them, is not installed"):
        fetch(dataclasses.replace(benchmark, archives=(volumes,)), tmp_path / "data")
    assert len(list((tmp_path / "data" / "esc50").glob("whole.z*"))) == 3
