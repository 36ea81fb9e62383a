"""Histograms as inline SVG in pages of their own style: self-contained, legible in light and dark, printable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

_WIDTH, _HEIGHT, _FOOT = 640, 160, 34

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #667085; --line: #d0d5dd; --bar: #2f6f8f; --page: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --dim: #98a2b3; --line: #344054; --bar: #6db3d1; --page: #14171a; }
}
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: var(--ink); background: var(--page);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; color: var(--dim); font-weight: 600; }
th, td { padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.dim { color: var(--dim); } .warn { font-weight: 600; } audio { width: 100%; height: 2.2rem; }
svg { width: 100%; height: auto; max-width: 44rem; } svg text { fill: var(--dim); font-size: 11px; }
svg .bar { fill: var(--bar); } svg .axis { stroke: var(--line); }
p.text { overflow-wrap: anywhere; margin: .2rem 0; }
"""


def histogram_svg(histogram: Mapping[str, Any], title: str) -> Markup:
    """A figure of what :meth:`whisper_aut.data.manifest_counts.Histogram.as_dict` gives."""
    edges, unit = list(histogram["edges"]), histogram["unit"]
    counts = [*histogram["counts"], histogram["over"]]
    highest = max([*counts, 1])
    step = _WIDTH / len(counts)
    bars = Markup("").join(
        Markup(
            '<rect class="bar" x="{x:.2f}" y="{y:.2f}" width="{w:.2f}" height="{h:.2f}"><title>{t}</title></rect>'
        ).format(
            x=index * step + 0.5,
            y=_HEIGHT - (height := _HEIGHT * count / highest),
            w=max(step - 1, 0.5),
            h=height,
            t=f"{_range(edges, index, unit)}: {count:,}",
        )
        for index, count in enumerate(counts)
        if count
    )
    every = max(1, round(len(edges) / 8))
    ticks = Markup("").join(
        Markup('<text x="{x:.2f}" y="{y}" text-anchor="middle">{t}</text>').format(
            x=index * step, y=_HEIGHT + 14, t=f"{edge:g}"
        )
        for index, edge in enumerate(edges)
        if index % every == 0 and index < len(counts)
    )
    return Markup(
        '<svg viewBox="-24 -14 {w} {h}" role="img" aria-label="{title}"><text x="0" y="-3">{most:,} clips</text>'
        '<line class="axis" x1="0" x2="{width}" y1="{height}" y2="{height}"/>{bars}{ticks}'
        '<text x="{width}" y="{below}" text-anchor="end">{unit}</text></svg>'
    ).format(
        w=_WIDTH + 48, h=_HEIGHT + _FOOT + 14, title=title, most=highest, width=_WIDTH, height=_HEIGHT, bars=bars,
        ticks=ticks, below=_HEIGHT + 30, unit=unit,
    )  # fmt: skip


def _range(edges: list[float], index: int, unit: str) -> str:
    if index + 1 >= len(edges):
        return f"over {edges[-1]:g} {unit}"
    low, high = edges[index], edges[index + 1]
    return f"{low:g} {unit}" if high - low < 1e-9 else f"{low:g} to {high:g} {unit}"


def page(title: str, body: Markup) -> str:
    """A whole page: nothing of it is fetched from anywhere."""
    return str(
        Markup(
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            'content="width=device-width, initial-scale=1"><title>{title}</title><style>{style}</style></head>'
            "<body><h1>{title}</h1>\n{body}</body></html>\n"
        ).format(title=title, style=Markup(STYLE), body=body)
    )
