"""The figures, as inline SVG: they stretch with the page, take its colours in light and dark, and print.

Positions across are in percent of the figure's width and sizes of text and marks in pixels, so nothing is distorted
at any width; curves lie in a nested SVG that is stretched while their strokes are not. Colours are classes of the
page's style sheet, never written here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

from whisper_aut.report.content import Points
from whisper_aut.report.verdict import Row, several_encoders, signed

MARK_CLASS = {"gained": "gained", "lost": "lost", "within noise": "noise"}
ROW_PX = 24  # one row of the forest plot
LABEL_GAP_PX = 15.0  # line height of the names at the curves' ends


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of a line chart."""

    name: str  # written at the curve's end; empty: not written
    style: str  # class of the style sheet
    points: Points
    marked: bool = False  # a mark on each point
    spans: Sequence[tuple[float, float, float]] = ()  # (x, low, high): an upright line, e.g. an interval


@dataclass(frozen=True, slots=True)
class Scale:
    """Values to percent of the width (or pixels of the height), with ticks at round numbers."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def percent(self, value: float) -> float:
        """Where ``value`` lies between the ends, in percent."""
        return 100 * (value - self.low) / (self.high - self.low)


def make_scale(low: float, high: float, *, num_ticks: int = 5, tight: bool = False) -> Scale:
    """A scale over [low, high] with about ``num_ticks`` round ticks; ends lie on ticks unless ``tight``."""
    if high <= low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / max(1, num_ticks - 1)
    power = 10 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if not tight:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(index * step for index in range(first, last + 1))
    return Scale(low if tight else ticks[0], high if tight else ticks[-1], ticks)


def forest(rows: Sequence[Row]) -> Markup:
    """Changes in points with their 95% intervals around zero; the rows of the verdict are large, the others small."""
    ends = [0.0, *(bound for row in rows for bound in (*row.interval, row.delta))]
    scale = make_scale(min(ends), max(ends), num_ticks=6)
    several = several_encoders(rows)
    parts = [
        Markup('<div class="forest{wide}" role="img" aria-label="Change in points with 95% intervals">').format(
            wide=" several" if several else ""
        )
    ]
    previous = ""
    for row in rows:
        first, previous = row.task != previous, row.task
        style = f"{MARK_CLASS[row.verdict]}{' believed' if row.believed else ''}{' first' if first else ''}"
        by = row.encoder if several else ""
        title = (
            f"{', '.join(part for part in (row.task, row.protocol, row.context, by) if part)}: {signed(row.delta)} "
            f"points, 95% interval {signed(row.interval[0])} to {signed(row.interval[1])}, {row.verdict}"
        )
        numbers = f"[{signed(row.interval[0])}, {signed(row.interval[1])}]"
        parts.append(
            Markup(
                '<div class="forest-row {style}"><div class="forest-label"><b>{task}</b> <span>{how}</span></div>'
                '<svg class="forest-plot" height="{height}"><title>{title}</title>{grid}{mark}</svg>'
                '<div class="forest-value"><b>{delta}</b> <span>{numbers}</span></div></div>'
            ).format(
                style=style,
                task=row.task if first else "",
                how=" · ".join(part for part in (row.protocol, row.context, short(by)) if part),
                title=title,
                height=ROW_PX,
                grid=_forest_grid(scale, ROW_PX),
                mark=_forest_mark(scale, row),
                delta=signed(row.delta),
                numbers=numbers,
            )
        )
    ticks = Markup("").join(
        Markup('<text x="{x:.2f}%" y="14" text-anchor="middle">{label}</text>').format(
            x=scale.percent(tick), label=_tick(tick, signed_values=True)
        )
        for tick in scale.ticks
    )
    parts.append(
        Markup(
            '<div class="forest-row forest-axis"><div class="forest-label"></div><svg class="forest-plot" height="20">'
            '{ticks}</svg><div class="forest-value"><span>points [95%]</span></div></div></div>'
        ).format(ticks=ticks)
    )
    return Markup("").join(parts)


def short(name: str) -> str:
    """The end of a long name, which tells folders of one run apart."""
    return name if len(name) <= 24 else f"…{name[-23:]}"


def _forest_grid(scale: Scale, height: int) -> Markup:
    line = Markup('<line class="{style}" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="{height}"/>')
    return Markup("").join(
        line.format(style="zero" if tick == 0 else "grid", x=scale.percent(tick), height=height) for tick in scale.ticks
    )


def _forest_mark(scale: Scale, row: Row) -> Markup:
    """Triangles up and down for gained and lost, a disc within noise: colour is not the only sign."""
    x, low, high = (scale.percent(value) for value in (row.delta, *row.interval))
    size = 6.0 if row.believed else 4.0
    if row.verdict == "within noise":
        shape = Markup('<circle class="mark" r="{r}"/>').format(r=size - 0.8)
    else:
        up = -1 if row.verdict == "gained" else 1
        shape = Markup('<path class="mark" d="M0,{tip} L{s},{foot} L-{s},{foot} Z"/>').format(
            tip=up * size, s=size, foot=-up * size * 0.8
        )
    return Markup(
        '<line class="span" x1="{low:.2f}%" x2="{high:.2f}%" y1="{y}" y2="{y}"/>'
        '<svg x="{x:.2f}%" y="{y}" overflow="visible" width="1" height="1">{shape}</svg>'
    ).format(low=low, high=high, x=x, y=ROW_PX // 2, shape=shape)


def class_bars(base: Mapping[str, float], adapted: Mapping[str, float]) -> Markup:
    """Accuracy by class, base above adapted, the class that gained most first."""
    names = sorted(base.keys() | adapted.keys(), key=lambda name: (_gap(base, adapted, name), name))
    bars = [_class_row(name, base.get(name), adapted.get(name)) for name in names]
    return Markup('<div class="bars">{}</div>').format(Markup("").join(bars))


def _gap(base: Mapping[str, float], adapted: Mapping[str, float], name: str) -> float:
    return base.get(name, 0.0) - adapted.get(name, 0.0)


def _class_row(name: str, base: float | None, adapted: float | None) -> Markup:
    bar = Markup('<rect class="{style}" x="0" y="{y}" height="6" width="{width:.2f}%" rx="1"/>')
    shapes = Markup("").join(
        bar.format(style=style, y=y, width=max(0.0, min(100.0, value)))
        for style, y, value in (("base", 2, base), ("adapted", 9, adapted))
        if value is not None
    )
    grid = Markup("").join(
        Markup('<line class="grid" x1="{x}%" x2="{x}%" y1="0" y2="17"/>').format(x=x) for x in (0, 25, 50, 75, 100)
    )
    values = [("–" if value is None else f"{value:.0f}") for value in (base, adapted)]
    return Markup(
        '<div class="bar-row"><div class="bar-label" title="{name}">{name}</div><svg height="17" role="img" '
        'aria-label="{name}: base {base}%, adapted {adapted}%">{grid}{shapes}</svg>'
        '<div class="bar-value"><span>{base}</span> → {adapted}</div></div>'
    ).format(name=name, base=values[0], adapted=values[1], grid=grid, shapes=shapes)


def shares(asked: Mapping[str, float], realised: Mapping[str, float]) -> Markup:
    """The mixture as stacked bars: what was asked for, what the steps read."""
    parts = []
    for title, weights in (("asked", asked), ("realised", realised)):
        total = sum(weights.values())
        if total <= 0:
            continue
        left = 0.0
        shapes = Markup("")
        for name, weight in weights.items():
            width = 100 * weight / total
            shapes += Markup(
                '<rect class="fill {style}" x="{left:.2f}%" y="0" width="{width:.2f}%" height="20">'
                "<title>{name} {share:.2f}%</title></rect>"
            ).format(style=domain_style(name), left=left, width=width, name=name, share=width)
            left += width
        parts.append(
            Markup('<div class="share-row"><div>{title}</div><svg height="20">{shapes}</svg></div>').format(
                title=title, shapes=shapes
            )
        )
    return Markup('<div class="shares">{}</div>').format(Markup("").join(parts))


def domain_style(name: str) -> str:
    """The style class of a domain; one class for all that the style sheet does not know."""
    return f"domain-{name}" if name in {"speech", "environment", "music"} else "domain-other"


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    height: int = 200,
    from_zero: bool = False,
    form: Callable[[float], str] | None = None,
    size: Literal["wide", "half"] = "wide",
    axis: str = "step",
) -> Markup:
    """Curves over training steps (or what ``axis`` names), each named at its end; those without points are left out."""
    lines = [line for line in lines if line.points]
    if not lines:
        return Markup('<p class="absent">not recorded</p>')
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    ys += [y for line in lines for _, low, high in line.spans for y in (low, high)]
    across = make_scale(min(0.0, *xs), max(xs), num_ticks=6 if size == "wide" else 4, tight=True)
    up = make_scale(0.0 if from_zero else min(ys), max(ys), num_ticks=5)
    label = form or _tick

    def y_px(value: float) -> float:
        return height * (1 - up.percent(value) / 100)

    grid = Markup("").join(
        Markup(
            '<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
            '<text x="-8" y="{y:.1f}" dy="4" text-anchor="end">{text}</text>'
        ).format(y=y_px(tick), text=label(tick))
        for tick in up.ticks
    )
    grid += Markup("").join(
        Markup('<text x="{x:.2f}%" y="{y}" text-anchor="middle">{text}</text>').format(
            x=across.percent(tick), y=height + 18, text=f"{tick:,.0f}"
        )
        for tick in across.ticks
        if tick == round(tick)
    )
    grid += Markup('<text class="axis" x="100%" y="{y}" text-anchor="end">{axis}</text>').format(
        y=height + 34, axis=axis
    )
    curves = Markup("").join(
        Markup('<polyline class="{style}" vector-effect="non-scaling-stroke" points="{points}"/>').format(
            style=line.style,
            points=" ".join(f"{10 * across.percent(x):.1f},{y_px(y):.1f}" for x, y in line.points),
        )
        for line in lines
    )
    marks = Markup("").join(
        Markup('<circle class="{style}" cx="{x:.2f}%" cy="{y:.1f}" r="3"><title>{text}</title></circle>').format(
            style=line.style, x=across.percent(x), y=y_px(y), text=f"{line.name}, {axis} {x:.0f}: {y:.4g}"
        )
        for line in lines
        if line.marked
        for x, y in line.points
    )
    spans = Markup("").join(
        Markup('<line class="{style}" x1="{x:.2f}%" x2="{x:.2f}%" y1="{top:.1f}" y2="{bottom:.1f}"/>').format(
            style=line.style, x=across.percent(x), top=y_px(high), bottom=y_px(low)
        )
        for line in lines
        for x, low, high in line.spans
    )
    return Markup(
        '<svg class="chart{named}" height="{height}" role="img" aria-label="{title}">{grid}{spans}'
        '<svg viewBox="0 0 1000 {height}" preserveAspectRatio="none" width="100%" height="{height}" '
        'overflow="visible">{curves}</svg>{marks}{names}</svg>'
    ).format(
        named=" named" if any(line.name for line in lines) else "",
        height=height,
        title=title,
        grid=grid,
        spans=spans,
        curves=curves,
        marks=marks,
        names=_end_labels(lines, y_px, height),
    )


def _end_labels(lines: Sequence[Line], y_px: Callable[[float], float], height: int) -> Markup:
    """Names at the curves' ends, pushed apart where they would overlap and kept above the axis."""
    ends = sorted(((y_px(line.points[-1][1]), line) for line in lines if line.name), key=lambda end: end[0])
    places, ceiling = [], height + LABEL_GAP_PX - 4
    for y, _ in reversed(ends):
        ceiling = min(y, ceiling - LABEL_GAP_PX)
        places.append(ceiling)
    return Markup("").join(
        Markup(
            '<text class="name {style}" x="100%" dx="10" y="{y:.1f}" dy="4">{name} <tspan>{value}</tspan></text>'
        ).format(style=line.style, y=y, name=line.name, value=f"{line.points[-1][1]:.2f}")
        for (_, line), y in zip(ends, reversed(places), strict=True)
    )


def _tick(value: float, *, signed_values: bool = False) -> str:
    text = f"{value:+.10g}" if signed_values and value else f"{value:.10g}"
    return str(escape(text)).replace("-", "−")
