"""Our encoders in the hands of other evaluation suites: X-ARES and mteb. Neither is imported before it is needed."""

from __future__ import annotations

import importlib
from types import ModuleType

from whisper_aut.errors import EnvironmentProblem, ProbeError
from whisper_aut.probe.tasks.labelled import Task


def import_suite(module: str) -> ModuleType:
    """A module of a package that only the extra ``[bridges]`` installs.

    Raises:
        EnvironmentProblem: it is not installed, or does not work.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EnvironmentProblem(
            f"this needs the package {package}, which cannot be imported: {reason}",
            remedy="pip install 'whisper-aut[bridges]'",
        ) from None


def check_folds(task: Task, suite: str) -> None:
    """Refuse what the bridge to ``suite`` would have to bend.

    Raises:
        ProbeError: the task has a fixed split or several labels a clip.
    """
    if task.fixed or task.metric != "accuracy":
        what = "a fixed split" if task.fixed else "several labels a clip"
        raise ProbeError(
            f"the task {task.name} has {what}; the bridge to {suite} takes folds and one label a clip",
            where=str(task.folder),
            remedy="probe it with `whisper-aut probe`, which has X-ARES' protocols too",
        )
