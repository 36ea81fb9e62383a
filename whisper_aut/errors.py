"""What can go wrong for a user: each error says what is wrong, where, and how to mend it.

``whisper_aut.cli`` prints these without a traceback and leaves with ``exit_code``. Anything else that escapes is a
bug of ours and keeps its traceback.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_DONE = 0
EXIT_RANK_LOST = 1
EXIT_WRONG_INPUT = 2
EXIT_GATE_FAILED = 3
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL: run the same command again and it goes on


class WhisperAutError(Exception):
    """A mistake that the user can mend.

    Args:
        what: what is wrong, with the value that was found.
        where: ``file:line``, a field of the recipe or a clip id.
        remedy: what to do about it, as an instruction.
    """

    exit_code: ClassVar[int] = EXIT_WRONG_INPUT

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """The message, one thought a line: what, where, remedy."""
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.remedy:
            lines.append(f"  remedy: {self.remedy}")
        return lines

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and loader workers send errors to their parent.
        return (_rebuild, (type(self), self.what, self.where, self.remedy))


def first_line(error: BaseException) -> str:
    """What an exception of a library says, in one line; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _rebuild(cls: type[WhisperAutError], what: str, where: str | None, remedy: str | None) -> WhisperAutError:
    return cls(what, where=where, remedy=remedy)


class RecipeError(WhisperAutError):
    """A recipe, an override or a DeepSpeed strategy that cannot be used."""


class ManifestError(WhisperAutError):
    """A manifest, or one row of it, that cannot be used."""


class SourceError(WhisperAutError):
    """The description of a corpus, or the corpus on disk, that cannot be used."""


class AudioError(WhisperAutError):
    """A clip's audio that cannot be read, or is over the limits."""


class BaseModelError(WhisperAutError):
    """A base model or an exported encoder that cannot be loaded."""


class CheckpointError(WhisperAutError):
    """A run folder or a checkpoint that cannot be resumed or exported."""


class ProbeError(WhisperAutError):
    """A probing task or a probe result that cannot be used."""


class EnvironmentProblem(WhisperAutError):
    """A missing package or an unusable installation."""


class RankLost(WhisperAutError):
    """Another rank of the run died or hangs; what it had saved stands."""

    exit_code = EXIT_RANK_LOST


class LoaderLost(WhisperAutError):
    """A process that loads data was killed."""

    exit_code = EXIT_RANK_LOST


class HostfileError(WhisperAutError):
    """A list of machines that cannot be used."""


class GateFailed(WhisperAutError):
    """What was found is outside what the gate allows: a task lost too much, or audio of an evaluation set leaks."""

    exit_code = EXIT_GATE_FAILED


class Interrupted(WhisperAutError):
    """The run was asked to stop and saved a checkpoint first."""

    exit_code = EXIT_INTERRUPTED
