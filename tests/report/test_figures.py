"""Marks stand where the numbers say."""

import re
from itertools import pairwise
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_aut.report.figures import Line, class_bars, forest, line_chart, make_scale
from whisper_aut.report.verdict import make_rows


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_a_scale_covers_its_range_with_a_handful_of_ticks(low: float, width: float) -> None:
    scale = make_scale(low, low + width)
    slack = width * 1e-6
    assert scale.low <= low + slack and scale.high >= low + width - slack
    assert 3 <= len(scale.ticks) <= 8


def test_a_range_without_width_still_has_a_scale() -> None:
    scale = make_scale(2.0, 2.0)
    assert scale.low < 2.0 < scale.high


def test_the_forest_places_the_interval_on_the_scale(made: ModuleType) -> None:
    rows = make_rows(made.make_probe(made.make_task("a", made.make_result(60, 5, 5, 1e-6))))
    spans = re.findall(r'class="span" x1="([\d.]+)%" x2="([\d.]+)%"', forest(rows))
    assert spans == [("0.00", "100.00")]  # 0 to 10 points on a scale from 0 to 10


def test_verdicts_differ_in_shape_and_not_in_colour_alone(made: ModuleType) -> None:
    drawn = str(forest([row for row in make_rows(made.demo_probe()) if row.believed]))
    assert drawn.count("<circle") == 2 and drawn.count("<path") == 2


def test_class_bars_are_as_long_as_the_accuracies_and_sorted_by_gain() -> None:
    drawn = str(class_bars({"up": 25.0, "down": 80.0}, {"up": 75.0, "down": 70.0}))
    widths = re.findall(r'class="(base|adapted)"[^>]* width="([\d.]+)%"', drawn)
    assert widths == [("base", "25.00"), ("adapted", "75.00"), ("base", "80.00"), ("adapted", "70.00")]


def test_a_curve_runs_from_its_first_to_its_last_step() -> None:
    drawn = str(line_chart([Line("a", "raw", [(0, 0.0), (50, 1.0), (100, 2.0)])], title="t", height=100))
    assert 'points="0.0,100.0 500.0,50.0 1000.0,0.0"' in drawn


def test_labels_at_the_ends_keep_apart_and_above_the_axis() -> None:
    lines = [Line(name, "raw", [(0, 9.0), (1, value)]) for name, value in (("a", 1.0), ("b", 1.01), ("c", 1.02))]
    places = sorted(
        float(y) for y in re.findall(r'class="name raw"[^>]* y="([\d.]+)"', str(line_chart(lines, title="t")))
    )
    assert all(b - a >= 14.9 for a, b in pairwise(places))
    assert places[-1] <= 200


def test_a_chart_without_points_says_so() -> None:
    assert "not recorded" in line_chart([Line("a", "raw", [])], title="t")


@pytest.mark.parametrize("name", ["<script>", '"><b>'])
def test_names_in_figures_are_escaped(name: str) -> None:
    drawn = str(class_bars({name: 1.0}, {name: 2.0})) + str(line_chart([Line(name, "raw", [(0, 1.0)])], title=name))
    assert name not in drawn
