"""``whisper-aut verify`` and ``push``: is an export what was exported, and how others get it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_FOLDER = typer.Argument(metavar="DIR", help="A folder that `whisper-aut export` wrote.")


def verify(folder: Annotated[Path, _FOLDER]) -> None:
    """Hold every file of an export against SHA256SUMS.

    Names each file that is missing, changed or extra, and leaves with exit code 3 then; 2 where there are no sums.
    """
    from whisper_aut.export.sums import verify_sums

    print(f"verified: {verify_sums(folder)} files of {folder} are what was exported")


def push(
    folder: Annotated[Path, _FOLDER],
    repo: Annotated[str, typer.Argument(metavar="USER/NAME", help="The repository on the model hub.")],
    private: Annotated[bool, typer.Option("--private", help="A new repository is for its owner alone.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the files with their sizes and the card; send nothing.")
    ] = False,
) -> None:
    """Share an export on a model hub (huggingface_hub, HF_ENDPOINT, HF_TOKEN).

    Nothing leaves before SHA256SUMS verifies. Interrupted, the same command again sends the rest.
    """
    from whisper_aut.export.push import check_repo_id, prepare
    from whisper_aut.export.push import push as upload

    check_repo_id(repo)
    shipment = prepare(folder)
    for name, size in shipment.sizes.items():
        print(f"{size / 1e6:12.3f} MB  {name}")
    print(f"{shipment.num_bytes / 1e6:12.3f} MB  {len(shipment.sizes)} files for {repo}")
    if dry_run:
        print(f"\n{shipment.card.rstrip()}\n\nnothing was sent; without --dry-run it is")
        return
    print(f"pushed: {upload(shipment, repo, private=private)}")
