"""``whisper-aut tasks``: benchmarks by name, and their data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whisper_aut.commands.tables import plain_table, show

if TYPE_CHECKING:
    from collections.abc import Iterable

    from whisper_aut.probe.tasks.benchmark import Benchmark

app = typer.Typer(help="Benchmarks to probe on: list them, fetch their data.", invoke_without_command=True)


@app.callback()
def tasks_list(
    context: typer.Context,
    data_root: Annotated[Path | None, typer.Option(help="Folder that benchmarks are in: says which are there.")] = None,
) -> None:
    """Benchmarks by name; `tasks show NAME` says more of one."""
    if context.invoked_subcommand is None:
        from whisper_aut.probe.tasks.registry import BENCHMARKS

        _print_tasks(BENCHMARKS.values(), data_root)


@app.command("fetch")
def tasks_fetch(
    name: Annotated[str, typer.Argument(help="A benchmark; `whisper-aut tasks` lists them.")],
    data_root: Annotated[Path, typer.Option(help="Folder that benchmarks are in; made where it is missing.")],
    keep_archives: Annotated[bool, typer.Option("--keep-archives", help="Do not delete unpacked archives.")] = False,
) -> None:
    """Fetch, verify and unpack a benchmark's data. The same command after an interruption goes on."""
    from whisper_aut.probe.tasks.fetch import fetch
    from whisper_aut.probe.tasks.registry import find_benchmark

    benchmark = find_benchmark(name)
    folder = fetch(benchmark, data_root, keep_archives=keep_archives)
    print(f"{benchmark.title} ({benchmark.license}): {folder}")
    print(f"next: whisper-aut probe --base BASE --encoder ENCODER --task {name} --data-root {data_root}")


@app.command("show")
def tasks_show(name: Annotated[str, typer.Argument(help="A benchmark; `whisper-aut tasks` lists them.")]) -> None:
    """All that is known of one benchmark: split, layout, files with checksums, and what was not verified."""
    from whisper_aut.probe.tasks.registry import find_benchmark

    print("\n".join(find_benchmark(name).lines()))


def _print_tasks(benchmarks: Iterable[Benchmark], data_root: Path | None) -> None:
    """What ``tasks`` shows."""
    names = ("name", "clips", "classes", "metric", "licence", "data")
    table = plain_table(names, right={"clips", "classes"}, unbroken={"name", "metric"})
    for benchmark in benchmarks:
        found = benchmark.find(data_root) if data_root else None
        missing = "not there" if benchmark.archives else "not there, by hand"
        table.add_row(
            benchmark.name,
            "?" if benchmark.num_clips is None else str(benchmark.num_clips),
            str(benchmark.num_classes),
            benchmark.metric,
            benchmark.license,
            str(found) if found else missing if data_root else "give --data-root",
        )
    show(table)
