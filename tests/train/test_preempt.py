"""Real signals to this and to a child process."""

import os
import signal
import subprocess
import sys

import pytest

from whisper_aut.train.preempt import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_asks_for_a_stop_and_the_process_lives(number):
    with StopRequest() as stop:
        assert not stop.asked
        os.kill(os.getpid(), number)
        assert stop.asked
        assert stop.signal_name == number.name


def test_the_handlers_from_before_come_back():
    received = []
    before = signal.signal(signal.SIGUSR1, lambda *_: received.append(1))
    try:
        with StopRequest():
            os.kill(os.getpid(), signal.SIGUSR1)
        assert received == []
        os.kill(os.getpid(), signal.SIGUSR1)
        assert received == [1]
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_second_signal_ends_the_process_at_once(number):
    code = (
        "import sys, time\nfrom whisper_aut.train.preempt import StopRequest\n"
        "with StopRequest() as stop:\n"
        "    print('ready', flush=True)\n"
        "    while not stop.asked: time.sleep(0.01)\n"
        "    print('asked', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        assert child.stdout.readline() == "asked\n"
        child.send_signal(number)
        assert child.wait(timeout=20) == -number
