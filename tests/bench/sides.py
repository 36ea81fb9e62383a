"""Small sides for tests of taking turns; a module of their own, so that a fresh process can import them."""

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
