"""Audio in shards and behind URLs: one ranged read a clip, from disk, memory and a real HTTP server."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import fsspec
import numpy as np
import pytest
import soundfile

from whisper_aut.data import locate as locate_module
from whisper_aut.data.audio import read_waveform
from whisper_aut.data.locate import AudioBytes, locate
from whisper_aut.data.tarfiles import BLOCK, END, packed
from whisper_aut.errors import AudioError, EnvironmentProblem, ManifestError

needs_http = pytest.mark.skipif(find_spec("aiohttp") is None, reason="fsspec[http] is not installed")


def _flac(hertz: float, duration_sec: float = 1.0) -> bytes:
    buffer = io.BytesIO()
    time_sec = np.arange(round(16_000 * duration_sec)) / 16_000
    soundfile.write(buffer, 0.5 * np.sin(2 * np.pi * hertz * time_sec), 16_000, format="FLAC")
    return buffer.getvalue()


def _shard(files: dict[str, bytes]) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """A shard, and offset and size of every member's data."""
    content, places = b"", {}
    for name, data in files.items():
        places[name] = (len(content) + BLOCK, len(data))
        content += packed(name, data)
    return content + END, places


@pytest.fixture
def shard(tmp_path):
    """A shard of three tones: its path, its members' places, their waveforms."""
    files = {f"{hertz}.flac": _flac(hertz) for hertz in (300, 500, 700)}
    content, places = _shard(files)
    (tmp_path / "s.tar").write_bytes(content)
    waves = {name: soundfile.read(io.BytesIO(data), dtype="float32")[0] for name, data in files.items()}
    return tmp_path / "s.tar", places, waves


def _read(path, place):
    return read_waveform(locate(f"{path}#{place[0]}:{place[1]}", Path("/")))


def test_each_form_is_what_it_says(tmp_path):
    folder = tmp_path.resolve()
    assert locate("a/b.wav", folder) == folder / "a" / "b.wav"
    assert locate("/x/b.wav", folder) == Path("/x/b.wav")
    assert locate("file:///x/b.wav", folder) == Path("/x/b.wav")
    assert locate("s.tar#512:9", folder) == AudioBytes(str(folder / "s.tar"), 512, 9)
    assert locate("/x/s.tar#1024:9", folder) == AudioBytes("/x/s.tar", 1024, 9)
    assert locate("file:///x/s.tar#512:9", folder) == AudioBytes("/x/s.tar", 512, 9)
    assert locate("https://host/a.flac?v=1", folder) == AudioBytes("https://host/a.flac?v=1")
    assert locate("hf://datasets/x/y/s.tar#512:9", folder) == AudioBytes("hf://datasets/x/y/s.tar", 512, 9)
    for text in ("https://host/s.tar#512:9", "/x/s.tar#1024:9"):
        assert str(locate(text, folder)) == text


@pytest.mark.parametrize("audio", ["s.tar#512", "s.tar#0:5", "s.tar#513:5", f"s.tar#512:{2**40}"])
def test_what_is_no_member_is_refused_without_a_check_of_the_manifest_too(audio, tmp_path):
    with pytest.raises(ManifestError):
        locate(audio, tmp_path)


def test_a_shard_may_not_be_linked_from_outside(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside.tar").touch()
    (tmp_path / "inside" / "s.tar").symlink_to(tmp_path / "outside.tar")
    with pytest.raises(ManifestError, match="leads out of"):
        locate("s.tar#512:9", (tmp_path / "inside").resolve())


def test_members_are_read_without_their_neighbours(shard):
    path, places, waves = shard
    for name, wave in waves.items():
        np.testing.assert_array_equal(_read(path, places[name]), wave)
    offset, size = places["500.flac"]
    part = read_waveform(AudioBytes(str(path), offset, size), offset_sec=0.25, duration_sec=0.5)
    np.testing.assert_array_equal(part, waves["500.flac"][4_000:12_000])


def test_a_replaced_shard_is_noticed_and_a_removed_one_is_named(shard):
    path, places, waves = shard
    _read(path, places["700.flac"])
    other, other_places = _shard({"a.flac": _flac(300, 2.0), "700.flac": _flac(700)})
    path.with_suffix(".new").write_bytes(other)
    path.with_suffix(".new").replace(path)
    with pytest.raises(AudioError, match="not the one that the manifest was made for"):
        _read(path, places["500.flac"])
    np.testing.assert_array_equal(_read(path, other_places["700.flac"]), waves["700.flac"])
    path.unlink()
    with pytest.raises(AudioError, match="cannot be read: No such file"):
        _read(path, other_places["700.flac"])


def test_references_beyond_the_end_or_beside_a_member_are_refused(shard):
    path, places, _ = shard
    size = path.stat().st_size
    with pytest.raises(AudioError, match=f"ends at byte {size + 512 + 9}, the shard at {size}"):
        _read(path, (size + 512, 9))
    offset, length = places["300.flac"]
    with pytest.raises(AudioError, match="no member begins there"):
        _read(path, (offset + 512, 100))
    with pytest.raises(AudioError, match=f"the member there has {length}"):
        _read(path, (offset, length - 1))
    os.truncate(path, places["700.flac"][0] + 100)
    with pytest.raises(AudioError, match="cut off"):
        _read(path, places["700.flac"])
    (path.parent / "folder.tar").mkdir()
    with pytest.raises(AudioError, match="no regular file"):
        _read(path.parent / "folder.tar", (512, 9))
    os.mkfifo(path.parent / "pipe.tar")
    with pytest.raises(AudioError, match="no regular file"):
        _read(path.parent / "pipe.tar", (512, 9))


def test_few_shards_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr(locate_module, "MAX_OPEN_SHARDS", 4)
    content, places = _shard({"a.flac": _flac(300)})
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(40):
        (tmp_path / f"{number}.tar").write_bytes(content)
        _read(tmp_path / f"{number}.tar", places["a.flac"])
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 4


def test_threads_may_crowd_one_another_out(tmp_path, monkeypatch):
    monkeypatch.setattr(locate_module, "MAX_OPEN_SHARDS", 1)
    expected = {}
    for number in range(6):
        content, places = _shard({"a.flac": _flac(200 + 100 * number)})
        (tmp_path / f"{number}.tar").write_bytes(content)
        expected[number] = _read(tmp_path / f"{number}.tar", places["a.flac"]), places["a.flac"]
    wrong: list[object] = []

    def work(seed: int) -> None:
        for number in np.random.default_rng(seed).integers(0, 6, 60).tolist():
            try:
                wave, place = expected[number]
                if not np.array_equal(_read(tmp_path / f"{number}.tar", place), wave):
                    wrong.append(number)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_fork_while_another_thread_opens_a_shard_does_not_hang(shard):
    path, places, waves = shard
    _read(path, places["300.flac"])
    with locate_module._open_shards._lock:  # as another thread would hold it
        child = os.fork()
        if child == 0:
            good = False
            with contextlib.suppress(Exception):
                good = all(np.array_equal(_read(path, places[name]), wave) for name, wave in waves.items())
            os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_memory_urls_are_read_whole_and_by_member(shard):
    path, places, waves = shard
    files = fsspec.filesystem("memory")
    files.pipe_file("/locate/s.tar", path.read_bytes())
    files.pipe_file("/locate/a.flac", _flac(300))
    np.testing.assert_array_equal(_read("memory://locate/s.tar", places["500.flac"]), waves["500.flac"])
    np.testing.assert_array_equal(read_waveform(AudioBytes("memory://locate/a.flac")), waves["300.flac"])
    with pytest.raises(AudioError, match="FileNotFoundError"):
        read_waveform(AudioBytes("memory://locate/none.flac"))
    with pytest.raises(AudioError, match="no member begins there"):
        _read("memory://locate/s.tar", (places["500.flac"][0] + 512, 9))


def test_what_a_url_gives_is_bounded(monkeypatch):
    monkeypatch.setattr(locate_module, "MAX_AUDIO_BYTES", 1000)
    fsspec.filesystem("memory").pipe_file("/locate/big.flac", bytes(2000))
    with pytest.raises(AudioError, match="at most"):
        read_waveform(AudioBytes("memory://locate/big.flac"))


@pytest.mark.skipif(find_spec("s3fs") is not None, reason="s3fs is installed")
def test_a_missing_package_is_no_fault_of_the_clip():
    with pytest.raises(EnvironmentProblem, match="s3fs") as caught:
        read_waveform(AudioBytes("s3://bucket/a.flac"))
    assert "pip install" in str(caught.value)


class _Server(ThreadingHTTPServer):
    """Serves bytes with ranges; keeps what was asked for."""

    files: dict[str, bytes]
    asked: list[tuple[str, str, str | None]]
    ranges, endless, num_failures, num_sent = True, False, 0, 0


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.asked.append(("GET", self.path, wanted))
        content = self.server.files.get(self.path)
        if self.server.num_failures:
            self.server.num_failures -= 1
            self._answer(503, b"")
        elif content is None:
            self._answer(404, b"")
        elif self.server.endless:
            self._answer_without_end(content)
        elif wanted is None or not self.server.ranges:
            self._answer(200, content)
        else:
            first, last = wanted.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last) + 1, len(content))
            if start >= len(content):
                self._answer(416, b"")
            else:
                self._answer(206, content[start:end], {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"})

    def do_HEAD(self):
        self.server.asked.append(("HEAD", self.path, None))
        self._answer(200, b"")

    def _answer(self, status, body, headers=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _answer_without_end(self, content):
        self.send_response(200)
        self.send_header("Content-Length", str(2**40))
        self.end_headers()
        with contextlib.suppress(OSError):  # the reader has heard enough
            while True:
                self.wfile.write(content)
                self.server.num_sent += len(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = _Server(("127.0.0.1", 0), _Handler)
    server.files, server.asked = {}, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@needs_http
def test_one_clip_is_one_ranged_request(shard, server):
    path, places, waves = shard
    server.files["/s.tar"] = path.read_bytes()
    url = f"http://127.0.0.1:{server.server_port}/s.tar"
    for name, (offset, size) in places.items():
        np.testing.assert_array_equal(_read(url, (offset, size)), waves[name])
        assert server.asked.pop() == ("GET", "/s.tar", f"bytes={offset - 512}-{offset + size - 1}")
        assert not server.asked


@needs_http
def test_whole_files_come_by_http_too_and_errors_are_named(server, monkeypatch):
    monkeypatch.setattr(locate_module, "_RETRY_AFTER_SEC", (0.0, 0.0))
    server.files["/a.flac"] = _flac(300)
    url = f"http://127.0.0.1:{server.server_port}"
    assert len(read_waveform(AudioBytes(f"{url}/a.flac"))) == 16_000
    assert len(server.asked) == 1
    with pytest.raises(AudioError, match="FileNotFoundError"):
        read_waveform(AudioBytes(f"{url}/none.flac"))
    server.num_failures = 2  # a hitch
    assert len(read_waveform(AudioBytes(f"{url}/a.flac"))) == 16_000
    server.num_failures = 3
    with pytest.raises(AudioError, match="503"):
        read_waveform(AudioBytes(f"{url}/a.flac"))


@needs_http
def test_a_server_that_does_not_know_ranges_or_a_shorter_shard_is_refused(shard, server):
    path, places, _ = shard
    server.files["/s.tar"] = path.read_bytes()[: places["700.flac"][0] + 100]
    url = f"http://127.0.0.1:{server.server_port}/s.tar"
    with pytest.raises(AudioError, match="bytes too early"):
        _read(url, places["700.flac"])
    server.ranges = False
    for name in ("300.flac", "500.flac"):
        with pytest.raises(AudioError, match="does not know ranges"):
            _read(url, places[name])


@needs_http
def test_a_server_without_ranges_cannot_fill_the_memory(shard, server):
    path, places, _ = shard
    server.files["/s.tar"] = path.read_bytes()
    server.endless = True
    with pytest.raises(AudioError, match="does not know ranges"):
        _read(f"http://127.0.0.1:{server.server_port}/s.tar", places["300.flac"])
    assert server.num_sent < 64 * 2**20  # what lay in buffers; a terabyte was promised


@needs_http
def test_forked_processes_read_urls_that_their_parent_has_read(shard, server):
    path, places, waves = shard
    server.files["/s.tar"] = path.read_bytes()
    url = f"http://127.0.0.1:{server.server_port}/s.tar"
    _read(url, places["300.flac"])
    children = []
    for name in waves:
        child = os.fork()
        if child == 0:
            good = False
            with contextlib.suppress(Exception):
                good = np.array_equal(_read(url, places[name]), waves[name])
            os._exit(0 if good else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
