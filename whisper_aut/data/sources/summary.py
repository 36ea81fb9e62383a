"""The summary of a build: JSON, a page with histograms, and the list of rejects, over all sources in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from whisper_aut.data.audit import audit_lines, extremes_of
from whisper_aut.data.histogram_svg import histogram_svg, page
from whisper_aut.files import whole_file, write_whole

_SHOWN = 12  # values of a column in the page; the rest is in summary.json


def write_summary(out: Path) -> dict[str, Any]:
    """``summary.json``, ``summary.html`` and ``rejects.jsonl`` of every source that was built into ``out``."""
    sources, rejects = [], []
    for state in sorted((out / ".build").glob("*/state.json")):
        found = json.loads(state.read_text(encoding="utf-8"))
        if "summary" in found:
            sources.append(found["summary"])
            rejects.append(state.with_name("rejects.jsonl"))
    with whole_file(out / "rejects.jsonl") as file:
        for path in rejects:
            with path.open("rb") as lines:
                name = path.parent.name
                for line in lines:
                    file.write(json.dumps({"source": name, **json.loads(line)}, ensure_ascii=False).encode() + b"\n")
    summary = {
        "clips": sum(source["clips"] for source in sources),
        "hours": sum(source["hours"] for source in sources),
        "rejected": sum(num_rejected(source) for source in sources),
        "sources": {source["source"]: source for source in sources},
    }
    write_whole(out / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    write_whole(out / "summary.html", page("Manifests", _body(sources)))
    return summary


def num_rejected(source: Mapping[str, Any]) -> int:
    """Rows of a source that were left out."""
    return sum(source["rejected"].values())


def of_mixed_channels(source: Mapping[str, Any]) -> str:
    """What to say of clips that mix channels without being asked to; a build does not hear whether these differ."""
    return (
        f"{source['mixed_channels']:,} clips of {source['source']} name no channel of a file with several, and are the "
        "mix of all; `whisper-aut manifest validate --check-audio` finds those whose channels differ"
    )


def _body(sources: Sequence[Mapping[str, Any]]) -> Markup:
    rows = Markup("").join(
        Markup(
            '<tr><td>{name}</td><td class="number">{clips:,}</td><td class="number">{hours:,.2f}</td>'
            '<td class="number">{tokens}</td><td class="number">{rejected:,}</td><td>{license}</td>'
            '<td class="{style}">{commercial}</td></tr>'
        ).format(
            name=source["title"],
            clips=source["clips"],
            hours=source["hours"],
            tokens="–" if source["tokens"] is None else f"{source['tokens']:,}",
            rejected=num_rejected(source),
            license=source["license"],
            style="" if source["commercial"] == "allowed" else "warn",
            commercial=source["commercial"],
        )
        for source in sources
    )
    head = Markup(
        '<table><tr><th>source</th><th class="number">clips</th><th class="number">hours</th>'
        '<th class="number">tokens</th><th class="number">rejected</th><th>licence</th><th>commercial use</th></tr>'
        "{rows}</table>"
    ).format(rows=rows)
    return head + Markup("").join(_section(source) for source in sources)


def _section(source: Mapping[str, Any]) -> Markup:
    parts = [
        Markup("<h2>{title}</h2>").format(title=source["title"]),
        Markup("<h3>Duration</h3>") + histogram_svg(source["duration_histogram"], f"durations of {source['title']}"),
        Markup("<h3>Text</h3>") + histogram_svg(source["text_histogram"], f"text lengths of {source['title']}"),
        counts_table("language", source["languages"]),
        counts_table("licence", source["licenses"]),
        counts_table("split", source["splits"]),
    ]
    if source.get("mixed_channels"):
        parts.append(Markup("<p>{}</p>").format(of_mixed_channels(source)))
    if "audit" in source:  # a source that an earlier release built beside this one has none
        parts.append(_audit(source["audit"]))
    if source["rejected"]:
        reasons = Markup("").join(
            Markup('<tr><td>{reason}</td><td class="number">{count:,}</td></tr>').format(reason=reason, count=count)
            for reason, count in list(source["rejected"].items())[:_SHOWN]
        )
        parts.append(
            Markup('<table><tr><th>rejected because</th><th class="number">rows</th></tr>{}</table>').format(reasons)
        )
    return Markup("").join(parts)


def _audit(found: Mapping[str, Any]) -> Markup:
    """What deserves a second look: sentences, and the most extreme clips."""
    sentences = Markup("").join(Markup("<li>{}</li>").format(line) for line in audit_lines(found))
    tables = Markup("").join(
        Markup('<table><tr><th>{title}</th><th class="number"></th></tr>{rows}</table>').format(
            title=title,
            rows=Markup("").join(
                Markup('<tr><td>{clip}</td><td class="number">{value}</td></tr>').format(clip=clip, value=value)
                for value, clip in clips
            ),
        )
        for title, clips in extremes_of(found)
    )
    return Markup("<h3>Audit</h3>{}{}").format(Markup("<ul>{}</ul>").format(sentences) if sentences else "", tables)


def counts_table(title: str, values: Mapping[str, Mapping[str, float]]) -> Markup:
    """Clips and hours by value, the first dozen."""
    rows = Markup("").join(
        Markup('<tr><td>{value}</td><td class="number">{clips:,}</td><td class="number">{hours:,.2f}</td></tr>').format(
            value=value, clips=int(count["clips"]), hours=count["hours"]
        )
        for value, count in list(values.items())[:_SHOWN]
    )
    if len(values) > _SHOWN:
        rows += Markup('<tr><td class="dim" colspan="3">and {} more</td></tr>').format(len(values) - _SHOWN)
    return Markup(
        '<table><tr><th>{title}</th><th class="number">clips</th><th class="number">hours</th></tr>{rows}</table>'
    ).format(title=title, rows=rows)
