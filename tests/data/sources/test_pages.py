"""What pages show: the README's tables are the sources' own words; summaries need no network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from xml.etree import ElementTree

from whisper_aut.data.sources.build import BuildOptions, build_source
from whisper_aut.data.sources.spec import SourceSpec
from whisper_aut.data.sources.summary import write_summary


def test_the_tables_of_the_readme_are_up_to_date(repository):
    page = repository / "docs" / "source_tables.py"
    done = subprocess.run([sys.executable, page, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_example_of_the_readme_is_a_source(repository):
    import yaml

    text = (repository / "data_manifests" / "README.md").read_text()
    example = yaml.safe_load(re.findall(r"```yaml\n(name: clotho.*?)```", text, re.DOTALL)[0])
    captions = yaml.safe_load(re.findall(r"```yaml\n(captions:.*?)```", text, re.DOTALL)[0])
    assert SourceSpec.model_validate(example).name == "clotho"
    del example["clip"]["text"]
    assert SourceSpec.model_validate(example | captions).captions is not None


def test_a_summary_holds_every_source_of_a_folder(small, data, tmp_path):
    spec = small(rows=[("a", "A."), ("b", "<script>B</script>."), ("c", "")])
    for name in ("small", "other"):
        build_source(spec.model_copy(update={"name": name}), BuildOptions(data, tmp_path / "out"))
    summary = write_summary(tmp_path / "out")
    assert (summary["clips"], summary["rejected"], list(summary["sources"])) == (4, 2, ["other", "small"])
    assert summary["sources"]["small"]["licenses"]["CC0-1.0"]["clips"] == 2
    assert sum(summary["sources"]["small"]["duration_histogram"]["counts"]) == 2
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert [reject["source"] for reject in rejects] == ["other", "small"]
    page = (tmp_path / "out" / "summary.html").read_text()
    assert "the text is empty" in page and not re.search(r"(src|href)=|https?://", page)
    figures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(figures) == 4 and all(ElementTree.fromstring(figure) is not None for figure in figures)
