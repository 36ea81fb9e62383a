"""Curves over depth and maps: every value is drawn, and colours are the style sheet's."""

from pathlib import Path
from types import ModuleType

from whisper_aut.probe.results import EmbeddingMap, LayerAnalysis, LayerCurve, LayerTask
from whisper_aut.report.build import build_report
from whisper_aut.report.figures import short
from whisper_aut.report.layer_figures import class_colours, class_key, embedding_map, layer_charts


def make_layers(name: str = "a", label: str = "dog") -> LayerAnalysis:
    def curve(encoder: int | None, encoder_name: str, values: list[float]) -> LayerCurve:
        return LayerCurve(name=encoder_name, encoder=encoder, knn=values, network=values, nmi=[v / 2 for v in values])

    picture = EmbeddingMap(name="base", encoder=0, layer=1, points=[(0.0, 1.0), (1.0, 0.0), (0.5, 0.5)])
    task = LayerTask(
        name=name, num_clips=3, classes=[label, "rain"], map_classes=[0, 1, 1], maps=[picture],
        curves=[
            curve(0, "base", [20.0, 61.5, 50.0]), curve(1, "adapted", [20.0, 70.0, 80.0]), curve(None, "mfcc", [33.0]),
        ],
    )  # fmt: skip
    return LayerAnalysis(version=1, context="trimmed", rules="neighbours", tasks=[task])


def test_each_chart_has_a_curve_an_encoder_and_a_level_for_the_floor() -> None:
    charts = layer_charts(make_layers().tasks[0])
    assert len(charts) == 3
    for chart in charts:
        svg = str(chart["chart"])
        assert svg.count("<polyline") == 3 and svg.count("<circle") == 6  # the floor has no marks
        assert 'class="series-0"' in svg and 'class="series-1"' in svg and 'class="series-floor"' in svg
        assert ">layer</text>" in svg and ">step</text>" not in svg
    assert "adapted, layer 2: 80" in str(charts[0]["chart"]) and "adapted, layer 2: 40" in str(charts[2]["chart"])


def test_a_map_has_a_point_a_clip_in_its_classes_colour() -> None:
    task = make_layers(label="<b>").tasks[0]
    svg = str(embedding_map(task, task.maps[0]))
    assert svg.count("<circle") == 3 and svg.count('class="class-1"') == 2
    assert "<b>" not in svg and "&lt;b&gt;" in svg
    assert class_key(task) == [("class-0", "<b>"), ("class-1", "rain")]


def test_rare_classes_beyond_the_colours_are_grey() -> None:
    numbers = [number for number in range(12) for _ in range(20 - number)]
    task = make_layers().tasks[0].model_copy(update={"map_classes": numbers, "classes": [str(n) for n in range(12)]})
    colours = class_colours(task)
    assert [colours[number] for number in (0, 9, 10, 11)] == ["class-0", "class-9", "class-x", "class-x"]
    assert len(class_key(task)) == 10


def test_long_names_keep_their_end() -> None:
    assert short("runs/demo/export") == "runs/demo/export"
    assert short("/home/user/runs/demo/export") == "…e/user/runs/demo/export" and len(short("x" * 99)) == 24


def test_the_report_shows_layers_in_all_its_forms(made: ModuleType, tmp_path: Path) -> None:
    probe = made.make_probe(made.make_task("a", made.make_result(60, 10, 3, 1e-6)))
    (tmp_path / "probe.json").write_text(probe.model_copy(update={"layers": make_layers()}).to_json())
    paths = build_report(run_dir=None, probe_json=tmp_path / "probe.json", out_dir=tmp_path / "out")
    html, markdown = paths.html.read_text(), paths.markdown.read_text()
    assert "Layer by layer" in html and html.count("<polyline") == 9
    assert "| base | 3 | 61.5 (layer 1), 50.0 |" in markdown and "| mfcc | 1 | 33.0 |" in markdown
    layers = make_layers().model_copy(update={"tasks": [], "left_out": ["fsd50k"]})
    (tmp_path / "probe.json").write_text(probe.model_copy(update={"layers": layers}).to_json())
    paths = build_report(run_dir=None, probe_json=tmp_path / "probe.json", out_dir=tmp_path / "out")
    assert "fsd50k layer by layer: its clips have several labels" in paths.html.read_text()
    assert "fsd50k layer by layer" in paths.markdown.read_text()
    without = made.make_probe(made.make_task("a", made.make_result(60, 10, 3, 1e-6)))
    (tmp_path / "probe.json").write_text(without.to_json())
    paths = build_report(run_dir=None, probe_json=tmp_path / "probe.json", out_dir=tmp_path / "out")
    assert "Layer by layer" not in paths.html.read_text() + paths.markdown.read_text()
