"""The three forms of the report: whole, honest about gaps, safe to open, and written before the gate closes."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest

from whisper_aut.errors import CheckpointError, GateFailed, ProbeError
from whisper_aut.probe.results import ProbeReport
from whisper_aut.report.build import build_report, gather
from whisper_aut.report.content import Report
from whisper_aut.report.gate import Gate

VOID = {"meta", "br", "img", "hr", "link", "input"}
EVIL = "<script>alert('x')</script>"


class Page(HTMLParser):
    """Checks nesting while it reads and keeps tags, attributes and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)


def build(probe_json: Path, run_dir: Path | None, out_dir: Path, **options: object) -> Page:
    paths = build_report(**{"run_dir": run_dir, "probe_json": probe_json, "out_dir": out_dir, **options})
    return Page(paths.html.read_text(encoding="utf-8"))


def test_the_page_shows_the_numbers_of_every_part(probe_json: Path, run_dir: Path, tmp_path: Path) -> None:
    page = build(probe_json, run_dir, tmp_path / "out", notes=["The data of this demo are synthesised."])
    for text in (
        "gains 9.9 points on urban10",
        "59.6",
        "[55.5, 63.5]",
        "[+6.8, +13.0]",
        "4.3",  # detectable
        "base 55.3 ± 0.6 over 3",
        "9e-10",
        "within noise",
        "Leakage: not checked",
        "Non-commercial licences.",
        "CC BY-NC 3.0 (non-commercial)",
        "Licence unknown:",
        "1 clip could not be read",
        "empty: 0 samples",
        "whisper-aut train data_manifests/demo.yaml --out runs/demo",
        "whisper-aut probe --base pypi:tiny.en",
        "L2 logistic regression with C chosen inside the training folds",
        "ab" * 32,
        "2.14.1",
        "seeds training 7, probe 17",
        "precision of the probe float32: measured to be faster",
        "The data of this demo are synthesised.",
        "jackhammer",
        "17.1",
    ):
        assert text in page.text, text
    assert "polyline" in page.tags
    assert "Not in this report" not in page.text


def test_the_page_loads_nothing(probe_json: Path, run_dir: Path, tmp_path: Path) -> None:
    page = build(probe_json, run_dir, tmp_path)
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "base"}
    assert not [entry for entry in page.attributes if entry[1] in {"src", "href", "xlink:href", "srcset", "style"}]
    assert not [entry for entry in page.attributes if entry[1].startswith("on")]
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "@import" not in text and "url(" not in text and "http:" not in text and "https:" not in text
    assert "default-src 'none'" in text


def test_names_from_manifests_are_shown_and_never_obeyed(made: ModuleType, run_dir: Path, tmp_path: Path) -> None:
    result = made.make_result(60, 10, 3, 1e-6, classes=(EVIL, "a|b"))
    probe_json = tmp_path / "probe.json"
    probe_json.write_text(made.make_probe(made.make_task(f"t{EVIL}", result, licenses=[EVIL])).to_json())
    (run_dir / "quarantine.jsonl").write_text('{"id": "\\u001b[31mx", "reason": "</style><script>"}\n')
    paths = build_report(run_dir=run_dir, probe_json=probe_json, out_dir=tmp_path / "out", notes=[EVIL])
    html, markdown = paths.html.read_text(), paths.markdown.read_text()
    page = Page(html)
    assert "script" not in page.tags
    assert page.text.count(EVIL) >= 4
    assert "<script" not in html
    assert "<script" not in re.sub(r"(?ms)^(`{3,})$.*?^\1$", "", markdown)  # a code block shows it word for word
    assert "\x1b" not in paths.table and "\x1b" not in markdown


def test_without_a_run_the_probe_stands_alone_and_says_so(probe_json: Path, tmp_path: Path) -> None:
    page = build(probe_json, None, tmp_path)
    assert "no training run was given" in page.text
    assert "Seed of the probe: 17. Precision: float32, measured to be faster." in page.text
    assert "probe precision float32: measured to be faster" in (tmp_path / "report.md").read_text()
    assert "gains 9.9 points on urban10" in page.text
    assert "Training loss" not in page.text and "What it was trained on" not in page.text


def test_a_bare_run_is_reported_with_its_gaps(probe_json: Path, tmp_path: Path) -> None:
    run = tmp_path / "bare"
    run.mkdir()
    (run / "run.json").write_text("{}")
    page = build(probe_json, run, tmp_path / "out")
    for gap in ("metrics.jsonl is not in the run folder", "run.json does not say: data", "not recorded", "no curves"):
        assert gap in page.text
    assert "not recorded" in (tmp_path / "out" / "report.md").read_text()


def test_the_json_reads_back_equal(probe_json: Path, run_dir: Path, tmp_path: Path) -> None:
    options = {"run_dir": run_dir, "probe_json": probe_json, "gate": Gate({"instruments": 1.0}), "notes": ["a note"]}
    paths = build_report(out_dir=tmp_path, **options)
    report = Report.from_json(paths.json)
    del options["probe_json"]
    assert report == gather(ProbeReport.from_json(probe_json), probe_json, **options)
    assert report.schema_version == 5
    assert report.gate.checks[0].task == "instruments" and not report.gate.passed


def test_a_json_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"schema_version": 99}')
    with pytest.raises(ProbeError, match="99"):
        Report.from_json(tmp_path / "report.json")


def test_a_failed_gate_is_raised_after_the_report_is_written(probe_json: Path, run_dir: Path, tmp_path: Path) -> None:
    paths = build_report(
        run_dir=run_dir, probe_json=probe_json, out_dir=tmp_path / "out", gate=Gate({"instruments": 1.0, "esc10": 1.0})
    )
    with pytest.raises(GateFailed) as caught:
        paths.gate.raise_if_failed(paths.html)
    assert caught.value.exit_code == 3
    assert caught.value.where == str(paths.html)
    assert "gate failed on instruments" in Page(paths.html.read_text()).text
    assert "**Gate: FAILED.**" in paths.markdown.read_text()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.json", "report.md"]


def test_a_gate_on_an_unknown_task_writes_nothing(probe_json: Path, tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="did you mean 'urban10'"):
        build_report(run_dir=None, probe_json=probe_json, out_dir=tmp_path / "out", gate=Gate({"urban11": 1.0}))
    assert not (tmp_path / "out").exists()


def test_the_metric_is_named_and_its_test_too(made: ModuleType, tmp_path: Path) -> None:
    result = made.make_result(40, 5, 2, 0.001)
    nothing = {"num_gained": None, "num_lost": None, "effect_size": None}
    comparison = result.comparisons[0].model_copy(update={"test": "permutation", **nothing})
    task = made.make_task(
        "fsd50k", result.model_copy(update={"comparisons": [comparison]}), metric="mAP", split="fixed", num_tested=123
    )
    probe_json = tmp_path / "probe.json"
    probe_json.write_text(made.make_probe(task, made.make_task("b", made.make_result(60, 1, 3, 0.5))).to_json())
    page = build(probe_json, None, tmp_path / "out")
    assert "40.0 → 45.0% mAP" in page.text and "(for mAP the p of a permutation test over recordings)" in page.text
    assert "123" in page.text  # the clips that are tested, not all 400
    assert "fsd50k mAP" in page.text and "b accuracy" in page.text
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "| **fsd50k** | mAP | 123 |" in markdown and "| **b** | accuracy | 400 |" in markdown


def test_results_that_are_not_finite_are_refused(made: ModuleType, tmp_path: Path) -> None:
    probe_json = tmp_path / "probe.json"
    probe_json.write_text(made.make_probe(made.make_task("a", made.make_result(60, float("nan"), 1, 0.5))).to_json())
    with pytest.raises(ProbeError, match="'a' hold a number that is not finite"):
        build_report(run_dir=None, probe_json=probe_json, out_dir=tmp_path / "out")


def test_a_folder_without_a_run_is_an_error(probe_json: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        build_report(run_dir=tmp_path / "nowhere", probe_json=probe_json, out_dir=tmp_path / "out")


def test_a_probe_without_tasks_still_makes_a_page(made: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "probe.json").write_text(made.make_probe().to_json())
    assert "No task was probed" in build(tmp_path / "probe.json", None, tmp_path / "out").text


def test_a_page_of_several_encoders_names_each(made: ModuleType, tmp_path: Path) -> None:
    result = made.side_by_side(made.make_result(60, 10, 3, 1e-6), made.make_result(60, -40, 3, 1e-9))
    probe = made.make_probe(made.make_task("a", result), more=(("floor", f"{EVIL}"),))
    (tmp_path / "probe.json").write_text(probe.to_json())
    page = build(tmp_path / "probe.json", None, tmp_path / "out")
    assert "encoders against their base" in page.text and page.text.count(EVIL) >= 1
    assert ("span", "title", EVIL) in page.attributes  # the table shows no more than its end
    assert "script" not in page.tags
    assert "floor weights" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize("damage", ["two bases", "a score too few"])
def test_results_whose_encoders_do_not_fit_are_refused(made: ModuleType, tmp_path: Path, damage: str) -> None:
    probe = made.make_probe(made.make_task("a", made.make_result(60, 10, 3, 1e-6)))
    raw = json.loads(probe.to_json())
    if damage == "two bases":
        raw["encoders"][1]["role"] = "base"
    else:
        del raw["tasks"][0]["results"][0]["scores"][1]
    (tmp_path / "probe.json").write_text(json.dumps(raw))
    with pytest.raises(ProbeError, match="damaged"):
        build_report(run_dir=None, probe_json=tmp_path / "probe.json", out_dir=tmp_path / "out")
