"""The agent is run as a machine runs it: its source alone, in a Python of its own, asked over pipes."""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from whisper_aut.doctor import agent


@pytest.fixture
def ask():
    """Asks one agent, which knows nothing of this package."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", Path(agent.__file__).read_text()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def ask(do: str, **arguments: object) -> dict:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line.startswith(agent.MARK)
        return json.loads(line.removeprefix(agent.MARK))

    ask.end = lambda: process.communicate(timeout=60)
    yield ask
    process.kill()
    process.wait()


def test_its_source_is_ascii_and_needs_no_package():
    source = Path(agent.__file__).read_text(encoding="ascii")
    assert "whisper_aut" not in source


def test_the_clock_is_that_of_the_machine(ask):
    before = time.time()
    assert before - 1e-3 <= ask("clock")["time_sec"] <= time.time() + 1e-3


def test_free_space_is_that_of_the_folder(ask, tmp_path):
    assert ask("disk", folder=str(tmp_path))["free_bytes"] > 0
    assert ask("disk", folder="")["free_bytes"] > 0
    assert "No such file" in ask("disk", folder=str(tmp_path / "nowhere"))["error"]


def test_a_file_is_left_found_and_taken_away_at_the_end(ask, tmp_path):
    path = str(tmp_path / "token")
    assert ask("leave", path=path, token="abc") == {}
    assert ask("look", path=path, token="abc", wait_sec=0) == {"same": True}
    assert ask("look", path=path, token="abd", wait_sec=0) == {"same": False, "folder": True}
    assert "File exists" in ask("leave", path=path, token="abc")["error"]
    ask.end()
    assert not list(tmp_path.iterdir())


def test_what_others_put_there_stays(ask, tmp_path):
    (tmp_path / "token").write_text("theirs")
    assert "error" in ask("leave", path=str(tmp_path / "token"), token="abc")
    ask.end()
    assert (tmp_path / "token").read_text() == "theirs"


def test_a_folder_that_is_not_there_is_told_from_another_one(ask, tmp_path):
    assert ask("look", path=str(tmp_path / "no" / "token"), token="a", wait_sec=0) == {"same": False, "folder": False}


def test_a_port_that_another_program_answers_on_is_not_the_first_machine(ask):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert "Address already in use" in ask("listen", port=port, token="abc")["error"]
        server.settimeout(60)
        process_asked = {"address": "127.0.0.1", "port": port, "token": "abc"}

        def answer() -> None:
            connection, _ = server.accept()
            connection.sendall(b"HTTP")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        assert ask("reach", **process_asked) == {"error": "another program answers there"}
        thread.join()


def test_a_question_it_does_not_know_is_an_error_and_the_next_is_answered(ask):
    assert "error" in ask("sing")
    assert "time_sec" in ask("clock")
