"""Export: a run's checkpoint, or any adapted folder, in the forms that its consumers load, checked by value.

Everything is written into a folder beside the final name, read back and compared tensor by tensor, and then renamed. No
step holds more than a few tensors in memory.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisper_aut.errors import CheckpointError, EnvironmentProblem
from whisper_aut.export.about import FORMAT_VERSION, PROVENANCE
from whisper_aut.export.card import model_card
from whisper_aut.export.content import DTYPES, Content, DtypeName, KeepDecoder, cast
from whisper_aut.export.forms.form import Form
from whisper_aut.export.forms.registry import DEFAULT_FORMS, FORMS
from whisper_aut.export.place import checked_place, clear_leftovers, existing, put_in_place
from whisper_aut.export.plain_card import plain_card
from whisper_aut.export.provenance import add_provenance
from whisper_aut.export.source import Source, open_source
from whisper_aut.export.sums import write_sums
from whisper_aut.model.base import BaseModel
from whisper_aut.model.stored import DECODER, ENCODER, StoredWhisper
from whisper_aut.resources import command_line

if TYPE_CHECKING:
    from transformers import WhisperConfig


@dataclass(frozen=True)
class ExportOptions:
    """How to export.

    Attributes:
        forms: names of ``FORMS``.
        keep_decoder: the model's own decoder under its encoder, the base's, or none.
        dtype: precision of every form.
    """

    forms: Sequence[str] = DEFAULT_FORMS
    keep_decoder: KeepDecoder = "none"
    dtype: DtypeName = "float32"


_DEFAULTS = ExportOptions()
# Errors that more room would not mend.
_WRONG_PLACE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.ENAMETOOLONG, errno.EINVAL}


def export_encoder(
    run_dir: Path,
    out_dir: Path,
    *,
    base: BaseModel | None = None,
    blend: float = 1.0,
    checkpoint: Path | None = None,
) -> Path:
    """The encoder of a run in Hugging Face's two forms; see :func:`export_model`."""
    return export_model(run_dir, out_dir, base=base, blend=blend, checkpoint=checkpoint)


def export_model(
    source: str | Path,
    out_dir: Path,
    options: ExportOptions = _DEFAULTS,
    *,
    base: BaseModel | str | None = None,
    blend: float = 1.0,
    checkpoint: Path | None = None,
) -> Path:
    """Write a run's newest (or given) checkpoint, or another Whisper, in the forms asked for.

    Args:
        source: folder of a training run, or any that holds a Whisper; see ``open_source``.
        out_dir: a folder that does not exist, is empty, or holds an earlier export alone (which is replaced).
        options: forms, decoder and precision.
        base: what was adapted, where it is loaded already or lies in another place than the run says.
        blend: share of the trained weights; the rest is the base's. 1 is what was trained. Below it, the encoder keeps
            more of what training did not speak of (WiSE-FT, Wortsman et al., CVPR 2022).
        checkpoint: one of the run's, whether the run is finished or not.

    Returns:
        ``out_dir``.

    Raises:
        CheckpointError: the run is not finished or has no sound checkpoint, ``out_dir`` holds something else or
            what is read, a form cannot hold what was asked for, the disk is full, or what was written reads back as
            something else.
        BaseModelError: the model or its base cannot be opened.
        EnvironmentProblem: a form needs a package that is not installed.
    """
    forms = _checked_forms(options)
    read = [Path(place).expanduser() for place in (source, checkpoint, base) if isinstance(place, str | Path)]
    place = checked_place(out_dir, read)
    opened = open_source(source, checkpoint=checkpoint, blend=blend, base=base)
    content = content_of(opened, options.keep_decoder, options.dtype)
    aside = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        clear_leftovers(place)
        for form in forms:
            (aside / form.folder).mkdir(parents=True, exist_ok=True)
            form.write(aside / form.folder, content)
            form.check(aside / form.folder, content)
        _describe(aside, opened, content, options)
        add_provenance(aside, Path(source).expanduser())
        write_sums(aside)
        put_in_place(aside, place)
    except OSError as error:
        remedy = "give another --out"
        if error.errno not in _WRONG_PLACE:
            values = sum(math.prod(content.tensors.shape(name)) for name in content.tensors)
            remedy = (
                f"it needs up to {len(forms) * values * content.dtype.itemsize / 1e9:.2f} GB, "
                f"{shutil.disk_usage(existing(place)).free / 1e9:.2f} GB were free after the attempt; free some space "
                f"or {remedy}"
            )
        raise CheckpointError(f"the export cannot be written: {error}", where=str(out_dir), remedy=remedy) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return out_dir


def content_of(source: Source, keep_decoder: KeepDecoder, dtype: DtypeName) -> Content:
    """The tensors that are to be written, with what describes them.

    Raises:
        CheckpointError: there is no decoder to keep, or the base's does not fit under the encoder.
    """
    model = source.model
    encoder = model.tensors.under(ENCODER, ENCODER)
    if keep_decoder == "none":
        return Content(cast(encoder, DTYPES[dtype]), model.config, dtype)
    decoder = model if keep_decoder == "adapted" else source.open_base()
    if not decoder.has_decoder:
        raise CheckpointError(
            "there is no decoder in it to keep",
            where=decoder.spec,
            remedy="export from the run or a folder with a decoder, or add --keep-decoder none"
            if keep_decoder == "adapted"
            else "give a whole Whisper with --base",
        )
    config = _spliced_config(model, decoder)
    tensors = encoder.with_others(decoder.tensors.under(DECODER, DECODER))
    return Content(cast(tensors, DTYPES[dtype]), config, dtype, decoder.read_tokenizer(), decoder.read_generation())


def _spliced_config(encoder: StoredWhisper, decoder: StoredWhisper) -> WhisperConfig:
    """The decoder's configuration with the encoder's sizes."""
    from transformers import WhisperConfig

    ours, theirs = encoder.config, decoder.config
    if ours.d_model != theirs.d_model:
        raise CheckpointError(
            f"the base's decoder has width {theirs.d_model}, the encoder {ours.d_model}",
            where=decoder.spec,
            remedy="give the base that the encoder was adapted from",
        )
    names = (
        "num_mel_bins", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "max_source_positions",
    )  # fmt: skip
    return WhisperConfig(**theirs.to_dict() | {name: getattr(ours, name) for name in names})


def _checked_forms(options: ExportOptions) -> list[Form]:
    unknown = [name for name in options.forms if name not in FORMS]
    if unknown or not options.forms:
        raise CheckpointError(
            f"there is no form '{unknown[0]}'" if unknown else "no form is asked for",
            remedy=f"choose from {', '.join(FORMS)}",
        )
    forms = [form for form in FORMS.values() if form.name in options.forms]
    if options.keep_decoder != "none" and not any(form.holds_decoder for form in forms):
        able = ", ".join(form.name for form in FORMS.values() if form.holds_decoder)
        raise CheckpointError(
            f"there is no place for a decoder in {' and '.join(form.name for form in forms)}",
            remedy=f"leave --keep-decoder out, or add one of {able} to the forms",
        )
    for form in forms:
        if options.dtype not in form.dtype_names:
            raise CheckpointError(
                f"the form '{form.name}' does not come in {options.dtype}: what reads it knows "
                f"{' and '.join(form.dtype_names)}",
                remedy="export it by itself with another --dtype",
            )
        if form.needs_decoder and options.keep_decoder == "none":
            raise CheckpointError(
                f"the form '{form.name}' needs a decoder: what reads it loads no encoder alone",
                remedy="add --keep-decoder adapted or original",
            )
        missing = [package for package in form.packages if importlib.util.find_spec(package) is None]
        if missing:
            raise EnvironmentProblem(
                f"the form '{form.name}' is written with {' and '.join(missing)}, not installed here",
                remedy="pip install 'whisper-aut[parity]'",
            )
    return forms


def _describe(folder: Path, source: Source, content: Content, options: ExportOptions) -> None:
    forms = [form.name for form in FORMS.values() if form.name in options.forms]
    provenance: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "step": source.step,
        "blend": source.blend,
        "command": command_line(),
        "forms": forms,
        "keep_decoder": options.keep_decoder,
        "dtype": options.dtype,
        "base_sha256": source.base_sha256,
        "encoder_sha256": content.encoder_sha256(),
        "source": source.model.spec if source.run is None else source.run["name"],
        "run": source.run,
    }
    (folder / PROVENANCE).write_text(json.dumps(provenance, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    num_mel_bins = content.config.num_mel_bins
    if source.run is None or source.step is None:
        card = plain_card(source.model, [FORMS[name] for name in forms])
    else:
        card = model_card(source.run, source.step, num_mel_bins, source.blend, keep_decoder=options.keep_decoder)
    (folder / "README.md").write_text(card, encoding="utf-8")
