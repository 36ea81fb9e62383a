"""Small sides for tests of taking turns; a module of their own, so that a fresh process can import them."""

import os
import signal
import time

from whisper_aut.bench.turns import Baton, Step
from whisper_aut.errors import ManifestError


def two_steps(baton: Baton, losses: list[float]) -> None:
    baton.ready()
    for loss in losses:
        baton.step_done(Step(loss, ("a", "b"), 1, 0))


def mistaken(baton: Baton, job: str) -> None:
    raise ManifestError(job)


def broken(baton: Baton, job: None) -> None:
    raise KeyError("a bug")


def good():
    yield {"status": "ok", "clips/s": 2.0}


def good_then_bad():
    yield {"status": "ok", "clips/s": 3.0}
    raise KeyError("a bug")


def endless():
    yield {"status": "ok", "clips/s": 4.0}
    time.sleep(60)


def dying():
    yield {"status": "ok", "clips/s": 5.0}
    os.kill(os.getpid(), signal.SIGKILL)


def importing():
    import no_such_package_anywhere

    yield {"status": str(no_such_package_anywhere)}
