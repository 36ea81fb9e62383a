"""The line of progress, on a terminal and in a log file."""

import io

import pytest

from whisper_aut import progress
from whisper_aut.progress import Progress, format_duration, track


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Time that stands until a test moves it."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"), (0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (3599, "59 min 59 s"),
        (3600, "1 h 00 min"), (7 * 3600 + 12 * 60 + 59, "7 h 12 min"), (100 * 3600, "100 h 00 min"),
    ],
)  # fmt: skip
def test_durations_read_as_a_person_says_them(seconds, text):
    assert format_duration(seconds) == text


def test_says_how_far_how_fast_and_how_long(clock):
    stream = io.StringIO()
    line = Progress("embed", 100, unit="clips", stream=stream)
    clock[0] += 5
    line.advance(20, "esc10")
    assert stream.getvalue() == "embed: 20/100 clips, 4 clips/s, 20 s left, esc10\n"


def test_a_log_file_gets_a_line_now_and_then_and_one_at_the_end(clock):
    stream = io.StringIO()
    line = Progress("embed", 60, unit="clips", stream=stream, log_every_sec=15)
    for _ in range(60):
        clock[0] += 1
        line.advance()
    assert [text.split(",")[0] for text in stream.getvalue().splitlines()] == [
        f"embed: {done}/60 clips" for done in (2, 17, 32, 47, 60)
    ]


def test_a_terminal_gets_one_live_line(clock):
    stream = Terminal()
    line = Progress("embed", 4, unit="clips", stream=stream)
    for _ in range(4):
        clock[0] += 1
        line.advance()
    assert stream.getvalue().count("\r") == 2
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("4/4 clips, 1 clips/s, 0 s left\n")


def test_the_first_two_seconds_promise_nothing(clock):
    stream = Terminal()
    line = Progress("embed", 100, unit="clips", stream=stream)
    clock[0] += 1.9
    line.advance()
    assert stream.getvalue() == ""
    clock[0] += 0.2
    line.advance()
    assert "2/100 clips" in stream.getvalue()


def test_other_ranks_are_silent(clock):
    stream = io.StringIO()
    Progress("embed", 1, unit="clips", stream=stream, enabled=False).advance()
    assert stream.getvalue() == ""


def test_track_yields_everything_in_order(capsys):
    assert list(track(iter("abc"), "read", total=3, unit="letters")) == ["a", "b", "c"]
    assert "read: 3/3 letters" in capsys.readouterr().err
