"""``whisper-aut leakage``: is audio of an evaluation set in the training data?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def leakage(
    train: Annotated[
        list[Path],
        typer.Option(
            help="A training manifest (JSONL or Parquet), or a run's folder or a recipe for all of theirs. Repeatable."
        ),
    ],
    eval_: Annotated[
        list[str],
        typer.Option("--eval", help="A benchmark (see `whisper-aut tasks`), or a folder with clips.jsonl. Repeatable."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for pairs.jsonl, leakage.html, leakage.json and clean/ manifests.")
    ] = Path("leakage"),
    data_root: Annotated[Path | None, typer.Option(help="Folder that benchmarks are in.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that listen; one a core if left out, 0 for none but this one.", min=0)
    ] = None,
    players: Annotated[int, typer.Option(help="Pairs that the page lets one hear.", min=0)] = 200,
    fail: Annotated[bool, typer.Option("--fail", help="Leave with exit code 3 where audio leaks.")] = False,
) -> None:
    """Listen for audio of evaluation sets in training manifests: shifted, cropped, re-encoded, under other sounds.

    Pairs with the same audio are leaks; training manifests without them are written to OUT/clean. Pairs of which only
    the names say that they are of one recording (Freesound, YouTube ids) are listed apart and stay.
    """
    from whisper_aut.errors import GateFailed
    from whisper_aut.leakage.check import check_leakage
    from whisper_aut.machine import usable_cores
    from whisper_aut.probe.tasks.registry import load_all

    manifests = list(dict.fromkeys(path for given in train for path in _manifests(given)))
    tasks = load_all(eval_, data_root)
    num_workers = usable_cores() if workers is None else workers
    found = check_leakage(manifests, tasks, out, workers=num_workers, num_players=players)
    num_clips = sum(map(len, found.leaked_rows.values()))
    print(f"leaks: {found.num_leaks} pairs, {num_clips} training clips")
    print(f"same recording id, no shared audio found: {found.num_suspicions} pairs")
    if found.num_unreadable:
        print(f"unreadable, not checked: {found.num_unreadable} clips, named in {out / 'leakage.json'}")
    print(f"listen: {found.page}\nwithout them: {', '.join(map(str, found.clean))}")
    print(f"next: whisper-aut report … --leakage {out / 'leakage.json'}")
    if fail and found.num_leaks:
        raise GateFailed(
            f"{num_clips} training clips share audio with evaluation clips",
            where=str(found.page),
            remedy="train on the manifests in clean/",
        )


def _manifests(given: Path) -> list[Path]:
    """The manifest itself, or all that a recipe, or the one in a run's folder, trains on."""
    from whisper_aut.config import load_recipe
    from whisper_aut.errors import ManifestError

    recipe = given / "recipe.yaml" if given.is_dir() else given
    if recipe.suffix not in (".yaml", ".yml"):
        return [given]
    if given.is_dir() and not recipe.is_file():
        raise ManifestError(
            "the folder is no run: it has no recipe.yaml", where=str(given), remedy="give a run, a recipe or manifests"
        )
    data = load_recipe(recipe).data
    return [data.root / name for domain in data.mixture.values() for name in domain.manifests]
