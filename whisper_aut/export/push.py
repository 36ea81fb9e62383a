"""Share an export on a model hub: what is sent is what was exported, said before it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from whisper_aut.errors import CheckpointError, EnvironmentProblem, GateFailed, first_line
from whisper_aut.export.about import read_about
from whisper_aut.export.sums import SUMS, compare_sums, files_of

CARD = "README.md"


@dataclass(frozen=True)
class Shipment:
    """What would be uploaded.

    Attributes:
        folder: the export.
        sizes: bytes of each file, by path inside the folder.
        card: the model card, Markdown with its YAML head.
    """

    folder: Path
    sizes: dict[str, int]
    card: str

    @property
    def num_bytes(self) -> int:
        """All files together."""
        return sum(self.sizes.values())


def prepare(folder: Path) -> Shipment:
    """Check an export before it leaves: every file's hash, and a card that a hub can read.

    Raises:
        CheckpointError: the folder is no export, has no sums or no usable card.
        GateFailed: files are missing, changed or extra.
    """
    read_about(folder)
    verdict = compare_sums(folder)
    if not verdict.sound:
        raise GateFailed(
            "the folder is not what was exported, so it is not uploaded:\n"
            + "\n".join(f"  {line}" for line in verdict.lines()),
            where=str(folder),
            remedy="export again, or take out what does not belong there",
        )
    return Shipment(
        folder, {name: (folder / name).stat().st_size for name in [*files_of(folder), SUMS]}, _checked_card(folder)
    )


def push(shipment: Shipment, repo_id: str, *, private: bool = False) -> str:
    """Upload; the address of the commit.

    Files that the hub has already are not sent again, and all appear in one commit: an upload that was interrupted
    leaves nothing visible, and the same call again sends the rest. Files in the repository that the export does not
    have stay there.

    Args:
        shipment: from :func:`prepare`.
        repo_id: ``USER/NAME``.
        private: whether the repository, where it is made now, is for its owner alone. One that is there keeps its own.

    Raises:
        CheckpointError: ``repo_id`` is no name of a repository.
        EnvironmentProblem: there is no token, the hub does not answer, refuses, or the connection breaks.
    """
    from huggingface_hub import HfApi, get_token

    check_repo_id(repo_id)
    with _told(repo_id):
        if get_token() is None:
            raise EnvironmentProblem(
                "there is no token for the model hub",
                remedy="make one that may write (https://huggingface.co/settings/tokens), then `hf auth login` or "
                "HF_TOKEN=…",
            )
        api = HfApi()
        api.create_repo(repo_id, repo_type="model", private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            repo_type="model",
            folder_path=shipment.folder,
            allow_patterns=list(shipment.sizes),
            commit_message="Upload of an export of whisper-aut",
        )
    return str(commit.commit_url)


def check_repo_id(repo_id: str) -> None:
    """Whether ``repo_id`` is ``USER/NAME``, as a hub takes it.

    Raises:
        CheckpointError: it is not.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo_id)
        if repo_id.count("/") != 1:
            raise HFValidationError("it has no owner before a '/'")
    except HFValidationError as error:
        raise CheckpointError(
            f"'{repo_id}' is no name of a repository: {first_line(error)}",
            remedy="give USER/NAME, as in ada/my-encoder",
        ) from None


@contextmanager
def _told(repo_id: str) -> Iterator[None]:
    """The hub's many errors as one of ours; each says what to do."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    connection_errors: tuple[type[Exception], ...] = (OSError, RuntimeError, *_connection_errors())
    again = "run the same command again: what has arrived is not sent twice"
    try:
        yield
    except OfflineModeIsEnabled:
        raise EnvironmentProblem(
            "the model hub is switched off: HF_HUB_OFFLINE is set", remedy="HF_HUB_OFFLINE=0, then again"
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        remedies = {
            401: "the token is wrong or expired: hf auth login",
            403: f"the token may not write to {repo_id.split('/')[0]}: make one that may, or give another USER",
            404: "check USER/NAME and that the token may see it",
        }
        raise EnvironmentProblem(
            f"the model hub refuses: {first_line(error)}", where=repo_id, remedy=remedies.get(status, again)
        ) from None
    except connection_errors as error:
        reason = first_line(error.__cause__ or error)
        raise EnvironmentProblem(f"the upload did not end: {reason}", where=repo_id, remedy=again) from None


def _connection_errors() -> tuple[type[Exception], ...]:
    """The base error of the HTTP library that this release of huggingface_hub stands on."""
    from importlib import import_module

    found: list[type[Exception]] = []
    for name in ("httpx2", "httpx"):
        with suppress(ImportError):
            found.append(import_module(name).HTTPError)
    return tuple(found)


def _checked_card(folder: Path) -> str:
    from huggingface_hub import ModelCard

    try:
        text = (folder / CARD).read_text("utf-8")
        ModelCard(text)
    except FileNotFoundError:
        raise CheckpointError(
            "the export has no model card (README.md)", where=str(folder), remedy="export again"
        ) from None
    except Exception as error:  # YAML and the card's own reading raise several kinds
        raise CheckpointError(
            f"the head of the model card cannot be read: {first_line(error)}",
            where=str(folder / CARD),
            remedy="mend the YAML between the two lines ---, or export again",
        ) from None
    return text
