"""``whisper-aut probe``: linear probes of encoders on the same clips."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from whisper_aut.commands.choices import one_of
from whisper_aut.machine import LIBRARIES_BYTES, require_memory


def probe(
    base: Annotated[str, typer.Option(help="The encoder to compare with: hub name, folder, or pypi:tiny.en.")],
    encoder: Annotated[
        list[str],
        typer.Option(
            help="An encoder to compare with it: a folder that `whisper-aut export` wrote, a hub name, random:SPEC, "
            "mfcc, logmel, or hf:NAME_OR_DIR (AST, wav2vec 2.0, HuBERT, CLAP). Repeatable."
        ),
    ],
    task: Annotated[
        list[str],
        typer.Option(help="A benchmark (see `whisper-aut tasks`), or a folder with clips.jsonl. Repeatable."),
    ],
    data_root: Annotated[Path | None, typer.Option(help="Folder that benchmarks are in.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for probe.json.")] = Path("probe"),
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="paper, strict, xares, xares-knn or few-shot. Repeatable; paper and strict if left out."),
    ] = None,
    context: Annotated[list[str] | None, typer.Option(help="full or trimmed. Repeatable; both if left out.")] = None,
    pooling: Annotated[str, typer.Option(help="mean, mean+std or max, instead of the protocol's own.")] = "",
    layers: Annotated[
        str,
        typer.Option(
            help="last; a number from 0 (the first block's input); weighted: a learned sum; all: analyse each."
        ),
    ] = "last",
    seed: Annotated[int, typer.Option(help="Of heads, draws, bootstrap and random weights.", min=0, max=2**32 - 1)] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder of cached embeddings; OUT/cache if left out.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; cuda where there is one if left out.")] = "",
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16, or auto: what this device computes faster.")
    ] = "auto",
    jobs: Annotated[
        int | None, typer.Option(help="Processes that fit heads; as many as are worth it here if left out.", min=1)
    ] = None,
    refold: Annotated[
        bool, typer.Option("--refold", help="Deal folds anew by group where a group stands in several (else refused).")
    ] = False,
) -> None:
    """Linear probes of encoders on the same clips, each paired with the base, by frozen protocols."""
    from whisper_aut.constants import CONTEXTS
    from whisper_aut.probe.encoders.spec import check_spec
    from whisper_aut.probe.names import (
        DEFAULT_PROTOCOLS,
        PRECISION_NAMES,
        PROTOCOL_NAMES,
        STATISTICS,
        parse_layer,
    )
    from whisper_aut.probe.tasks.registry import check_named

    protocols = [one_of("protocol", name, PROTOCOL_NAMES) for name in protocol or DEFAULT_PROTOCOLS]
    contexts = [one_of("context", name, CONTEXTS) for name in context or CONTEXTS]
    statistic = one_of("pooling", pooling, STATISTICS) if pooling else None
    layer = parse_layer("last" if layers == "all" else layers)
    one_of("precision", precision, PRECISION_NAMES)
    check_named(task)
    for spec in (base, *encoder):
        check_spec(spec)
    require_memory(LIBRARIES_BYTES, "probing")

    import torch

    from whisper_aut.probe.run import run_probe

    run_probe(
        base,
        encoder,
        task,
        out_dir=out,
        data_root=data_root,
        protocols=protocols,
        contexts=contexts,
        pooling=statistic,
        layer=layer,
        every_layer=layers == "all",
        seed=seed,
        cache_dir=cache or out / "cache",
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        precision=precision,
        refold_leaky=refold,
        jobs=jobs,
    )
    following = shlex.join(["whisper-aut", "report", "--probe", str(out / "probe.json"), "--out", str(out)])
    print(f"probed: {out / 'probe.json'}\nnext: {following}")
