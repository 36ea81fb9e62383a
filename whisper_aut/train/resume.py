"""Where a run resumes: its newest sound checkpoint, and the precision that it began with. The main rank decides."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from whisper_aut.errors import CheckpointError
from whisper_aut.model.precision import DTYPES, PrecisionChoice, choose_precision
from whisper_aut.train.checkpoint import Checkpoint, newest_checkpoint
from whisper_aut.train.ranks import Ranks
from whisper_aut.train.run_folder import check_identity
from whisper_aut.train.watchdog import Watchdog


def find_checkpoint(
    run_dir: Path, identity: Mapping[str, Any], ranks: Ranks, watchdog: Watchdog, *, accept_changed_data: bool
) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest sound checkpoint of this very run, None for a fresh start, and what of its data was changed.

    A collective. ``identity`` is what ``run_folder.identity`` says of the run that is asked for.

    Raises:
        CheckpointError: the folder holds another run, or this rank does not see the checkpoint.
    """
    found: Checkpoint | None = None
    changed_data: list[str] = []
    failure: CheckpointError | None = None
    if ranks.speaks:
        watchdog.at("verifying checkpoints", patient=True)
        try:
            found = newest_checkpoint(run_dir / "checkpoints")
            if found is not None:
                changed_data = check_identity(
                    run_dir, found.state["identity"], identity, accept_changed_data=accept_changed_data
                )
                for what in changed_data:
                    print(f"warning: {what}; accepted", file=sys.stderr)
                print(f"train: going on from {found.folder}", file=sys.stderr)
        except CheckpointError as error:
            failure = error
    found, changed_data, failure = ranks.from_first((found, changed_data, failure))
    if failure is not None:
        raise failure
    if found is not None and not found.folder.is_dir():
        raise CheckpointError(
            f"rank {ranks.rank} does not see the checkpoint that rank 0 goes on from",
            where=str(found.folder),
            remedy="give an --out that all machines share",
        )
    return found, changed_data


def choose_run_precision(asked: str, resumed: Checkpoint | None, ranks: Ranks) -> PrecisionChoice:
    """Return the precision of all ranks; a run that is resumed keeps its own, unless another is asked for by name.

    A collective.
    """
    began = None
    if resumed is not None:
        # Checkpoints from before ``auto`` recorded it in the recipe alone.
        began = resumed.state.get("precision") or resumed.state["identity"]["recipe"].get("train.precision")
    if began not in DTYPES:
        choice = choose_precision(asked, ranks.device)
    elif asked in ("auto", began):
        choice = replace(choose_precision(began, ranks.device), reason="the run began with it")
    else:
        choice = replace(choose_precision(asked, ranks.device), reason=f"asked for; the run began with {began}")
    choice = ranks.from_first(choice)
    if ranks.speaks:
        print(f"train: precision {choice.name}: {choice.reason}", file=sys.stderr)
        if choice.warning:
            print(f"warning: {choice.warning}", file=sys.stderr)
    return choice
