"""``whisper-aut export``: a run or an adapted folder in the forms that consumers load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whisper_aut.commands.choices import one_of

_FORMS = (
    "Forms, separated by commas or repeated: hf, encoder, openai, onnx, ctranslate2, qwen2-audio. hf,encoder if left "
    "out."
)


def export(
    source: Annotated[
        str,
        typer.Argument(metavar="RUN", help="Folder of a finished training run, or a folder or file with a Whisper."),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the export; RUN/export if left out.")] = None,
    to: Annotated[list[str] | None, typer.Option(help=_FORMS)] = None,
    keep_decoder: Annotated[
        str, typer.Option(help="adapted: the trained one; original: the base's, under the new encoder; none.")
    ] = "none",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16, where the form's reader knows it.")] = (
        "float32"
    ),
    checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint of the run, finished or not; the newest if left out.")
    ] = None,
    blend: Annotated[
        float, typer.Option(help="Share of the trained weights; the rest is the base's. Below 1 more of Whisper stays.")
    ] = 1.0,
    base: Annotated[
        str | None, typer.Option(help="The base, where it is not known or has moved: hub name, folder or .pt file.")
    ] = None,
) -> None:
    """Write the encoder, with or without a decoder, as its consumers load it, checked by value after reloading."""
    from whisper_aut.errors import CheckpointError

    if out is None and not Path(source).is_dir():
        what = "is no training run" if Path(source).exists() else "is no folder"
        raise CheckpointError(f"'{source}' {what}; to export it as a model, say where to", remedy="add --out")
    from whisper_aut.export.content import DTYPE_NAMES, KEEP_DECODER
    from whisper_aut.export.encoder import ExportOptions, export_model
    from whisper_aut.export.forms.registry import DEFAULT_FORMS, FORMS
    from whisper_aut.export.source import holds_model

    names = [name.strip() for part in to or DEFAULT_FORMS for name in part.split(",") if name.strip()]
    options = ExportOptions(
        forms=names,
        keep_decoder=one_of("decoder to keep", keep_decoder, KEEP_DECODER),
        dtype=one_of("dtype", dtype, DTYPE_NAMES),
    )
    if out is None and holds_model(Path(source)):
        raise CheckpointError(
            f"'{source}' is no training run; to export it as a model, say where to", remedy="add --out"
        )
    folder = export_model(
        source, out or Path(source) / "export", options, base=base, blend=blend, checkpoint=checkpoint
    )
    print(f"exported: {folder}")
    for name, form in FORMS.items():
        if name in names:
            print(f"  {form.loads_with.replace('DIR', str(folder))}")
