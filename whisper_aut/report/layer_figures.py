"""The figures of the layers, as inline SVG: curves over depth, and maps of chosen layers as coloured points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup

from whisper_aut.probe.results import EmbeddingMap, LayerCurve, LayerTask
from whisper_aut.report.figures import Line, line_chart, short

NUM_SERIES = 6  # colours of the style sheet for encoders; the base has the first
NUM_CLASS_COLOURS = 10  # the most frequent classes of a map; the others are grey
MAP_PX = 210
MEASURES = (
    ("knn", "10 nearest neighbours, macro-F1"),
    ("network", "a small network, macro-F1"),
    ("nmi", "k-means clusters, normalised mutual information"),
)


def layer_charts(task: LayerTask) -> list[dict[str, Markup | str]]:
    """One chart a measure: its title, and the curves of all encoders over depth, in percent."""
    depth = max(len(curve.knn) for curve in task.curves) - 1
    return [
        {
            "title": title,
            "chart": line_chart(
                [_line(curve, getattr(curve, measure), max(1, depth)) for curve in task.curves],
                title=f"{task.name}: {title} by layer",
                height=170,
                axis="layer",
            ),
        }
        for measure, title in MEASURES
    ]


def _line(curve: LayerCurve, values: Sequence[float], depth: int) -> Line:
    """A curve with a mark on each layer; what has one layer is a level to compare with."""
    if len(values) == 1:
        return Line(short(curve.name), "series-floor", [(0.0, values[0]), (float(depth), values[0])])
    style = f"series-{(curve.encoder or 0) % NUM_SERIES}"
    return Line(short(curve.name), style, [(float(layer), value) for layer, value in enumerate(values)], marked=True)


def embedding_map(task: LayerTask, one: EmbeddingMap) -> Markup:
    """One layer's clips as points, coloured by class; the colours are those of ``class_key``."""
    colours = class_colours(task)
    points = Markup("").join(
        Markup('<circle class="{style}" cx="{x:.1f}%" cy="{y:.1f}%" r="2.6"><title>{label}</title></circle>').format(
            style=colours[number], x=3 + 94 * x, y=3 + 94 * y, label=task.classes[number]
        )
        for (x, y), number in zip(one.points, task.map_classes, strict=True)
    )
    return Markup('<svg class="map" height="{px}" role="img" aria-label="{label}">{points}</svg>').format(
        px=MAP_PX, label=f"t-SNE of layer {one.layer} of {one.name} on {task.name}", points=points
    )


def class_key(task: LayerTask) -> list[tuple[str, str]]:
    """(style, class name) of the classes that have a colour, by number."""
    return [
        (style, task.classes[number]) for number, style in sorted(class_colours(task).items()) if style != "class-x"
    ]


def class_colours(task: LayerTask) -> dict[int, str]:
    """Style of each class on the maps; the most frequent have a colour of their own."""
    frequent = sorted(number for number, _ in Counter(task.map_classes).most_common(NUM_CLASS_COLOURS))
    styles = {number: f"class-{place}" for place, number in enumerate(frequent)}
    return {number: styles.get(number, "class-x") for number in set(task.map_classes)}
